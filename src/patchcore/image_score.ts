import { InspectionError } from '../errors.ts';
import type { GrayMap } from './anomaly_map.ts';
import { type RoiMask, runsInside } from './roi_mask.ts';
import { selectRank } from './selection.ts';

/**
 * The p-th percentile, linear between neighbours, as numpy's default: at position (n - 1) · p / 100 of the sorted values.
 *
 * Cost: see {@link selectRank}.
 *
 * @param values at least one, finite; not changed
 * @param p 0..100
 * @throws InspectionError `shape_mismatch` without values, `invalid_value` for another p
 */
export function percentile(values: Float32Array | Float64Array, p: number): number {
  if (values.length === 0) throw new InspectionError('shape_mismatch', 'There is no percentile of no values.');
  if (!(p >= 0 && p <= 100))
    throw new InspectionError('invalid_value', `The percentile is ${p}; it must be from 0 to 100.`);
  const position = ((values.length - 1) * p) / 100;
  const lower = Math.floor(position);
  const selected = selectRank(values, lower, Math.min(lower + 2, values.length));
  const low = selected.values[selected.at] as number;
  const share = position - lower;
  if (share === 0) return low;
  let high = Number.POSITIVE_INFINITY;
  for (let i = selected.at + 1; i < selected.values.length; i++) high = Math.min(high, selected.values[i] as number);
  return low + (high - low) * share;
}

/**
 * The score of a picture: the percentile of its anomaly map inside the mask.
 *
 * @param p 0..100; 100 is PatchCore's maximum, 99 lets a single hot pixel not decide
 * @param values the map's values inside the mask, in any order; not changed
 * @throws InspectionError `empty_mask` when the mask covers no pixel, `shape_mismatch` when map and mask differ in size
 */
export function imageScore(map: GrayMap, mask: RoiMask, p: number, values = maskedValues(map, mask)): number {
  return percentile(values, p);
}

/** How a map becomes a score: a percentile of it, or the mean of its highest 1 %. */
export type ScoreMode = 'percentile' | 'top_share';
export const scoreModes = ['percentile', 'top_share'] as const satisfies readonly ScoreMode[];

/** Share of the map's pixels that `top_share` averages. */
const topShare = 0.01;

/**
 * The mean of the highest 1 % of the anomaly map inside the mask, at least of one pixel. Linear in the mean, as
 * {@link percentile}.
 *
 * @param values as {@link imageScore}
 * @throws InspectionError `empty_mask`, `shape_mismatch` as {@link imageScore}
 *
 * Source: Damm et al. 2024, AnomalyDINO, arXiv:2405.14529, sec. 3.2 (they average patch distances; we average the map, so
 * that a mask may cut through patches).
 */
export function topShareScore(map: GrayMap, mask: RoiMask, values = maskedValues(map, mask)): number {
  const count = Math.max(1, Math.floor(values.length * topShare));
  const highest = selectRank(values, values.length - count, values.length);
  let sum = 0;
  for (let i = highest.at; i < highest.values.length; i++) sum += highest.values[i] as number;
  return sum / count;
}

/** The map's values inside the mask: its own array where all are. @throws InspectionError as {@link imageScore} */
export function maskedValues(map: GrayMap, mask: RoiMask): Float32Array {
  if (map.data.length !== mask.data.length) {
    throw new InspectionError(
      'shape_mismatch',
      `A mask of ${mask.data.length} pixels does not fit a map of ${map.data.length}.`,
    );
  }
  if (mask.covered === 0) throw new InspectionError('empty_mask', 'The ROI covers no pixel of the picture.');
  if (mask.covered === map.data.length) return map.data;
  const values = new Float32Array(mask.covered);
  let count = 0;
  for (const [first, behind] of runsInside(mask)) {
    values.set(map.data.subarray(first, behind), count);
    count += behind - first;
  }
  return values;
}
