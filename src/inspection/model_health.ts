import type { ModelKey } from '../store/places.ts';
import { type CalibrationParts, type CalibrationState, calibrationOf } from './calibration_state.ts';
import type { DriftReport, DriftWatch } from './drift_watch.ts';
import type { KnownMemories } from './known_memories.ts';

export interface ModelHealth {
  readonly memoryFitted: boolean;
  /** Whether a threshold is in force, and if not why. */
  readonly calibration: CalibrationState;
  readonly drift: DriftReport;
}

export interface ModelHealthParts extends CalibrationParts {
  readonly memories: KnownMemories;
  readonly driftWatch: DriftWatch;
}

/**
 * How a model does: fitted, calibrated, and whether its scores still are what they were.
 *
 * @throws InspectionError `damaged_file`
 */
export async function modelHealth(parts: ModelHealthParts, key: ModelKey): Promise<ModelHealth> {
  const { models, memories, driftWatch } = parts;
  const { place } = await models.locate(key);
  const known = await memories.at(place);
  if (known === null) {
    return { memoryFitted: false, calibration: 'none', drift: driftWatch.of(place.npzPath, null) };
  }
  const { state, inForce } = await calibrationOf(parts, known);
  const watched = state === 'valid' ? inForce : null;
  return {
    memoryFitted: true,
    calibration: state,
    drift: driftWatch.of(place.npzPath, watched === null ? null : { calibration: watched, memory: known.memory }),
  };
}
