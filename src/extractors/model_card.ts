import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import type { ExtractorInfo, Preprocessing } from './extractor.ts';
import { canonicalJson, sha256Hex } from './fingerprint.ts';

/** Changes when the code between the network's outputs and the embeddings does: part of every fingerprint. */
const readingRevision = 1;

const maxInputSide = 4096;

const side = z.int().min(1).max(maxInputSide);
const stride = z.int().min(1).max(256);
const outputName = z.string().min(1);
const sha256Digits = z.string().regex(/^[0-9a-fA-F]{64}$/, '64 hexadecimal digits expected');
const channelNumbers = z.tuple([z.number(), z.number(), z.number()]);

const outputSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('tokens'),
    names: z.array(outputName).min(1),
    patch_size: stride,
    drop_tokens: z.int().min(0).default(0),
  }),
  z.strictObject({
    kind: z.literal('feature_maps'),
    maps: z.array(z.strictObject({ name: outputName, stride })).min(1),
  }),
]);

/**
 * The JSON of a model card: everything okng must know of an ONNX feature network. Unknown fields are refused, because
 * a misspelt one would silently change what the network sees.
 */
export const modelCardSchema = z.strictObject({
  /** Letters, digits, `.`, `_`, `-`. */
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'letters, digits, ".", "_" and "-" only'),
  description: z.string(),
  /** The ONNX file, relative to the card or absolute; one file, no external data. */
  file: z.string().min(1),
  /** Of the file. */
  sha256: sha256Digits,
  /** The network's input tensor and the picture's size in pixels. */
  input: z.strictObject({ name: z.string().min(1), height: side, width: side }),
  /** Of values 0..1, in the tensor's channel order. */
  mean: channelNumbers,
  std: z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]),
  color_order: z.enum(['rgb', 'bgr']),
  fit: z.enum(['letterbox', 'stretch']),
  resample: z.enum(['bicubic', 'area']),
  /**
   * `tokens`: each output [1, t, d]; the first `drop_tokens` (class, registers) are dropped, the rest are the grid,
   * row-major; several outputs are concatenated along d. `feature_maps`: each output [1, c, rows, cols] with `stride`
   * input pixels per cell; merged as `feature_map_merge` says.
   */
  output: outputSchema,
  /** An output [1, d] for the whole picture; without it the mean over the patches is taken. */
  image_vector: outputName.optional(),
  /** Columns of the patch embeddings, if known. */
  embedding_width: z.int().min(1).optional(),
  licence: z.string().min(1),
  /** Where the weights come from. */
  origin: z.string().min(1),
  /** For graphs that `okng model add` wrote: of which file, and how. Tells people; changes no fingerprint. */
  made: z
    .strictObject({
      okng_version: z.string(),
      /** Name and sha256 of the weights file. */
      source: z.string(),
      source_sha256: sha256Digits,
      /** 0-based transformer blocks whose outputs are the embeddings. */
      blocks: z.array(z.int().min(0)).min(1),
      precision: z.enum(['fp32', 'int8']),
      /** Of int8 against fp32 when it was made: cosines of patch embeddings, milliseconds per picture. */
      trial: z
        .strictObject({
          mean_cosine: z.number(),
          worst_cosine: z.number(),
          fp32_ms: z.number(),
          int8_ms: z.number(),
        })
        .optional(),
    })
    .optional(),
});

/** A model card as it stands in its file. */
export type ModelCardJson = z.input<typeof modelCardSchema>;

/** Which outputs become patch embeddings, and how. */
export type EmbeddingOutput =
  | {
      readonly kind: 'tokens';
      readonly names: readonly string[];
      /** Input pixels per token. */
      readonly patchSize: number;
      readonly dropTokens: number;
    }
  | {
      readonly kind: 'feature_maps';
      readonly maps: readonly { readonly name: string; readonly stride: number }[];
    };

/** A checked model card. */
export interface ModelCard {
  readonly name: string;
  readonly description: string;
  /** Absolute. Never shown to callers. */
  readonly modelPath: string;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly inputName: string;
  readonly preprocessing: Preprocessing;
  readonly output: EmbeddingOutput;
  readonly imageVector: string | null;
  readonly embeddingWidth: number | null;
  readonly licence: string;
  readonly origin: string;
  /** Of a graph that `okng model add` wrote, else null. */
  readonly made: ModelCardJson['made'] | null;
}

/**
 * Reads and checks a card; the model file itself is not looked at.
 *
 * @throws InspectionError `extractor_not_found` when there is no such card, `invalid_model_card` naming the card, the
 *   field and what is expected
 */
export async function readModelCard(path: string): Promise<ModelCard> {
  const title = cardTitle(path);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new InspectionError('extractor_not_found', `There is no readable model card ${title}.`, { cause });
  }
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (cause) {
    throw new InspectionError('invalid_model_card', `The model card ${title} is not valid JSON; correct the file.`, {
      cause,
    });
  }
  return parseModelCard(json, resolve(path));
}

/**
 * Checks a card's JSON.
 *
 * @param cardPath where the card lies; `file` is resolved against its folder
 * @throws InspectionError `invalid_model_card`
 */
