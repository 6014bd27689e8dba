import type { CalibrationFile } from '../store/calibration_file.ts';
import type { ModelStore } from '../store/model_store.ts';
import type { ModelKey } from '../store/places.ts';
import type { MemoryDescription } from '../workers/vision.ts';
import { type CalibrationState, calibrationState } from './calibration_state.ts';
import type { KnownMemories } from './known_memories.ts';
import { extractorMismatch, type MatchedExtractor } from './memory_origin.ts';
import type { ScoreRule } from './score_rule.ts';

/** What an inspection by a key would meet. */
export interface ModelDescription {
  /** Null: an inspection would be refused, `memory_not_fitted`. */
  readonly memory: MemoryDescription | null;
  /** Why an inspection would be refused although there is a memory: it needs another extractor. */
  readonly refusal: string | null;
  /** The memory is the default recipe's, or lies where the predecessor kept it. */
  readonly borrowed: boolean;
  /** `waiting`: made before any memory, it comes into force with the first. */
  readonly calibrationState: CalibrationState | 'waiting';
  /** The one in force, by which an inspection would judge; without a memory the waiting one. */
  readonly calibration: CalibrationFile | null;
  /** The recipe's scale. */
  readonly mmPerPx: number | null;
}

export interface DescribeParts {
  readonly models: ModelStore;
  readonly memories: KnownMemories;
  readonly extractor: MatchedExtractor;
  readonly scoreRule: ScoreRule;
}

/**
 * Finds what an inspection by this key would find, without inspecting.
 *
 * @throws InspectionError `damaged_file`, as an inspection would
 */
export async function describeModel(
  { models, memories, extractor, scoreRule }: DescribeParts,
  key: ModelKey,
): Promise<ModelDescription> {
  const { place } = await models.locate(key);
  const memory = (await memories.at(place))?.memory ?? null;
  const stored = await models.readCalibration(place);
  const { mm_per_px: mmPerPx = null } = await models.readRecipe(key.recipeId);
  const borrowed = place.npzPath !== models.ownPlace(key).npzPath;
  if (memory === null) {
    const waits = stored?.memory_id === null;
    return {
      memory,
      refusal: null,
      borrowed,
      calibrationState: stored === undefined ? 'none' : waits ? 'waiting' : 'stale',
      calibration: waits ? (stored ?? null) : null,
      mmPerPx,
    };
  }
  const state = calibrationState(stored, memory, scoreRule);
  const mismatch = extractorMismatch(memory, extractor);
  return {
    memory,
    refusal: mismatch?.message ?? null,
    borrowed,
    calibrationState: state,
    calibration: mismatch === null && state === 'valid' ? (stored ?? null) : null,
    mmPerPx,
  };
}
