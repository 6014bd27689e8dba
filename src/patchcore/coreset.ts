import { InspectionError } from '../errors.ts';
import type { Matrix } from './matrix.ts';

export interface CoresetHooks {
  /** Called now and then, and at the end. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Asked now and then; true ends the search with `request_aborted`. */
  readonly shouldStop?: () => boolean;
}

/** The predecessor's random start for a seed of 0, as a share of the rows. */
const startShare = 3653403231 / 2 ** 32;

/** Between two looks at the hooks. */
const picksPerLook = 8;

/**
 * How many of `rows` patches a coreset of `rate` keeps: max(1, ceil(rows · rate)), where a product that is whole but for
 * float noise (0.07 · 100 = 7.000000000000001) counts as whole.
 *
 * @param rate 0 < rate ≤ 1
 */
export function coresetSize(rows: number, rate: number): number {
  const product = rows * rate;
  const whole = Math.round(product);
  const size = Math.abs(product - whole) < 1e-9 * Math.max(1, product) ? whole : Math.ceil(product);
  return Math.min(rows, Math.max(1, size));
}

/**
 * Greedy k-center: starts at a fixed row, then again and again takes the row farthest from all picks. Euclidean; the
 * lower index wins ties. A size of all rows or more gives all rows in their own order without a search.
 *
 * Cost: rows · size · cols multiplications; 50,000 × 1152 → 1000 takes about a minute. This plain loop is also the
 * reference for faster ones.
 *
 * Source: Sener & Savarese 2018, algorithm 1, as PatchCore uses it (Roth et al. 2022, arXiv:2106.08265, sec. 3.2), who
 * search in a random projection; we search in the full space, so a result never depends on a seed.
 *
 * @returns row indices in the order they were picked
 * @throws InspectionError `shape_mismatch` for a matrix without rows or a size below 1; `request_aborted`
 */
export function selectCoreset(matrix: Matrix, size: number, hooks: CoresetHooks = {}): Int32Array {
  const { rows } = matrix;
  if (rows < 1 || !Number.isInteger(size) || size < 1) {
    throw new InspectionError('shape_mismatch', `A coreset of ${size} rows cannot be chosen among ${rows}.`);
  }
  if (size >= rows) return Int32Array.from({ length: rows }, (_, row) => row);

  const picks = new Int32Array(size);
  // Squared distance of every row to its nearest pick.
  const nearest = new Float64Array(rows).fill(Number.POSITIVE_INFINITY);
  let pick = Math.floor(startShare * rows);
  for (let count = 0; count < size; count++) {
    if (count % picksPerLook === 0) {
      if (hooks.shouldStop?.() === true) {
        throw new InspectionError(
          'request_aborted',
          'The fit was abandoned before it was complete; nothing was changed.',
        );
      }
      hooks.onProgress?.(count, size);
    }
    picks[count] = pick;
    pick = approach(matrix, pick, nearest);
  }
  hooks.onProgress?.(size, size);
  return picks;
}

/**
 * The largest distance of any row to its nearest pick: what greedy k-center makes small.
 *
 * @returns 0 when every row equals a pick
 */
export function coveringRadius(matrix: Matrix, picks: ArrayLike<number>): number {
  const nearest = new Float64Array(matrix.rows).fill(Number.POSITIVE_INFINITY);
  let farthest = -1;
  for (let i = 0; i < picks.length; i++) farthest = approach(matrix, picks[i] as number, nearest);
  return farthest < 0 ? Number.POSITIVE_INFINITY : Math.sqrt(nearest[farthest] as number);
}

/** Takes `pick` into account in `nearest` and returns the row that is now farthest, the lowest among equals. */
function approach({ rows, cols, data }: Matrix, pick: number, nearest: Float64Array): number {
  const target = data.subarray(pick * cols, (pick + 1) * cols);
  const whole = cols - (cols % 4);
  let farthest = 0;
  let farthestDistance = -1;
  for (let row = 0, start = 0; row < rows; row++, start += cols) {
    let distance = nearest[row] as number;
    if (distance > 0) {
      // Four sums, so that one addition need not wait for the last.
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let i = 0;
      for (; i < whole; i += 4) {
        const da = (data[start + i] as number) - (target[i] as number);
        const db = (data[start + i + 1] as number) - (target[i + 1] as number);
        const dc = (data[start + i + 2] as number) - (target[i + 2] as number);
        const dd = (data[start + i + 3] as number) - (target[i + 3] as number);
        a += da * da;
        b += db * db;
        c += dc * dc;
        d += dd * dd;
      }
      for (; i < cols; i++) {
        const da = (data[start + i] as number) - (target[i] as number);
        a += da * da;
      }
      const squared = a + b + (c + d);
      if (squared < distance) {
        distance = squared;
        nearest[row] = squared;
      }
    }
    if (distance > farthestDistance) {
      farthestDistance = distance;
      farthest = row;
    }
  }
  return farthest;
}
