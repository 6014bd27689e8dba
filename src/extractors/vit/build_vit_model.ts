import type { Preprocessing } from '../extractor.ts';
import { sha256Hex } from '../fingerprint.ts';
import type { ModelCardJson } from '../model_card.ts';
import { inexactInt8, int8ProductsAreExact } from './int8_products.ts';
import { agrees, type PrecisionTrial, requiredAgreement, tryPrecisions } from './precision_trial.ts';
import { probePictures } from './probe_pictures.ts';
import type { VitWeightsFile } from './read_vit_weights.ts';
import { writeVitGraph } from './vit_graph.ts';
import type { VitWeights } from './vit_weights.ts';

export const precisions = ['auto', 'fp32', 'int8'] as const;
export type Precision = (typeof precisions)[number];

export interface VitOrder {
  /** How to call the file: its name without folders, or where it was published. */
  readonly source: string;
  /** Of the extractor. */
  readonly name: string;
  /** The network's input in pixels, multiples of the patch size. */
  readonly height: number;
  readonly width: number;
  /** 0-based blocks whose outputs are the embeddings; null: the last three. */
  readonly blocks: readonly number[] | null;
  /** `auto`: int8 where it is faster on this machine and agrees with fp32. */
  readonly precision: Precision;
  /** Of a run in the trial. */
  readonly threads: number;
  readonly okngVersion: string;
}

/** An extractor that can be installed: two files' contents and what was found on the way. */
export interface BuiltVit {
  readonly graph: Uint8Array;
  readonly card: ModelCardJson;
  readonly precision: 'fp32' | 'int8';
  readonly trial: PrecisionTrial | null;
  /** What the person who asked should know, as sentences. */
  readonly remarks: readonly string[];
}

const imagenetMean: [number, number, number] = [0.485, 0.456, 0.406];
const imagenetStd: [number, number, number] = [0.229, 0.224, 0.225];

/** Of a block's outputs wider than all this, memories grow faster than their worth. */
const defaultBlockCount = 3;

/**
 * DINOv2 weights → our own ONNX graph and its card. Equal files and orders give equal bytes, but `auto` may choose
 * otherwise on another machine: memories then need the precision they were fitted with.
 *
 * Cost: memory of about three times the weights file; ViT-S a second, the trial of `auto` and `int8` ten more.
 *
 * @throws InspectionError `invalid_config` when size or blocks do not fit the network, `invalid_model_card` when int8 is asked
 *   for on a processor that cannot
 */
export async function buildVitModel(
  { weights, sha256, variant }: VitWeightsFile,
  order: VitOrder,
  onProgress: (phase: string, done: number, total: number) => void = () => undefined,
): Promise<BuiltVit> {
  const blocks = order.blocks ?? lastBlocks(weights);
  const preprocessing: Preprocessing = {
    height: order.height,
    width: order.width,
    fit: 'letterbox',
    resample: 'bicubic',
    colorOrder: 'rgb',
    mean: imagenetMean,
    std: imagenetStd,
  };
  const write = (precision: 'fp32' | 'int8') =>
    writeVitGraph(weights, { height: order.height, width: order.width, blocks, precision });

  const remarks: string[] = [];
  let precision: 'fp32' | 'int8' = 'fp32';
  let trial: PrecisionTrial | null = null;
  let graph = write('fp32');
  if (order.precision !== 'fp32' && !(await int8ProductsAreExact())) {
    if (order.precision === 'int8') throw inexactInt8();
    remarks.push('fp32 was kept: this processor does not multiply int8 exactly.');
  } else if (order.precision !== 'fp32') {
    const int8 = write('int8');
    trial = await tryPrecisions({ fp32: graph, int8 }, probePictures(preprocessing), order.threads, (done, total) =>
      onProgress('trial', done, total),
    );
    const isGood = agrees(trial);
    if (order.precision === 'int8' && !isGood) remarks.push(disagreement(trial));
    if (order.precision === 'int8' || (isGood && trial.int8Ms < trial.fp32Ms)) {
      precision = 'int8';
      graph = int8;
    } else {
      remarks.push(
        isGood ? 'fp32 was kept: int8 is not faster on this machine.' : `fp32 was kept. ${disagreement(trial)}`,
      );
    }
  }

  const card: ModelCardJson = {
    name: order.name,
    description: `A DINOv2 vision transformer, raw outputs of blocks ${blocks.join(', ')}; ${precision}, ${order.height} × ${order.width}.`,
    file: 'model.onnx',
    sha256: sha256Hex(graph),
    input: { name: 'input', height: order.height, width: order.width },
    mean: imagenetMean,
    std: imagenetStd,
    color_order: 'rgb',
    fit: 'letterbox',
    resample: 'bicubic',
    output: { kind: 'tokens', names: ['tokens'], patch_size: weights.patchSize },
    image_vector: 'image_vector',
    embedding_width: weights.width * blocks.length,
    licence: "that of the weights file; Meta's DINOv2 weights are published under Apache-2.0",
    origin: `${order.source}, ${variant.naming} tensor names`,
    made: {
      okng_version: order.okngVersion,
      source: order.source,
      source_sha256: sha256,
      blocks: [...blocks],
      precision,
      ...(trial !== null && {
        trial: {
          mean_cosine: rounded(trial.meanCosine, 6),
          worst_cosine: rounded(trial.worstCosine, 6),
          fp32_ms: rounded(trial.fp32Ms, 1),
          int8_ms: rounded(trial.int8Ms, 1),
        },
      }),
    },
  };
  return { graph, card, precision, trial, remarks };
}

function lastBlocks({ blocks }: Pick<VitWeights, 'blocks'>): readonly number[] {
  const first = Math.max(0, blocks.length - defaultBlockCount);
  return Array.from({ length: blocks.length - first }, (_, i) => first + i);
}

function disagreement({ meanCosine, worstCosine }: PrecisionTrial): string {
  return `int8 differs from fp32 more than it may on these weights (cosine of patch embeddings ${meanCosine.toFixed(5)} in the mean, ${worstCosine.toFixed(4)} at worst; allowed are ${requiredAgreement.meanCosine} and ${requiredAgreement.worstCosine}).`;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
