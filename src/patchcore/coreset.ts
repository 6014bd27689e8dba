import { InspectionError } from '../errors.ts';
import { percentile } from './image_score.ts';
import { createMatrix, type Matrix, selectRows, squaredDistance } from './matrix.ts';

export interface CoresetHooks {
  /** Called now and then, and at the end. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Asked now and then; true ends the search with `request_aborted`. */
  readonly shouldStop?: () => boolean;
  /**
   * Called for every product of rows with picks, so that who needs those numbers need not compute them again: the first
   * row, picks by their number from `firstPick` to `lastPick`, and [rows, picks] dot products. Together the calls cover
   * every row with every pick once.
   */
  readonly onProducts?: (part: ProductsPart) => void;
}

/** @see CoresetHooks.onProducts */
export interface ProductsPart {
  readonly firstRow: number;
  readonly rows: number;
  /** Matrix rows that were picked. */
  readonly picks: Int32Array;
  /** The number of the first of them in the order of picking. */
  readonly firstPick: number;
  readonly dots: Float32Array;
}

/** The predecessor's random start for a seed of 0, as a share of the rows. */
const startShare = 3653403231 / 2 ** 32;

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

/** a · bᵀ: [a.rows · b.rows] row-major. Float32 is enough; sums may be in any order. */
export type DotProducts = (a: Matrix, b: Matrix) => Promise<Float32Array>;

/** Rows of one product with the picks of a block: what comes back stays in the processor's cache. */
const rowsPerProduct = 8192;

/** A block of picks is applied to all rows at once; a fuller one spares little more and forgets what it has seen. */
const largestBlock = 128;
const smallestBlock = 24;

/** Rows among which the picks of a block are searched; between these bounds it follows how many picks they give. */
const fewestCandidates = 256;
const mostCandidates = 4096;

/** Squared distances below this share of the squared lengths are rounding: the rows count as equal. */
const equalShare = 1e-6;

/**
 * Greedy k-center: starts at a fixed row, then again and again takes the row farthest from all picks. Euclidean; the
 * lower index wins ties. A size of all rows or more gives all rows in their own order without a search.
 *
 * The picks are those of {@link selectCoresetPlainly} wherever distances differ by more than float32 rounding (about one
 * millionth of the squared lengths), but almost all of the work is in matrix products: distances only ever shrink, so as
 * long as the farthest of the few rows beyond a bound stays beyond it, it is the farthest of all, and a whole block of
 * picks is found among those few before the others hear of it.
 *
 * Cost: 2 · rows · size · cols operations in `products`, and about a third more among the candidates. Memory beside the
 * matrix: 4096² numbers at most, and two numbers per row.
 *
 * Source: Sener & Savarese 2018, algorithm 1, as PatchCore uses it (Roth et al. 2022, arXiv:2106.08265, sec. 3.2), who
 * search in a random projection; we search in the full space, so a result never depends on a seed.
 *
 * @returns row indices in the order they were picked
 * @throws InspectionError `shape_mismatch` for a matrix without rows or a size below 1; `request_aborted`
 */
export async function selectCoreset(
  matrix: Matrix,
  size: number,
  products: DotProducts,
  hooks: CoresetHooks = {},
): Promise<Int32Array> {
  requireSize(matrix, size);
  if (size >= matrix.rows) return everyRow(matrix);
  const squares = squaredLengths(matrix);
  // Squared distance of every row to its nearest pick, of those that were applied.
  const nearest = new Float32Array(matrix.rows).fill(Number.POSITIVE_INFINITY);
  const picks = new Int32Array(size);
  picks[0] = startRow(matrix);
  let count = 1;
  let applied = 0;
  let wanted = fewestCandidates;
  while (count < size) {
    lookAtHooks(hooks, count, size);
    await apply(matrix, squares, picks.subarray(applied, count), applied, nearest, products, hooks);
    applied = count;
    const farthest = indexOfLargest(nearest);
    const largest = nearest[farthest] as number;
    // Every row equals a pick: the plain loop would take the lowest index for ever.
    if (largest === 0) return picks.fill(farthest, count);
    const bound = percentile(nearest, 100 * Math.max(0, 1 - wanted / matrix.rows));
    const candidates = rowsBeyond(nearest, bound);
    if (candidates.length === 0) {
      picks[count++] = farthest;
      continue;
    }
    const found = await pickAmong(matrix, squares, candidates, nearest, bound, size - count, products);
    picks.set(found, count);
    count += found.length;
    if (found.length < smallestBlock) wanted = Math.min(mostCandidates, wanted * 2);
    else if (found.length === largestBlock) wanted = Math.max(fewestCandidates, wanted / 2);
  }
  if (hooks.onProducts !== undefined) {
    await apply(matrix, squares, picks.subarray(applied), applied, nearest, products, hooks);
  }
  hooks.onProgress?.(size, size);
  return picks;
}

