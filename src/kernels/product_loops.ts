import { layout, loopSlack, loopsWith } from './loops.ts';

/** Dot products that are looked at in one go, unless one row has more: so few stay in the cache of the core. */
const numbersAtOnce = 16384;

/**
 * Brings every row as near as its nearest of some picks: in `nearest`, which holds squared distances, the least of what is
 * there and of a + b − 2 · dot for each pick, where what is less than `equalShare` of a + b counts as 0. Computed in float64.
 *
 * @param dots [rows, picks] their dot products
 * @param squares [rows] squared lengths
 * @param pickSquares [picks] those of the picks
 * @param nearest [rows] changed in place
 */
export function approachPicks(
  dots: Float32Array,
  squares: Float64Array,
  pickSquares: Float64Array,
  equalShare: number,
  nearest: Float32Array,
): void {
  const picks = pickSquares.length;
  const atOnce = Math.max(1, Math.floor(numbersAtOnce / picks));
  const plan = layout();
  const [dotsAt, squaresAt] = [plan(4 * atOnce * picks + loopSlack), plan(8 * atOnce)];
  const [pickSquaresAt, nearestAt] = [plan(8 * (picks + 1)), plan(4 * atOnce)];
  const loops = loopsWith(plan(0));
  const { buffer } = loops.memory;
  const dotsThere = new Float32Array(buffer, dotsAt, atOnce * picks);
  const squaresThere = new Float64Array(buffer, squaresAt, atOnce);
  const nearestThere = new Float32Array(buffer, nearestAt, atOnce);
  const pickSquaresThere = new Float64Array(buffer, pickSquaresAt, picks + 1);
  pickSquaresThere.set(pickSquares);
  pickSquaresThere[picks] = Number.POSITIVE_INFINITY;
  for (let first = 0; first < nearest.length; first += atOnce) {
    const some = nearest.subarray(first, first + atOnce);
    dotsThere.set(dots.subarray(first * picks, (first + some.length) * picks));
    squaresThere.set(squares.subarray(first, first + some.length));
    nearestThere.set(some);
    loops.approachPicks(dotsAt, some.length, picks, squaresAt, pickSquaresAt, equalShare, nearestAt);
    some.set(nearestThere.subarray(0, some.length));
  }
}

/** Of some patches, each the largest of its dot products with patches of other pictures. */
export interface BestOfOthers {
  /** Which picture each is of. */
  readonly picture: Int32Array;
  /** -Infinity as long as there is none. */
  readonly dot: Float32Array;
  /** The number of the other patch of it. */
  readonly other: Int32Array;
}

/**
 * Takes products of rows with picks into account in both; of equal ones the first stays.
 *
 * @param dots [rows, picks]
 * @param firstRow the number of the first row, for `picks.other`
 * @param firstPick the number of the first pick, for `rows.other`
 */
export function keepBestOfOthers(
  dots: Float32Array,
  rows: BestOfOthers,
  firstRow: number,
  picks: BestOfOthers,
  firstPick: number,
): void {
  const cols = picks.dot.length;
  const atOnce = Math.max(1, Math.floor(numbersAtOnce / cols));
  const plan = layout();
  const dotsAt = plan(4 * atOnce * cols);
  const rowsAt = [plan(4 * atOnce), plan(4 * atOnce), plan(4 * atOnce)] as const;
  const picksAt = [plan(4 * cols), plan(4 * cols), plan(4 * cols)] as const;
  const loops = loopsWith(plan(0));
  const { buffer } = loops.memory;
  const dotsThere = new Float32Array(buffer, dotsAt, atOnce * cols);
  const rowsThere = bestAt(buffer, rowsAt, atOnce);
  const picksThere = bestAt(buffer, picksAt, cols);
  lay(picks, picksThere);
  for (let first = 0; first < rows.dot.length; first += atOnce) {
    const some = bestPart(rows, first, atOnce);
    const count = some.dot.length;
    dotsThere.set(dots.subarray(first * cols, (first + count) * cols));
    lay(some, rowsThere);
    loops.bestOfOthers(dotsAt, count, cols, firstRow + first, firstPick, ...rowsAt, ...picksAt);
    takeBack(bestPart(rowsThere, 0, count), some);
  }
  takeBack(picksThere, picks);
}

/** A view of `count` of them, or of what there is. */
export function bestPart({ picture, dot, other }: BestOfOthers, first: number, count: number): BestOfOthers {
  const end = first + count;
  return { picture: picture.subarray(first, end), dot: dot.subarray(first, end), other: other.subarray(first, end) };
}

function bestAt(
  buffer: ArrayBuffer,
  [picture, dot, other]: readonly [number, number, number],
  count: number,
): BestOfOthers {
  return {
    picture: new Int32Array(buffer, picture, count),
    dot: new Float32Array(buffer, dot, count),
    other: new Int32Array(buffer, other, count),
  };
}

function lay(from: BestOfOthers, to: BestOfOthers): void {
  to.picture.set(from.picture);
  takeBack(from, to);
}

function takeBack(from: BestOfOthers, to: BestOfOthers): void {
  to.dot.set(from.dot);
  to.other.set(from.other);
}
