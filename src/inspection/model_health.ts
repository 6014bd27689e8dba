import type { ModelStore } from '../store/model_store.ts';
import type { ModelKey } from '../store/places.ts';
import { type CalibrationState, calibrationState } from './calibration_state.ts';
import type { DriftReport, DriftWatch } from './drift_watch.ts';
import type { KnownMemories } from './known_memories.ts';
import type { ScoreRule } from './score_rule.ts';

export interface ModelHealth {
  readonly memoryFitted: boolean;
  /** Whether a threshold is in force, and if not why. */
  readonly calibration: CalibrationState;
  readonly drift: DriftReport;
}

export interface ModelHealthParts {
  readonly models: ModelStore;
  readonly memories: KnownMemories;
  readonly scoreRule: ScoreRule;
  readonly driftWatch: DriftWatch;
}

/**
 * How a model does: fitted, calibrated, and whether its scores still are what they were.
 *
 * @throws InspectionError `damaged_file`
 */
export async function modelHealth(
  { models, memories, scoreRule, driftWatch }: ModelHealthParts,
  key: ModelKey,
): Promise<ModelHealth> {
  const { place } = await models.locate(key);
  const known = await memories.at(place);
  if (known === null) {
    return { memoryFitted: false, calibration: 'none', drift: driftWatch.of(place.npzPath, null) };
  }
  const stored = await models.readCalibration(place);
  const state = calibrationState(stored, known.memory, scoreRule);
  const inForce = state === 'valid' ? (stored ?? null) : null;
  return {
    memoryFitted: true,
    calibration: state,
    drift: driftWatch.of(place.npzPath, inForce === null ? null : { calibration: inForce, memory: known.memory }),
  };
}
