import type { InspectionError } from '../errors.ts';
import type { ExtractorInfo } from '../extractors/extractor.ts';
import { type Matrix, selectRows } from '../patchcore/matrix.ts';
import { cellsInFrame } from '../patchcore/memory_bank.ts';
import { type ShapeSpec, shapeKind } from '../patchcore/roi_mask.ts';
import type { DatasetStore, SampleEntry } from '../store/dataset_store.ts';
import type { DatasetKey } from '../store/sample_meta.ts';
import { sha256Hex } from '../store/sha256.ts';
import type { FitPicture, PreparedPicture, Vision } from '../workers/vision.ts';
import { isPictureFault, isStoredFault, openSample } from './dataset_sample.ts';

/** A good picture to learn from, read when its turn comes: a whole dataset need not fit into memory. */
export interface PictureSource {
  readonly name: string;
  /** The bytes are given away. */
  open(): Promise<{ readonly bytes: Uint8Array; readonly shape: ShapeSpec }>;
}

/** Stored good parts, each with the ROI in its meta. @param fallback the ROI of those without one */
export function sampleSources(
  datasets: DatasetStore,
  key: DatasetKey,
  ok: readonly SampleEntry[],
  fallback: ShapeSpec,
): readonly PictureSource[] {
  return ok.map(({ name }) => ({
    name,
    open: async () => {
      const { bytes, shape } = await openSample(datasets, key, { label: 'ok', filename: name });
      return { bytes, shape: shape ?? fallback };
    },
  }));
}

export interface EmbedParts {
  readonly vision: Pick<Vision, 'prepare' | 'release' | 'roiCells' | 'embed'>;
  readonly extractor: Pick<ExtractorInfo, 'grid'>;
  /** Blur of the maps that the pictures will be scored by. */
  readonly sigmaPx: number;
}

export interface EmbedHooks {
  /** @param done pictures looked at, failed ones included */
  readonly onProgress?: (done: number, total: number) => void;
  /** Milliseconds as they are spent, by step. */
  readonly onStep?: ((step: string, ms: number) => void) | undefined;
  /** Takes the patches of each picture as they come: their cells, ascending, and their embeddings, raw. */
  readonly onPatches: (cells: Int32Array, embeddings: Matrix) => Promise<void>;
  /** Called between two pictures: throws when the work is to end. */
  readonly requireWanted: () => void;
  /** Takes what is wrong with one picture; the others go on. Absent: it ends the work. */
  readonly onFault?: ((name: string, fault: InspectionError) => void) | undefined;
}

interface OpenedPicture {
  readonly prepared: PreparedPicture;
  readonly sha256: string;
  readonly shape: ShapeSpec;
  /** Undefined: all that the picture touches. */
  readonly cells: Int32Array | undefined;
}

/**
 * Embeds pictures one after another: the next is read and decoded beside the network, and inspections that come in
 * meanwhile wait for one picture at most. Of a picture with a ROI only the patches that have a say inside it are handed on.
 *
 * @returns those without fault, in their order
 * @throws InspectionError what `open`, the steps and `onPatches` throw; `empty_mask` and `invalid_shape` name the picture
 */
export async function embedPictures(
  parts: EmbedParts,
  sources: readonly PictureSource[],
  hooks: EmbedHooks,
): Promise<readonly FitPicture[]> {
  const embedded: FitPicture[] = [];
  const begin = (index: number): Promise<OpenedPicture> => {
    const opened = openPicture(parts, sources[index] as PictureSource);
    // Awaited one turn later; until then a failure must not count as unhandled.
    opened.catch(() => undefined);
    return opened;
  };
  let next: Promise<OpenedPicture> | undefined;
  for (const [index, { name }] of sources.entries()) {
    hooks.requireWanted();
    const [opened] = await Promise.allSettled([next ?? begin(index)]);
    next = index + 1 < sources.length ? begin(index + 1) : undefined;
    try {
      if (opened.status === 'rejected') throw opened.reason;
      embedded.push(await embedPicture(parts, name, opened.value, hooks));
    } catch (error) {
      if (hooks.onFault === undefined || !(isStoredFault(error) || isPictureFault(error))) throw error;
      hooks.onFault(name, error);
    }
    hooks.onProgress?.(index + 1, sources.length);
  }
  return embedded;
}

async function openPicture(parts: EmbedParts, source: PictureSource): Promise<OpenedPicture> {
  const { bytes, shape } = await source.open();
  const sha256 = await sha256Hex(bytes);
  const prepared = await parts.vision.prepare(bytes, source.name);
  const { size, frame } = prepared;
  try {
    const cells =
      shapeKind(shape.kind) === null
        ? undefined
        : await parts.vision.roiCells({ name: source.name, shape, size, frame, sigmaPx: parts.sigmaPx });
    return { prepared, sha256, shape, cells };
  } catch (error) {
    parts.vision.release(prepared);
    throw error;
  }
}

async function embedPicture(
  { vision, extractor }: EmbedParts,
  name: string,
  { prepared, sha256, shape, cells }: OpenedPicture,
  { onStep, onPatches }: EmbedHooks,
): Promise<FitPicture> {
  onStep?.('decode', prepared.decodeMs);
  onStep?.('prepare', prepared.prepareMs);
  const { size, frame, brightness } = prepared;
  const { embeddings, extractMs } = await vision.embed(prepared).finally(() => vision.release(prepared));
  onStep?.('extract', extractMs);
  const touched = cellsInFrame(extractor.grid, frame);
  if (cells === undefined) await onPatches(touched, embeddings);
  else {
    const rows = new Map(Array.from(touched, (cell, row) => [cell, row]));
    const wanted = cells.map((cell) => rows.get(cell) as number);
    await onPatches(cells, selectRows(embeddings, wanted));
  }
  return { name, sha256, size, frame, brightness, shape };
}
