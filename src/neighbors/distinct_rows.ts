import { type Matrix, selectRows } from '../patchcore/matrix.ts';

/** A matrix without its repeated rows, and where each row stood. */
export interface DistinctRows {
  /** In the order of their first appearance; the matrix itself, not a copy, when nothing repeats. */
  readonly matrix: Matrix;
  /** Row i of `matrix` stood at `places[starts[i]] … places[starts[i + 1] - 1]`, ascending. */
  readonly places: Int32Array;
  readonly starts: Int32Array;
}

/**
 * Drops rows that repeat an earlier one bit for bit. Parts on a black ground repeat one patch thousands of times in a bank
 * that keeps every patch; as ties they would all have to be ranked for every query.
 *
 * Cost: one pass over the matrix; a copy of the distinct rows where some repeat.
 */
export function distinctRows(matrix: Matrix): DistinctRows {
  const { rows, cols, data } = matrix;
  const bits = new Int32Array(data.buffer, data.byteOffset, data.length);
  // Row → the first row of the same bits, found among rows of the same hash.
  const firstOf = new Int32Array(rows);
  const withHash = new Map<number, number[]>();
  const firsts: number[] = [];
  for (let row = 0; row < rows; row++) {
    const hash = hashOf(bits, row * cols, cols);
    const alike = withHash.get(hash) ?? [];
    if (alike.length === 0) withHash.set(hash, alike);
    const first = alike.find((candidate) => sameBits(bits, candidate * cols, row * cols, cols));
    firstOf[row] = first ?? row;
    if (first !== undefined) continue;
    alike.push(row);
    firsts.push(row);
  }
  return {
    matrix: firsts.length === rows ? matrix : selectRows(matrix, firsts),
    ...placesOf(firstOf, firsts),
  };
}

/**
 * Some of the distinct rows, where they stood.
 *
 * @param rows their numbers
 * @param matrix the rows themselves, in that order
 */
export function distinctPart(
  { places, starts }: Pick<DistinctRows, 'places' | 'starts'>,
  rows: Int32Array,
  matrix: Matrix,
): DistinctRows {
  const placesOfEach = Array.from(rows, (row) => places.subarray(starts[row], starts[row + 1]));
  const partStarts = new Int32Array(rows.length + 1);
  for (const [i, { length }] of placesOfEach.entries()) partStarts[i + 1] = (partStarts[i] as number) + length;
  const partPlaces = new Int32Array(partStarts[rows.length] as number);
  for (const [i, some] of placesOfEach.entries()) partPlaces.set(some, partStarts[i]);
  return { matrix, places: partPlaces, starts: partStarts };
}

/** Counting sort of the rows by their first row. */
function placesOf(firstOf: Int32Array, firsts: readonly number[]): Pick<DistinctRows, 'places' | 'starts'> {
  const starts = new Int32Array(firsts.length + 1);
  const distinctOf = new Int32Array(firstOf.length);
  for (const [distinct, first] of firsts.entries()) distinctOf[first] = distinct;
  for (const first of firstOf) starts[(distinctOf[first] as number) + 1]++;
  for (let i = 0; i < firsts.length; i++) starts[i + 1] = (starts[i + 1] as number) + (starts[i] as number);
  const next = starts.slice();
  const places = new Int32Array(firstOf.length);
  for (const [row, first] of firstOf.entries()) places[next[distinctOf[first] as number]++] = row;
  return { places, starts };
}

/** FNV-1a over 32-bit words. */
function hashOf(bits: Int32Array, start: number, count: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < start + count; i++) hash = Math.imul(hash ^ (bits[i] as number), 0x01000193);
  return hash;
}

function sameBits(bits: Int32Array, a: number, b: number, count: number): boolean {
  for (let i = 0; i < count; i++) if (bits[a + i] !== bits[b + i]) return false;
  return true;
}
