import { InspectionError } from '../errors.ts';

/**
 * Area under the precision-recall curve as a step function: the sum of (Rₙ - Rₙ₋₁) · Pₙ over all distinct scores from
 * the highest down, where Rₙ and Pₙ are recall and precision of "NG when score ≥ that score". Equal scores are one step,
 * so their order does not matter. 1 is perfect order; guessing gives about the share of NG pictures, so values of sets
 * with other shares do not compare. O(n log n).
 *
 * @param okScores at least one, finite, any unit, higher means more anomalous
 * @param ngScores at least one, finite, same unit
 * @returns above 0, at most 1
 * @throws InspectionError `invalid_value` when a list is empty or holds a number that is not finite
 *
 * Source: scikit-learn's average_precision_score, which does not interpolate either.
 */
export function averagePrecision(okScores: ArrayLike<number>, ngScores: ArrayLike<number>): number {
  let sum = 0;
  let hitsBefore = 0;
  visitCuts(okScores, ngScores, (_, falseAlarms, hits) => {
    sum += ((hits - hitsBefore) * hits) / (hits + falseAlarms);
    hitsBefore = hits;
  });
  return sum / ngScores.length;
}

export interface BestF1 {
  /** Above 0, at most 1. */
  readonly f1: number;
  /** One of the scores: NG when score ≥ threshold. */
  readonly threshold: number;
}

/**
 * The best F1 (harmonic mean of precision and recall of NG) that any threshold reaches on these very scores: what an
 * oracle would choose, not what a line will see. Every distinct score is tried; of thresholds equally good the lowest
 * wins, because it lets the fewest NG pictures escape. O(n log n).
 *
 * @param okScores at least one, finite, any unit, higher means more anomalous
 * @param ngScores at least one, finite, same unit
 * @throws InspectionError `invalid_value` when a list is empty or holds a number that is not finite
 */
export function f1Max(okScores: ArrayLike<number>, ngScores: ArrayLike<number>): BestF1 {
  let best = 0;
  let bestThreshold = Number.POSITIVE_INFINITY;
  visitCuts(okScores, ngScores, (threshold, falseAlarms, hits) => {
    // One division of two integers: equal F1 values are equal numbers, so that ties are seen.
    const f1 = (2 * hits) / (hits + falseAlarms + ngScores.length);
    if (f1 >= best) {
      best = f1;
      bestThreshold = threshold;
    }
  });
  return { f1: best, threshold: bestThreshold };
}

export interface Rates {
  /** Share of OK pictures called NG, 0..1. */
  readonly overkill: number;
  /** Share of NG pictures called OK, 0..1. */
  readonly escape: number;
}

/**
 * What a threshold does to a line: NG when score ≥ threshold, so a score equal to it is overkill of an OK picture and no
 * escape of an NG picture.
 *
 * @param okScores at least one, finite, any unit, higher means more anomalous
 * @param ngScores at least one, finite, same unit
 * @param threshold finite, same unit
 * @throws InspectionError `invalid_value` when a list is empty or a number is not finite
 */
export function rates(okScores: ArrayLike<number>, ngScores: ArrayLike<number>, threshold: number): Rates {
  if (!Number.isFinite(threshold)) {
    throw new InspectionError('invalid_value', `The threshold is ${threshold}; it must be finite.`);
  }
  const ok = checkedScores('OK', okScores);
  const ng = checkedScores('NG', ngScores);
  return {
    overkill: ok.filter((score) => score >= threshold).length / ok.length,
    escape: ng.filter((score) => score < threshold).length / ng.length,
  };
}

/**
 * Visits every distinct score, from the highest to the lowest, with the numbers of OK pictures (false alarms) and of NG
 * pictures (hits) that score at least as much.
 */
function visitCuts(
  okScores: ArrayLike<number>,
  ngScores: ArrayLike<number>,
  visit: (threshold: number, falseAlarms: number, hits: number) => void,
): void {
  const ok = checkedScores('OK', okScores).sort();
  const ng = checkedScores('NG', ngScores).sort();
  let okLeft = ok.length;
  let ngLeft = ng.length;
  while (okLeft > 0 || ngLeft > 0) {
    const threshold = Math.max(
      okLeft > 0 ? (ok[okLeft - 1] as number) : Number.NEGATIVE_INFINITY,
      ngLeft > 0 ? (ng[ngLeft - 1] as number) : Number.NEGATIVE_INFINITY,
    );
    while (okLeft > 0 && ok[okLeft - 1] === threshold) okLeft--;
    while (ngLeft > 0 && ng[ngLeft - 1] === threshold) ngLeft--;
    visit(threshold, ok.length - okLeft, ng.length - ngLeft);
  }
}

/** A copy, in the caller's order. */
function checkedScores(kind: 'OK' | 'NG', scores: ArrayLike<number>): Float64Array {
  const checked = Float64Array.from(scores);
  if (checked.length === 0) {
    throw new InspectionError('invalid_value', `The metrics need at least one ${kind} score and got none.`);
  }
  const wrong = checked.find((score) => !Number.isFinite(score));
  if (wrong !== undefined) {
    throw new InspectionError(
      'invalid_value',
      `The metrics need finite scores; one of the ${kind} scores is ${wrong}.`,
    );
  }
  return checked;
}
