import { InspectionError } from '../errors.ts';
import { approachPicks } from '../kernels/product_loops.ts';
import { squaredLengths } from '../kernels/row_loops.ts';
import { percentile } from './image_score.ts';
import { createMatrix, type Matrix, selectRows, squaredDistance } from './matrix.ts';

export interface CoresetHooks {
  /** Called now and then, and at the end. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Asked now and then; true ends the search with `request_aborted`. */
  readonly shouldStop?: () => boolean;
  /**
   * Called for every product of rows with picks, so that who needs those numbers need not compute them again. Together the
   * calls cover every row with every pick once.
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
  /** [rows, picks] */
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

/** Rows of one product with the picks of a block. */
const rowsPerProduct = 2048;

/** A block of picks is applied to all rows at once; what comes back of larger ones leaves the processor's cache. */
const largestBlock = 256;

/** Rows among which the picks of a block are searched: twice as many save one block in ten and cost more than that. */
const candidatesPerBlock = 1024;

/** Candidates whose products with all candidates are asked for at once. */
const askedAtOnce = 32;

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
 * Cost: 2 · rows · size · cols operations in `products`, and about 4000 · size · cols among the candidates; reading the
 * products takes a sixth of the time that making them does at 384 columns. Memory beside the matrix: a copy of 1024 rows,
 * three numbers per row, and up to 70 MiB of products that wait to be collected.
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
  while (count < size) {
    lookAtHooks(hooks, count, size);
    await apply(matrix, squares, picks.subarray(applied, count), applied, nearest, products, hooks);
    applied = count;
    const farthest = indexOfLargest(nearest);
    const largest = nearest[farthest] as number;
    // Every row equals a pick: the plain loop would take the lowest index for ever.
    if (largest === 0) return picks.fill(farthest, count);
    const { indices: candidates, bound } = largestOf(nearest, candidatesPerBlock);
    if (candidates.length === 0) {
      picks[count++] = farthest;
      continue;
    }
    const found = await pickAmong(matrix, squares, candidates, nearest, bound, size - count, products);
    picks.set(found, count);
    count += found.length;
  }
  if (hooks.onProducts !== undefined) {
    await apply(matrix, squares, picks.subarray(applied), applied, nearest, products, hooks);
  }
  hooks.onProgress?.(size, size);
  return picks;
}

/**
 * Greedy picks among `candidates` (ascending) for as long as the farthest of them is beyond `bound`; at least one. Distances
 * between candidates are asked for when a pick needs them, together with those of the candidates that are now farthest: about
 * half of these are picked next.
 */
async function pickAmong(
  matrix: Matrix,
  squares: Float64Array,
  candidates: readonly number[],
  nearest: Float32Array,
  bound: number,
  most: number,
  products: DotProducts,
): Promise<Int32Array> {
  const rows = selectRows(matrix, candidates);
  const ownSquares = Float64Array.from(candidates, (row) => squares[row] as number);
  const own = Float32Array.from(candidates, (row) => nearest[row] as number);
  // Of candidates their dot products with all of them.
  const known = new Map<number, Float32Array>();
  const found: number[] = [];
  while (found.length < Math.min(most, largestBlock)) {
    const pick = indexOfLargest(own);
    if (!((own[pick] as number) > bound)) break;
    if (!known.has(pick)) {
      const { indices } = largestOf(own, askedAtOnce);
      const asked = indices.length === 0 ? [pick] : indices;
      const dots = await products(selectRows(rows, asked), rows);
      for (const [i, of] of asked.entries()) known.set(of, dots.subarray(i * rows.rows, (i + 1) * rows.rows));
    }
    found.push(candidates[pick] as number);
    approachPicks(known.get(pick) as Float32Array, ownSquares, ownSquares.subarray(pick, pick + 1), equalShare, own);
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
  const pickSquares = Float64Array.from(picks, (pick) => squares[pick] as number);
  for (let start = 0; start < matrix.rows; start += rowsPerProduct) {
    const end = Math.min(matrix.rows, start + rowsPerProduct);
    const part = createMatrix(end - start, matrix.cols, matrix.data.subarray(start * matrix.cols, end * matrix.cols));
    const dots = await products(part, picked);
    hooks.onProducts?.({ firstRow: start, rows: end - start, picks, firstPick, dots });
    approachPicks(dots, squares.subarray(start, end), pickSquares, equalShare, nearest.subarray(start, end));
  }
  for (const pick of picks) nearest[pick] = 0;
}

/** Where the largest values lie, ascending: those beyond a bound that `count` are beyond, or fewer where some equal it. */
function largestOf(
  values: Float32Array,
  count: number,
): { readonly indices: readonly number[]; readonly bound: number } {
  const bound = percentile(values, 100 * Math.max(0, 1 - count / values.length));
  const indices: number[] = [];
  for (let i = 0; i < values.length; i++) if ((values[i] as number) > bound) indices.push(i);
  return { indices, bound };
}

/** The lowest among equals. */
function indexOfLargest(values: Float32Array): number {
  let index = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[index] as number)) index = i;
  return index;
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
