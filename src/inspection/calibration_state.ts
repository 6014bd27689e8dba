import type { CalibrationFile } from '../store/calibration_file.ts';
import type { MemoryDescription } from '../workers/vision.ts';
import type { ScoreRule } from './score_rule.ts';

/** Whether a stored threshold may judge scores of a memory. */
export type CalibrationState = 'none' | 'valid' | 'stale';

/**
 * A threshold is a number on the scale of one memory and one score rule. After a refit, or under another percentile,
 * it would pass bad parts or throw away good ones without a word; so it counts as stale and nobody is judged by it.
 *
 * - Made for a memory: valid for exactly that one (a refit from the same pictures gives the same memory).
 * - Made before any memory existed: valid for the first one fitted afterwards.
 * - Without a word about it (the predecessor's file): valid beside the predecessor's memory only.
 */
export function calibrationState(
  calibration: CalibrationFile | undefined,
  memory: Pick<MemoryDescription, 'memoryId' | 'generation' | 'fingerprint'>,
  rule: ScoreRule,
): CalibrationState {
  if (calibration === undefined) return 'none';
  const { memory_id: memoryId, image_score_percentile: percentile } = calibration;
  if (memoryId === undefined) return memory.fingerprint === null ? 'valid' : 'stale';
  if (percentile !== undefined && percentile !== rule.percentile) return 'stale';
  if (memoryId === null) return memory.generation === 1 ? 'valid' : 'stale';
  return memoryId === memory.memoryId ? 'valid' : 'stale';
}
