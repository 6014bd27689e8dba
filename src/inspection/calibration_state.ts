import type { CalibrationFile } from '../store/calibration_file.ts';
import type { ModelStore } from '../store/model_store.ts';
import type { MemoryDescription } from '../workers/vision.ts';
import { type KnownMemory, readMemoryOf } from './known_memories.ts';
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

export interface CalibrationParts {
  readonly models: ModelStore;
  readonly scoreRule: ScoreRule;
  /** Go on judging by the threshold of the memory before, where the new one has none. */
  readonly keepCalibration: boolean;
}

/** The calibration of a memory, and whether anybody is judged by it. */
export interface ModelCalibration {
  /** The memory's number at its place. */
  readonly generation: number;
  readonly state: CalibrationState;
  /** The one that inspections judge by; null: none. */
  readonly inForce: CalibrationFile | null;
}

/** @throws InspectionError `damaged_file` */
export async function calibrationOf(
  { models, scoreRule, keepCalibration }: CalibrationParts,
  known: KnownMemory,
): Promise<ModelCalibration> {
  const bound = await models.generations.boundTo(known.place, readMemoryOf(known));
  const state = calibrationState(bound.calibration, known.memory, scoreRule);
  // Under another score rule a threshold is a number of something else: that no setting can wish for.
  const percentile = bound.calibration?.image_score_percentile ?? scoreRule.percentile;
  const counts = state === 'valid' || (state === 'stale' && keepCalibration && percentile === scoreRule.percentile);
  return { generation: bound.generation, state, inForce: counts ? (bound.calibration ?? null) : null };
}
