import { InspectionError } from '../errors.ts';
import type { GrayMap } from './anomaly_map.ts';
import type { RoiMask } from './roi_mask.ts';

/**
 * The p-th percentile, linear between neighbours, as numpy's default: at position (n - 1) · p / 100 of the sorted values.
 *
 * Cost: linear in the mean (quickselect on a copy), also for many equal values.
 *
 * @param values at least one, finite; not changed
 * @param p 0..100
 * @throws InspectionError `shape_mismatch` without values, `invalid_value` for another p
 */
export function percentile(values: Float32Array | Float64Array, p: number): number {
  return percentileInPlace(values.slice(), p);
}

/**
 * The score of a picture: the percentile of its anomaly map inside the mask.
 *
 * @param p 0..100; 100 is PatchCore's maximum, 99 lets a single hot pixel not decide
 * @param values the map's values inside the mask, in any order; reordered
 * @throws InspectionError `empty_mask` when the mask covers no pixel, `shape_mismatch` when map and mask differ in size
 */
export function imageScore(map: GrayMap, mask: RoiMask, p: number, values = maskedValues(map, mask)): number {
  return percentileInPlace(values, p);
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
  selectInPlace(values, values.length - count);
  let sum = 0;
  for (let i = values.length - count; i < values.length; i++) sum += values[i] as number;
  return sum / count;
}

/** The map's values inside the mask, as a new array. @throws InspectionError as {@link imageScore} */
export function maskedValues(map: GrayMap, mask: RoiMask): Float32Array {
  if (map.data.length !== mask.data.length) {
    throw new InspectionError(
      'shape_mismatch',
      `A mask of ${mask.data.length} pixels does not fit a map of ${map.data.length}.`,
    );
  }
  if (mask.covered === 0) throw new InspectionError('empty_mask', 'The ROI covers no pixel of the picture.');
  if (mask.covered === map.data.length) return map.data.slice();
  const values = new Float32Array(mask.covered);
  let count = 0;
  for (let i = 0; i < map.data.length; i++) {
    if (mask.data[i] !== 0) values[count++] = map.data[i] as number;
  }
  return values;
}

/** {@link percentile} that reorders `values`. */
export function percentileInPlace(values: Float32Array | Float64Array, p: number): number {
  if (values.length === 0) throw new InspectionError('shape_mismatch', 'There is no percentile of no values.');
  if (!(p >= 0 && p <= 100))
    throw new InspectionError('invalid_value', `The percentile is ${p}; it must be from 0 to 100.`);
  const position = ((values.length - 1) * p) / 100;
  const lower = Math.floor(position);
  const low = selectInPlace(values, lower);
  const share = position - lower;
  if (share === 0) return low;
  // After the selection everything above `lower` is at least as large: the next value is their minimum.
  let high = Number.POSITIVE_INFINITY;
  for (let i = lower + 1; i < values.length; i++) high = Math.min(high, values[i] as number);
  return low + (high - low) * share;
}

/** The value at `rank` of the sorted order (0-based); smaller ones end up left of it, larger ones right. */
function selectInPlace(values: Float32Array | Float64Array, rank: number): number {
  let left = 0;
  let right = values.length - 1;
  while (left < right) {
    const pivot = pivotFor(values, left, right, rank);
    // Both scans stop at equal values, so that many equal ones still split in halves.
    let i = left;
    let j = right;
    while (i <= j) {
      while ((values[i] as number) < pivot) i++;
      while ((values[j] as number) > pivot) j--;
      if (i <= j) {
        const swap = values[i] as number;
        values[i] = values[j] as number;
        values[j] = swap;
        i++;
        j--;
      }
    }
    if (rank <= j) right = j;
    else if (rank >= i) left = i;
    else break;
  }
  return values[rank] as number;
}

const sampleSize = 128;

/**
 * One of the values from `left` to `right`. In a long range a value of a sample that lies just beyond the rank, as seen
 * from the nearer end: the percentiles asked for are mostly near an end, and what is left after one pass is little more
 * than that end.
 */
function pivotFor(values: Float32Array | Float64Array, left: number, right: number, rank: number): number {
  if (right - left < 8 * sampleSize) {
    return medianOfThree(values[left] as number, values[(left + right) >> 1] as number, values[right] as number);
  }
  const sample = new Float64Array(sampleSize);
  const step = (right - left) / (sampleSize - 1);
  for (let i = 0; i < sampleSize; i++) sample[i] = values[left + Math.floor(i * step)] as number;
  sample.sort();
  const share = (rank - left) / (right - left);
  const place = share * (sampleSize - 1);
  const margin = 2 * Math.sqrt(sampleSize * share * (1 - share)) + 1;
  return sample[share < 0.5 ? Math.ceil(place + margin) : Math.floor(place - margin)] as number;
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
