import { InspectionError } from '../errors.ts';
import { chooseThreshold } from '../patchcore/calibration.ts';
import { withoutSuspects } from '../patchcore/leave_one_out.ts';
import { escapeUpperBound, promiseThreshold } from '../patchcore/threshold_promise.ts';
import type { ModelStore } from '../store/model_store.ts';
import { belongsTo, type ModelKey, type ModelPlace } from '../store/places.ts';
import { type KnownMemories, type KnownMemory, readMemoryOf, replacedMeanwhile } from './known_memories.ts';
import { defaultMmPerPx, requireScale } from './recipe_scale.ts';
import type { ScoreRule } from './score_rule.ts';
import type { Turns } from './turns.ts';

export interface CalibrateRequest {
  readonly key: ModelKey;
  /** Of good parts that are not in the memory; finite. Null: the leave-one-out scores of the fit. */
  readonly okScores: readonly number[] | null;
  /** Of bad parts; may be empty. */
  readonly ngScores: readonly number[];
  /** Null: the recipe's value, else the contract's default. */
  readonly mmPerPx: number | null;
  readonly areaMm2Thr: number | null;
  readonly scorePercentile: number | null;
  /**
   * α, above 0 and below 1: choose the lowest threshold that, except with chance 1 − confidence, judges at most this share
   * of good parts NG. Null: the percentile rule, which promises nothing.
   */
  readonly maxOverkill?: number | null | undefined;
  /** 1 − δ, above 0 and below 1. Null: 0.95. */
  readonly confidence?: number | null | undefined;
  /** From this score up to the threshold the verdict is `review`; not above the threshold. Null: no such band. */
  readonly reviewThreshold?: number | null | undefined;
  /** The memory that the dataset's samples were scored with; absent: the scores came with the request. */
  readonly scoredWith?: string | undefined;
}

