import type { CalibrationFile } from '../store/calibration_file.ts';
import { isNamedWithKey, type ModelKey } from '../store/places.ts';
import type { MemoryDescription } from '../workers/vision.ts';
import { type CalibrationParts, type CalibrationState, calibrationOf } from './calibration_state.ts';
import type { DriftReport, DriftWatch } from './drift_watch.ts';
import type { KnownMemories } from './known_memories.ts';
import { extractorMismatch, type MatchedExtractor } from './memory_origin.ts';

/** What an inspection by a key would meet. */
export interface ModelDescription {
  /** Null: an inspection would be refused, `memory_not_fitted`. */
  readonly memory: MemoryDescription | null;
  /** Why an inspection would be refused although there is a memory: it needs another extractor. */
  readonly refusal: string | null;
  /** The memory lies where a fit of this key would not write: it is the default recipe's, or in an older place. */
  readonly borrowed: boolean;
  /** The memory's number at its place; null without one. */
  readonly generation: number | null;
  /** `waiting`: made before any memory, it comes into force with the first. */
  readonly calibrationState: CalibrationState | 'waiting';
  /** The one in force, by which an inspection would judge; without a memory the waiting one. */
  readonly calibration: CalibrationFile | null;
  /** Whether the scores that it judges still look like those it was made from. */
  readonly drift: DriftReport;
  /** The recipe's scale. */
  readonly mmPerPx: number | null;
}

export interface DescribeParts extends CalibrationParts {
  readonly memories: KnownMemories;
  readonly extractor: MatchedExtractor;
  readonly driftWatch: DriftWatch;
}

/**
 * Finds what an inspection by this key would find, without inspecting.
 *
 * @throws InspectionError `damaged_file`, as an inspection would
 */
export async function describeModel(parts: DescribeParts, key: ModelKey): Promise<ModelDescription> {
  const { models, memories, extractor, driftWatch } = parts;
  const { place } = await models.locate(key);
  const known = await memories.at(place);
  const { mm_per_px: mmPerPx = null } = await models.readRecipe(key.recipeId);
  const borrowed = place.npzPath !== models.ownPlace(key).npzPath && !isNamedWithKey(key, place);
  if (known === null) {
    const stored = await models.readCalibration(place);
    const waits = stored?.memory_id === null;
    return {
      memory: null,
      refusal: null,
      borrowed,
      generation: null,
      calibrationState: stored === undefined ? 'none' : waits ? 'waiting' : 'stale',
      calibration: waits ? (stored ?? null) : null,
      drift: driftWatch.of(place.npzPath, null),
      mmPerPx,
    };
  }
  const { memory } = known;
  const { generation, state, inForce } = await calibrationOf(parts, known);
  const watched = state === 'valid' ? inForce : null;
  const mismatch = extractorMismatch(memory, extractor);
  return {
    memory,
    refusal: mismatch?.message ?? null,
    borrowed,
    generation,
    calibrationState: state,
    calibration: mismatch === null ? inForce : null,
    drift: driftWatch.of(place.npzPath, watched === null ? null : { calibration: watched, memory }),
    mmPerPx,
  };
}
