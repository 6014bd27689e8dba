import { z } from 'zod';
import { damagedFile, decodeJson, encodeJson } from './stored_file.ts';

/**
 * `<base>_calib.json`, in the names of the calibration's answer, with what identifies the memory it was made for. Keys
 * we do not know are kept as they are.
 */
export interface CalibrationFile {
  readonly threshold: number;
  readonly score_percentile?: number | undefined;
  readonly area_mm2_thr?: number | undefined;
  readonly mm_per_px?: number | undefined;
  readonly ok_mean?: number | undefined;
  readonly ng_mean?: number | undefined;
  readonly p99_ok?: number | undefined;
  /** null without NG scores. */
  readonly p5_ng?: number | null | undefined;
  /** Of the memory it was made for; null when calibrated before a memory existed; absent in the predecessor's files. */
  readonly memory_id?: string | null | undefined;
  /** Of the memory as well: the generation it was made for. Absent in files of earlier versions. */
  readonly model_generation?: number | null | undefined;
  /** The score rule of the scores it was made from; absent in the predecessor's files. */
  readonly image_score_percentile?: number | undefined;
  /** Of the good parts it was made from, ascending, perhaps thinned. */
  readonly ok_scores?: readonly number[] | undefined;
  /** From here to the threshold the verdict is `review`. */
  readonly review_threshold?: number | null | undefined;
  readonly [unknownKey: string]: unknown;
}

const finite = z.number().optional();

export const calibrationSchema = z.looseObject({
  threshold: z.number(),
  score_percentile: z.number().min(0).max(100).optional(),
  area_mm2_thr: z.number().nonnegative().optional(),
  mm_per_px: z.number().positive().optional(),
  // What only informs may be unusable without harm to the verdict.
  ok_mean: finite.catch(undefined),
  ng_mean: finite.catch(undefined),
  p99_ok: finite.catch(undefined),
  p5_ng: finite.nullable().catch(undefined),
  // Whose threshold this is decides whether it may judge: an unusable value must not read as "anybody's".
  memory_id: z.string().nullish(),
  model_generation: z.int().nullish().catch(undefined),
  image_score_percentile: finite,
  review_threshold: z.number().nullish(),
  ok_scores: z.array(z.number()).optional().catch(undefined),
});

/**
 * Reads a calibration, ours or the predecessor's.
 *
 * @throws InspectionError `damaged_file`: not a JSON object, no finite threshold, or a number that the verdict needs out
 *   of its range
 */
export function decodeCalibration(bytes: Uint8Array, fileName: string): CalibrationFile {
  const calibration = calibrationSchema.safeParse(decodeJson(bytes, fileName));
  if (calibration.success) return calibration.data;
  const [issue] = calibration.error.issues;
  throw damagedFile(fileName, `'${issue?.path.join('.') ?? ''}': ${issue?.message ?? 'unusable'}`, calibration.error);
}

/** @throws InspectionError `internal_error` naming a number that is not finite */
export function encodeCalibration(calibration: CalibrationFile): Uint8Array {
  return new TextEncoder().encode(`${encodeJson(calibration, 2)}\n`);
}
