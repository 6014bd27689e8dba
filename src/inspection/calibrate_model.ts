import { chooseThreshold } from '../patchcore/calibration.ts';
import type { ModelStore } from '../store/model_store.ts';
import { DEFAULT_RECIPE, type ModelKey, type ModelPlace } from '../store/places.ts';
import type { KnownMemories } from './known_memories.ts';
import { defaultMmPerPx, requireScale } from './recipe_scale.ts';
import type { ScoreRule } from './score_rule.ts';
import type { Turns } from './turns.ts';

export interface CalibrateRequest {
  readonly key: ModelKey;
  /** Of good parts that are not in the memory; at least one, finite. */
  readonly okScores: readonly number[];
  /** Of bad parts; may be empty. */
  readonly ngScores: readonly number[];
  /** Null: the recipe's value, else the contract's default. */
  readonly mmPerPx: number | null;
  readonly areaMm2Thr: number | null;
  readonly scorePercentile: number | null;
}

/** What is answered and what is stored, key by key. */
export interface Calibration {
  readonly status: 'ok';
  readonly role_id: string;
  readonly roi_id: string;
  readonly model_key: string;
  readonly threshold: number;
  readonly ok_mean: number;
  readonly ng_mean: number;
  readonly p99_ok: number;
  readonly p5_ng: number | null;
  readonly n_ok: number;
  readonly n_ng: number;
  readonly mm_per_px: number;
  readonly area_mm2_thr: number;
  readonly score_percentile: number;
  /** The memory this threshold belongs to; null when none was fitted yet. */
  readonly memory_id: string | null;
  readonly image_score_percentile: number;
  readonly calibrated_at_utc: string;
}

export interface CalibrateParts {
  readonly memories: KnownMemories;
  readonly models: ModelStore;
  readonly scoreRule: ScoreRule;
  readonly areaMm2Thr: number;
  readonly turns: Turns;
  readonly now: () => Date;
}

/**
 * Chooses a threshold from scores and stores it beside the memory it belongs to. Works before a memory exists.
 *
 * A recipe that borrows the default recipe's memory keeps its calibration in its own place, where it comes into force
 * with a memory of its own: memory and calibration of one answer never come from different places.
 *
 * @throws InspectionError `mm_per_px_conflict`, `invalid_value`, `damaged_file`, `storage_full`
 */
export async function calibrateModel(parts: CalibrateParts, request: CalibrateRequest): Promise<Calibration> {
  const { models } = parts;
  const { key } = request;
  if (request.mmPerPx !== null) await requireScale(models, key.recipeId, request.mmPerPx);
  const mmPerPx = request.mmPerPx ?? (await models.readRecipe(key.recipeId)).mm_per_px ?? defaultMmPerPx;
  const percentile = request.scorePercentile ?? parts.scoreRule.percentile;
  const ngScores = request.ngScores.length === 0 ? null : request.ngScores;
  const chosen = chooseThreshold({ okScores: request.okScores, ngScores, percentile });

  return await parts.turns.take(models.ownPlace(key).npzPath, async () => {
    const place = await placeToCalibrate(models, key);
    const known = await parts.memories.at(place);
    const calibration: Calibration = {
      status: 'ok',
      role_id: key.roleId,
      roi_id: key.roiId,
      model_key: key.modelKey,
      threshold: chosen.threshold,
      ok_mean: chosen.okMean,
      ng_mean: chosen.ngMean,
      p99_ok: chosen.pOk,
      p5_ng: chosen.pNg,
      n_ok: request.okScores.length,
      n_ng: request.ngScores.length,
      mm_per_px: mmPerPx,
      area_mm2_thr: request.areaMm2Thr ?? parts.areaMm2Thr,
      score_percentile: percentile,
      memory_id: known?.memory.memoryId ?? null,
      image_score_percentile: parts.scoreRule.percentile,
      calibrated_at_utc: parts.now().toISOString(),
    };
    await models.writeCalibration(place, { ...calibration, recipe_id: key.recipeId });
    return calibration;
  });
}

/** Beside the memory that answers, unless that lies in another recipe. */
async function placeToCalibrate(models: ModelStore, key: ModelKey): Promise<ModelPlace> {
  const { place, hasMemory } = await models.locate(key);
  return hasMemory && key.recipeId === DEFAULT_RECIPE ? place : models.ownPlace(key);
}
