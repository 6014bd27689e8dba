import { type ErrorCode, InspectionError } from '../errors.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import type { SampleLabel } from '../store/dataset_names.ts';
import type { DatasetStore } from '../store/dataset_store.ts';
import { sameScale } from '../store/recipe_file.ts';
import type { DatasetKey, SampleMeta } from '../store/sample_meta.ts';
import { defaultMmPerPx, scaleLimits } from './recipe_scale.ts';
import { parseShapeText, shapeOf } from './shape_text.ts';

export { type SampleLabel, sampleLabels } from '../store/dataset_names.ts';

/** Which stored sample of a dataset is meant. */
export interface SampleRef {
  readonly label: SampleLabel;
  readonly filename: string;
}

/**
 * The ROI that a sample's meta gives, as the GUI writes it (`shape_json`) or as a request does (`shape`): a JSON object or
 * its text. Null where it gives none.
 *
 * @throws InspectionError `invalid_shape`
 */
export function shapeInMeta(meta: SampleMeta): ShapeSpec | null {
  const shape = [meta.shape_json, meta.shape].find((value) => value != null && value !== '');
  if (shape === undefined) return null;
  return typeof shape === 'string' ? parseShapeText(shape) : shapeOf(shape);
}

/**
 * The `mm_per_px` in a meta, a number or its text; null where there is none.
 *
 * @throws InspectionError `invalid_value`
 */
export function scaleInMeta({ mm_per_px: scale }: SampleMeta): number | null {
  if (scale == null || scale === '') return null;
  const value = typeof scale === 'string' ? Number(scale) : scale;
  if (typeof value === 'number' && value >= scaleLimits.minimum && value <= scaleLimits.maximum) return value;
  const found = typeof scale === 'object' ? 'no number' : JSON.stringify(scale).slice(0, 80);
  throw new InspectionError(
    'invalid_value',
    `mm_per_px in a meta must be from ${scaleLimits.minimum} to ${scaleLimits.maximum}, finite and above 0; it is ${found}.`,
  );
}

/**
 * The scale to score a sample with: its meta's, else the caller's default, else 0.2 mm. A recipe's value beats what differs
 * from it: it may have been corrected since the sample was stored.
 *
 * @throws InspectionError as {@link scaleInMeta}
 */
export function scaleOfSample(meta: SampleMeta, recipeScale: number | null, fallback: number | null): number {
  const own = scaleInMeta(meta);
  if (recipeScale === null) return own ?? fallback ?? defaultMmPerPx;
  return own !== null && sameScale(own, recipeScale) ? own : recipeScale;
}

/** Everything a stored sample is scored with. Its bytes may be given away. */
export interface OpenedSample {
  readonly bytes: Uint8Array;
  readonly meta: SampleMeta;
  readonly shape: ShapeSpec | null;
}

/**
 * Reads a sample and the ROI in its meta. A damaged meta fails it: nobody knows which part of the picture was meant.
 *
 * @throws InspectionError `not_found`, `damaged_file`, `invalid_shape`; `storage_unavailable`
 */
export async function openSample(
  datasets: DatasetStore,
  key: DatasetKey,
  { label, filename }: SampleRef,
): Promise<OpenedSample> {
  const { bytes, meta, metaProblem } = await datasets.readSample(key, label, filename);
  if (metaProblem !== undefined) throw new InspectionError('damaged_file', metaProblem);
  try {
    return { bytes, meta, shape: shapeInMeta(meta) };
  } catch (error) {
    if (!(error instanceof InspectionError)) throw error;
    throw new InspectionError(error.code, `The meta of ${filename}: ${error.message}`, { cause: error });
  }
}

/** What can be wrong with one stored sample. */
const storedFaults: ReadonlySet<ErrorCode> = new Set(['not_found', 'damaged_file', 'invalid_shape', 'invalid_value']);

/** What can be wrong with one picture when it is decoded and scored. */
const pictureFaults: ReadonlySet<ErrorCode> = new Set([
  'invalid_shape',
  'empty_mask',
  'unreadable_image',
  'unsupported_media_type',
  'image_too_large',
  'not_a_number',
]);

/** Whether what {@link openSample} threw says nothing of the other samples. */
export function isStoredFault(error: unknown): error is InspectionError {
  return error instanceof InspectionError && storedFaults.has(error.code);
}

/** Whether what decoding or scoring one picture threw says nothing of the others. */
export function isPictureFault(error: unknown): error is InspectionError {
  return error instanceof InspectionError && pictureFaults.has(error.code);
}