/** What a threshold promises, in the names of the papers. */
export interface Guarantee {
  /** Largest overkill promised. */
  readonly alpha: number;
  /** Chance, over calibrations, that the promise is broken. */
  readonly delta: number;
  readonly n: number;
  /** The threshold lies just above the k-th smallest OK score. */
  readonly k: number;
  /** With confidence 1 − δ no larger share of bad parts like the posted ones passes; null without NG scores. */
  readonly escape_upper_bound: number | null;
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
  /** That memory's number at its place. */
  readonly model_generation: number | null;
  readonly image_score_percentile: number;
  readonly calibrated_at_utc: string;
  /** False: the memory that answers is another model's, and so is the threshold; fit this one to have its own. */
  readonly in_force: boolean;
  readonly ok_scores_from: 'request' | 'leave_one_out' | 'dataset';
  readonly guarantee: Guarantee | null;
  readonly review_threshold: number | null;
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
 * Chooses a threshold from scores, by the contract's percentile rule or with a promise, and stores it beside the memory it belongs to. Works before a memory exists.
 *
 * Memory and calibration of one answer never come from different places: a key that borrows another key's memory is
 * answered by that one's calibration. Its own is stored in its own place, not in force (`in_force: false`), and stale as
 * soon as it has a memory of its own.
 *
 * @throws InspectionError `mm_per_px_conflict`; `invalid_value`, also for too few scores for the promise;
 *   `missing_field` without scores; `not_ready` when the scores are of a memory that answers no more; `damaged_file`,
 *   `storage_full`
 */
export async function calibrateModel(parts: CalibrateParts, request: CalibrateRequest): Promise<Calibration> {
  const { models } = parts;
  const { key } = request;
  if (request.mmPerPx !== null) await requireScale(models, key.recipeId, request.mmPerPx);
  const mmPerPx = request.mmPerPx ?? (await models.readRecipe(key.recipeId)).mm_per_px ?? defaultMmPerPx;
  const percentile = request.scorePercentile ?? parts.scoreRule.percentile;

  return await parts.turns.take(models.ownPlace(key).npzPath, async () => {
    const located = await models.locate(key);
    const place = placeToChange(models, key, located.place);
    // Also of a memory that is only borrowed: after a fit of its own the key has another one, and this threshold is stale.
    const known = located.hasMemory ? await parts.memories.at(located.place) : null;
    const { own: generation } =
      known === null ? { own: null } : await models.generations.numbersOf(known.place, readMemoryOf(known));
    const isInForce = !located.hasMemory || place.npzPath === located.place.npzPath;
    if (request.scoredWith !== undefined && request.scoredWith !== known?.memory.memoryId) throw replacedMeanwhile();
    const okScores = request.okScores ?? leftOutScores(known);
    const ngScores = request.ngScores.length === 0 ? null : request.ngScores;
    const rule = chooseThreshold({ okScores, ngScores, percentile });
    const promised = request.maxOverkill == null ? null : keepPromise(request.maxOverkill, request, okScores);
    const threshold = promised?.threshold ?? rule.threshold;
    const reviewThreshold = request.reviewThreshold ?? null;
    requireReviewBelow(reviewThreshold, threshold);
    const calibration: Calibration = {
      status: 'ok',
      role_id: key.roleId,
      roi_id: key.roiId,
      model_key: key.modelKey,
      threshold,
      ok_mean: rule.okMean,
      ng_mean: rule.ngMean,
      p99_ok: rule.pOk,
      p5_ng: rule.pNg,
      n_ok: okScores.length,
      n_ng: request.ngScores.length,
      mm_per_px: mmPerPx,
      area_mm2_thr: request.areaMm2Thr ?? parts.areaMm2Thr,
      score_percentile: percentile,
      memory_id: known?.memory.memoryId ?? null,
      model_generation: generation,
      image_score_percentile: parts.scoreRule.percentile,
      calibrated_at_utc: parts.now().toISOString(),
      ok_scores_from: originOf(request),
      guarantee: promised?.guarantee ?? null,
      review_threshold: reviewThreshold,
      in_force: isInForce,
    };
    const { in_force: _, ...stored } = calibration;
    const file = { ...stored, recipe_id: key.recipeId, ok_scores: keptScores(okScores) };
    await models.writeCalibration(place, file, isInForce ? known?.address.stamp : undefined);
    return calibration;
  });
}

function originOf({ okScores, scoredWith }: CalibrateRequest): Calibration['ok_scores_from'] {
  if (okScores === null) return 'leave_one_out';
  return scoredWith === undefined ? 'request' : 'dataset';
}

/** Scores kept for later comparisons; more would say the same. */
const mostKeptScores = 2000;

/** Ascending; evenly thinned when there are very many. */
function keptScores(okScores: readonly number[]): readonly number[] {
  const sorted = [...okScores].sort((a, b) => a - b);
  if (sorted.length <= mostKeptScores) return sorted;
  const step = (sorted.length - 1) / (mostKeptScores - 1);
  return Array.from({ length: mostKeptScores }, (_, i) => sorted[Math.round(i * step)] as number);
}

/**
 * Pictures that look bad to the others do not count: one bad part among the good ones would lift the threshold over its
 * like, and to throw away a good part is the smaller harm.
 */
function leftOutScores(known: KnownMemory | null): readonly number[] {
  const scores = known?.memory.pictures.flatMap(({ leftOutScore }) => leftOutScore ?? []) ?? [];
  if (scores.length > 0) return withoutSuspects(scores);
  throw new InspectionError(
    'missing_field',
    known === null
      ? 'The field ok_scores is missing, and there is no fitted memory whose leave-one-out scores could stand in for it.'
      : 'The field ok_scores is missing, and the memory holds no leave-one-out scores (fitted from one picture, or by another service); post scores of good parts that are not in it, or fit again.',
  );
}

const defaultConfidence = 0.95;

function keepPromise(
  alpha: number,
  { confidence, ngScores }: CalibrateRequest,
  okScores: readonly number[],
): { readonly threshold: number; readonly guarantee: Guarantee } {
  // Nine digits: 1 − 0.95 is 0.05000000000000004 in float64, and nobody means that.
  const delta = Number((1 - (confidence ?? defaultConfidence)).toPrecision(9));
  const promise = promiseThreshold({ okScores, alpha, delta });
  if (promise.kind === 'too_few') {
    throw new InspectionError(
      'invalid_value',
      `${promise.n} OK scores cannot promise an overkill of at most ${alpha} with confidence ${1 - delta}: that takes ${promise.needed}. Post more scores, or ask for less.`,
    );
  }
  const misses = ngScores.filter((score) => score < promise.threshold).length;
  return {
    threshold: promise.threshold,
    guarantee: {
      alpha,
      delta,
      n: promise.n,
      k: promise.k,
      escape_upper_bound: escapeUpperBound(ngScores.length, misses, delta),
    },
  };
}

function requireReviewBelow(reviewThreshold: number | null, threshold: number): void {
  if (reviewThreshold === null || reviewThreshold <= threshold) return;
  throw new InspectionError(
    'invalid_value',
    `review_threshold is ${reviewThreshold}, above the threshold ${threshold} that was chosen; parts to be reviewed lie below it.`,
  );
}

/**
 * Beside the memory that answers if that is this key's, else in the key's own place: no other model's verdicts may change.
 */
export function placeToChange(models: ModelStore, key: ModelKey, answering: ModelPlace): ModelPlace {
  return belongsTo(key, answering) ? answering : models.ownPlace(key);
}
