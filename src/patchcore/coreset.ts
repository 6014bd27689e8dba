import { InspectionError } from '../errors.ts';
import { type Matrix, squaredDistance } from './matrix.ts';

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
 * Gives the very picks of {@link selectCoresetPlainly}, but leaves out distances that cannot matter: a row at distance a
 * from its nearest pick P cannot be nearer to a new pick Q when |PQ| ≥ 2a (triangle inequality; Elkan 2003 does this for
 * k-means). On patch embeddings that spares most of the rows · size · cols multiplications.
 *
 * Source: Sener & Savarese 2018, algorithm 1, as PatchCore uses it (Roth et al. 2022, arXiv:2106.08265, sec. 3.2), who
 * search in a random projection; we search in the full space, so a result never depends on a seed.
 *
 * @returns row indices in the order they were picked
 * @throws InspectionError `shape_mismatch` for a matrix without rows or a size below 1; `request_aborted`
 */
export function selectCoreset(matrix: Matrix, size: number, hooks: CoresetHooks = {}): Int32Array {
  // Of every row: its nearest pick, by the pick's number.
  const nearestPick = new Int32Array(matrix.rows);
  // Of every pick so far: a quarter of its squared distance to the newest pick, rounding allowed for.
  const reach = new Float64Array(Math.min(matrix.rows, Math.max(1, Math.floor(size))));
  return greedyPicks(matrix, size, hooks, (picks, count, nearest) => {
    const pick = picks[count] as number;
    for (let i = 0; i < count; i++) {
      reach[i] = (squaredDistance(matrix, picks[i] as number, matrix, pick) / 4) * (1 - roundingAllowance);
    }
    let farthest = 0;
    let farthestDistance = -1;
    for (let row = 0; row < matrix.rows; row++) {
      let distance = nearest[row] as number;
      if (count === 0 || distance > (reach[nearestPick[row] as number] as number)) {
        const squared = squaredDistance(matrix, row, matrix, pick);
        if (squared < distance) {
          distance = squared;
          nearest[row] = squared;
          nearestPick[row] = count;
        }
      }
      if (distance > farthestDistance) {
        farthestDistance = distance;
        farthest = row;
      }
    }
    return farthest;
  });
}

/** The same by the plain loop: every distance, every time. The reference of the tests. */
export function selectCoresetPlainly(matrix: Matrix, size: number, hooks: CoresetHooks = {}): Int32Array {
  return greedyPicks(matrix, size, hooks, (picks, count, nearest) => approach(matrix, picks[count] as number, nearest));
}

/** Far more than float64 sums of float32 products can be off. */
const roundingAllowance = 1e-9;

/** Takes the newest pick (`picks[count]`) into account in `nearest` and names the row that is now farthest. */
type Approach = (picks: Int32Array, count: number, nearest: Float64Array) => number;

function greedyPicks({ rows }: Matrix, size: number, hooks: CoresetHooks, approachNewest: Approach): Int32Array {
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
    pick = approachNewest(picks, count, nearest);
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
function approach(matrix: Matrix, pick: number, nearest: Float64Array): number {
  let farthest = 0;
  let farthestDistance = -1;
  for (let row = 0; row < matrix.rows; row++) {
    const distance = Math.min(nearest[row] as number, squaredDistance(matrix, row, matrix, pick));
    nearest[row] = distance;
    if (distance > farthestDistance) {
      farthestDistance = distance;
      farthest = row;
    }
  }
  return farthest;
}
