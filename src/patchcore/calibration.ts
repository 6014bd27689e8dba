import { InspectionError } from '../errors.ts';
import { percentile } from './image_score.ts';

export interface CalibrationScores {
  /** Image scores of good parts that are not in the memory: at least one, finite. */
  readonly okScores: readonly number[];
  /** Image scores of bad parts; null or empty when there are none. */
  readonly ngScores: readonly number[] | null;
  /** 0..100, of the OK scores. */
  readonly percentile: number;
}

export interface ChosenThreshold {
  readonly threshold: number;
  /** The chosen percentile of the OK scores. */
  readonly pOk: number;
  /** 5th percentile of the NG scores; null without any. */
  readonly pNg: number | null;
  readonly okMean: number;
  /** 0 without NG scores. */
  readonly ngMean: number;
}

/** Of the NG scores: all but the weakest twentieth should lie above the threshold. */
const ngPercentile = 5;

/** How far above the OK scores the threshold goes when the NG scores do not lie above them. */
const overlapMargin = 1.02;

/**
 * Chooses a threshold from scores. Without NG: the percentile of the OK scores. With NG: the middle between that and the
 * NG scores' 5th percentile, or, when they overlap, 2 % above the OK percentile.
 *
 * The rule is the predecessor's, number for number: lines depend on it. It promises nothing about escapes.
 *
 * @throws InspectionError `invalid_value` without OK scores, or when a score is not finite
 */
export function chooseThreshold({ okScores, ngScores, percentile: p }: CalibrationScores): ChosenThreshold {
  const ng = ngScores ?? [];
  if (okScores.length === 0) throw new InspectionError('invalid_value', 'A calibration needs at least one OK score.');
  if (![...okScores, ...ng].every(Number.isFinite)) {
    throw new InspectionError('invalid_value', 'A calibration needs finite scores only.');
  }
  const pOk = percentile(Float64Array.from(okScores), p);
  const okMean = mean(okScores);
  const ngMean = ng.length === 0 ? 0 : mean(ng);
  if (!Number.isFinite(okMean) || !Number.isFinite(ngMean)) {
    throw new InspectionError('invalid_value', 'The scores of a calibration are too large to be added up.');
  }
  if (ng.length === 0) return { threshold: pOk, pOk, pNg: null, okMean, ngMean };
  const pNg = percentile(Float64Array.from(ng), ngPercentile);
  const threshold = pNg > pOk ? (pOk + pNg) / 2 : overlapMargin * pOk;
  return { threshold, pOk, pNg, okMean, ngMean };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
