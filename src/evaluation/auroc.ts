import { InspectionError } from '../errors.ts';

/**
 * Area under the ROC curve: the chance that an NG score is above an OK score, ties counted half (Mann-Whitney U).
 * 1 is perfect order, 0.5 is guessing, 0 is perfectly wrong. O(n log n).
 *
 * @param okScores at least one, finite, any unit, higher means more anomalous
 * @param ngScores at least one, finite, same unit
 * @returns 0..1; swapping the two lists gives 1 minus the value
 * @throws InspectionError `invalid_value` when a list is empty or holds a number that is not finite
 *
 * Source: Hanley & McNeil 1982, "The meaning and use of the area under a ROC curve".
 */
export function auroc(okScores: ArrayLike<number>, ngScores: ArrayLike<number>): number {
  const ok = sortedScores('OK', okScores);
  const ng = sortedScores('NG', ngScores);
  // Twice the number of pairs in order, ties once: an integer, so that nothing is lost by adding halves.
  let twicePairs = 0;
  let below = 0;
  let notAbove = 0;
  for (const score of ng) {
    while (below < ok.length && (ok[below] as number) < score) below++;
    while (notAbove < ok.length && (ok[notAbove] as number) <= score) notAbove++;
    twicePairs += below + notAbove;
  }
  return twicePairs / (2 * ok.length * ng.length);
}

function sortedScores(kind: 'OK' | 'NG', scores: ArrayLike<number>): Float64Array {
  const sorted = Float64Array.from(scores).sort();
  if (sorted.length === 0) {
    throw new InspectionError('invalid_value', `AUROC needs at least one ${kind} score and got none.`);
  }
  const wrong = sorted.find((score) => !Number.isFinite(score));
  if (wrong !== undefined) {
    throw new InspectionError('invalid_value', `AUROC needs finite scores; one of the ${kind} scores is ${wrong}.`);
  }
  return sorted;
}
