import { epsilon, type Matrix } from '../patchcore/matrix.ts';
import { type Loops, layout, loopsWith } from './loops.ts';

/** Two rows in the loops' memory. Copying a row there costs a fifth of what its loop then saves. */
interface Desk {
  readonly loops: Loops;
  readonly left: Float32Array;
  readonly leftAt: number;
  readonly right: Float32Array;
  readonly rightAt: number;
}

let lastDesk: Desk | null = null;

function desk(cols: number): Desk {
  if (lastDesk?.left.length === cols) return lastDesk;
  const plan = layout();
  const [leftAt, rightAt] = [plan(cols * 4), plan(cols * 4)];
  const loops = loopsWith(plan(0));
  const { buffer } = loops.memory;
  const [left, right] = [new Float32Array(buffer, leftAt, cols), new Float32Array(buffer, rightAt, cols)];
  lastDesk = { loops, left, leftAt, right, rightAt };
  return lastDesk;
}

/** Squared Euclidean distance of two rows of equally wide matrices: that of `patchcore/matrix.ts`, bit for bit. */
export function squaredDistance(a: Matrix, aRow: number, b: Matrix, bRow: number): number {
  const { loops, left, leftAt, right, rightAt } = desk(a.cols);
  left.set(rowOf(a, aRow));
  right.set(rowOf(b, bRow));
  return loops.squaredDistance(leftAt, rightAt, a.cols);
}

/** Numbers that are copied there in one go, unless one row has more. */
const numbersAtOnce = 16384;

/** Rows that are copied to the loops' memory in one go: one by one takes longer, and more leave the processor's cache. */
export function rowsAtOnce(cols: number): number {
  return Math.ceil(numbersAtOnce / cols);
}

/** [rows] The squared length of every row, summed in float64. */
export function squaredLengths(matrix: Matrix): Float64Array {
  return ofEachRow(matrix, 'squaredLength', new Float64Array(matrix.rows));
}

/** @param found [rows] gets what the loop says of each row */
export function ofEachRow<T extends Float32Array | Float64Array>(
  { rows, cols, data }: Matrix,
  loop: 'squaredLength' | 'largestMagnitude',
  found: T,
): T {
  const atOnce = rowsAtOnce(cols);
  const loops = loopsWith(4 * atOnce * cols);
  const there = new Float32Array(loops.memory.buffer, 0, atOnce * cols);
  for (let row = 0; row < rows; row++) {
    const place = row % atOnce;
    if (place === 0) there.set(data.subarray(row * cols, (row + atOnce) * cols));
    found[row] = loops[loop](4 * place * cols, cols);
  }
  return found;
}

/**
 * Divides every row by (its length + 1e-8) where it lies, as `normalizeRows` does with a copy, bit for bit.
 *
 * @returns whether every number was finite; when not, the rows from the first such one on are left as they were
 */
export function normalizeRowsInPlace(matrix: Matrix): boolean {
  const { loops, left, leftAt } = desk(matrix.cols);
  for (let row = 0; row < matrix.rows; row++) {
    const values = rowOf(matrix, row);
    left.set(values);
    const square = loops.squaredLength(leftAt, matrix.cols);
    // No sum of float32 squares is too large for float64.
    if (!Number.isFinite(square)) return false;
    loops.scaleInPlace(leftAt, matrix.cols, 1 / (Math.sqrt(square) + epsilon));
    values.set(left);
  }
  return true;
}

function rowOf({ cols, data }: Matrix, row: number): Float32Array {
  return data.subarray(row * cols, (row + 1) * cols);
}