/** Greedy picks among `candidates` (ascending) for as long as the farthest of them is beyond `bound`; at least one. */
async function pickAmong(
  matrix: Matrix,
  squares: Float64Array,
  candidates: Int32Array,
  nearest: Float32Array,
  bound: number,
  most: number,
  products: DotProducts,
): Promise<Int32Array> {
  const rows = selectRows(matrix, candidates);
  const dots = await products(rows, rows);
  const own = Float32Array.from(candidates, (row) => nearest[row] as number);
  const found: number[] = [];
  while (found.length < Math.min(most, largestBlock)) {
    const pick = indexOfLargest(own);
    if (!((own[pick] as number) > bound)) break;
    const row = candidates[pick] as number;
    found.push(row);
    for (let i = 0; i < candidates.length; i++) {
      const dot = dots[pick * candidates.length + i] as number;
      const squared = squaredFromDot(squares[candidates[i] as number] as number, squares[row] as number, dot);
      if (squared < (own[i] as number)) own[i] = squared;
    }
    own[pick] = 0;
  }
  return Int32Array.from(found);
}

/** Takes new picks into account in `nearest`. */
async function apply(
  matrix: Matrix,
  squares: Float64Array,
  picks: Int32Array,
  firstPick: number,
  nearest: Float32Array,
  products: DotProducts,
  hooks: CoresetHooks,
): Promise<void> {
  const picked = selectRows(matrix, picks);
  for (let start = 0; start < matrix.rows; start += rowsPerProduct) {
    const end = Math.min(matrix.rows, start + rowsPerProduct);
    const part = createMatrix(end - start, matrix.cols, matrix.data.subarray(start * matrix.cols, end * matrix.cols));
    const dots = await products(part, picked);
    hooks.onProducts?.({ firstRow: start, rows: end - start, picks, firstPick, dots });
    for (let row = start; row < end; row++) {
      let least = nearest[row] as number;
      const base = (row - start) * picks.length;
      for (let i = 0; i < picks.length; i++) {
        const pickSquare = squares[picks[i] as number] as number;
        const squared = squaredFromDot(squares[row] as number, pickSquare, dots[base + i] as number);
        if (squared < least) least = squared;
      }
      nearest[row] = least;
    }
  }
  for (const pick of picks) nearest[pick] = 0;
}

function squaredFromDot(a: number, b: number, dot: number): number {
  const squared = a + b - 2 * dot;
  return squared < equalShare * (a + b) ? 0 : squared;
}

/** In ascending order. */
function rowsBeyond(nearest: Float32Array, bound: number): Int32Array {
  const rows: number[] = [];
  for (let row = 0; row < nearest.length; row++) if ((nearest[row] as number) > bound) rows.push(row);
  return Int32Array.from(rows);
}

/** The lowest among equals. */
function indexOfLargest(values: Float32Array): number {
  let index = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[index] as number)) index = i;
  return index;
}

function squaredLengths({ rows, cols, data }: Matrix): Float64Array {
  return Float64Array.from({ length: rows }, (_, row) => {
    let sum = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) sum += (data[i] as number) * (data[i] as number);
    return sum;
  });
}

/** The same by the plain loop: every distance, every time, in float64. The reference of the tests. */
export function selectCoresetPlainly(matrix: Matrix, size: number): Int32Array {
  requireSize(matrix, size);
  if (size >= matrix.rows) return everyRow(matrix);
  const picks = new Int32Array(size);
  const nearest = new Float64Array(matrix.rows).fill(Number.POSITIVE_INFINITY);
  let pick = startRow(matrix);
  for (let count = 0; count < size; count++) {
    picks[count] = pick;
    pick = approach(matrix, pick, nearest);
  }
  return picks;
}

function requireSize({ rows }: Matrix, size: number): void {
  if (rows >= 1 && Number.isInteger(size) && size >= 1) return;
  throw new InspectionError('shape_mismatch', `A coreset of ${size} rows cannot be chosen among ${rows}.`);
}

function everyRow({ rows }: Matrix): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => row);
}

function startRow({ rows }: Matrix): number {
  return Math.floor(startShare * rows);
}

function lookAtHooks(hooks: CoresetHooks, done: number, total: number): void {
  if (hooks.shouldStop?.() === true) {
    throw new InspectionError('request_aborted', 'The fit was abandoned before it was complete; nothing was changed.');
  }
  hooks.onProgress?.(done, total);
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