export function parseModelCard(json: unknown, cardPath: string): ModelCard {
  const title = cardTitle(cardPath);
  const parsed = modelCardSchema.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'the card'}: ${message}`);
    throw new InspectionError(
      'invalid_model_card',
      `The model card ${title} has wrong fields: ${problems.join('; ')}.`,
    );
  }
  const fields = parsed.data;
  const card: ModelCard = {
    name: fields.name,
    description: fields.description,
    modelPath: resolve(dirname(cardPath), fields.file),
    sha256: fields.sha256.toLowerCase(),
    inputName: fields.input.name,
    preprocessing: {
      height: fields.input.height,
      width: fields.input.width,
      fit: fields.fit,
      resample: fields.resample,
      colorOrder: fields.color_order,
      mean: fields.mean,
      std: fields.std,
    },
    output:
      fields.output.kind === 'tokens'
        ? {
            kind: 'tokens',
            names: fields.output.names,
            patchSize: fields.output.patch_size,
            dropTokens: fields.output.drop_tokens,
          }
        : fields.output,
    imageVector: fields.image_vector ?? null,
    embeddingWidth: fields.embedding_width ?? null,
    licence: fields.licence,
    origin: fields.origin,
    made: fields.made ?? null,
  };
  const { height, width } = card.preprocessing;
  const misfit = stridesOf(card.output).find((pixels) => height % pixels !== 0 || width % pixels !== 0);
  if (misfit !== undefined) {
    throw new InspectionError(
      'invalid_model_card',
      `The model card ${title}: input ${height} × ${width} is no multiple of ${misfit}, the patch size or stride of its output; correct input.height and input.width.`,
    );
  }
  return card;
}

/**
 * The same card for another input size (`INPUT_SIZE`). Whether the graph's input is free is seen when it is loaded.
 *
 * @param sizePx height and width
 * @throws InspectionError `invalid_config` when the size is no multiple of every patch size or stride
 */
export function withInputSize(card: ModelCard, sizePx: number): ModelCard {
  const step = stridesOf(card.output).reduce(leastCommonMultiple);
  const largest = Math.floor(maxInputSide / step) * step;
  if (sizePx % step !== 0 || sizePx < step || sizePx > largest) {
    const nearest = Math.min(Math.max(Math.round(sizePx / step) * step, step), largest);
    throw new InspectionError(
      'invalid_config',
      `INPUT_SIZE ${sizePx} does not fit the extractor ${card.name}: it must be a multiple of ${step} from ${step} to ${largest}, for example ${nearest}.`,
    );
  }
  return { ...card, preprocessing: { ...card.preprocessing, height: sizePx, width: sizePx } };
}

/**
 * What the card tells without loading the model. The fingerprint covers the weights' sha256, the preprocessing and
 * how the outputs are read; name, description and the file's place are free to change.
 */
export function describeModelCard(card: ModelCard): ExtractorInfo {
  const { preprocessing, output, imageVector } = card;
  const patchSize = Math.min(...stridesOf(output));
  return {
    name: card.name,
    fingerprint: sha256Hex(
      canonicalJson({
        weights: card.sha256,
        preprocessing: { ...preprocessing },
        output: output.kind === 'tokens' ? { ...output } : { ...output, maps: output.maps.map((map) => ({ ...map })) },
        image_vector: imageVector,
        revision: readingRevision,
      }),
    ),
    preprocessing,
    grid: { rows: preprocessing.height / patchSize, cols: preprocessing.width / patchSize },
    width: card.embeddingWidth,
    patchSize,
  };
}

/**
 * Reads the whole model file once (about 1 GB/s) and compares its sha256 with the card's: a memory fitted with other
 * weights would answer nonsense.
 *
 * @throws InspectionError `extractor_not_found` when the file is missing, `invalid_model_card` when it is another one
 */
export async function verifyModelFile(card: ModelCard): Promise<void> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(card.modelPath), hash);
  } catch (cause) {
    throw new InspectionError('extractor_not_found', missingWeights(card), { cause });
  }
  const found = hash.digest('hex');
  if (found === card.sha256) return;
  throw new InspectionError(
    'invalid_model_card',
    `The model file ${basename(card.modelPath)} of the extractor ${card.name} has sha256 ${found}, its card says ${card.sha256}; install the file the card was written for, or correct sha256 in the card.`,
  );
}

/** What to do about a card without its model file. */
export function missingWeights(card: ModelCard): string {
  return `The extractor ${card.name} has a model card but no model file: copy ${basename(card.modelPath)} to where the card's field "file" points (its origin: ${card.origin}).`;
}

/** The card's folder and file name: enough to find it, and nothing else of this host. */
export function cardTitle(path: string): string {
  const folder = basename(dirname(resolve(path)));
  return folder === '' ? basename(path) : `${folder}/${basename(path)}`;
}

function stridesOf(output: EmbeddingOutput): readonly number[] {
  return output.kind === 'tokens' ? [output.patchSize] : output.maps.map(({ stride: pixels }) => pixels);
}

function leastCommonMultiple(a: number, b: number): number {
  let [divisor, rest] = [a, b];
  while (rest !== 0) [divisor, rest] = [rest, divisor % rest];
  return (a / divisor) * b;
}
