import { createMatrix, type Matrix } from '../patchcore/matrix.ts';
import { layout, loopsWith } from './loops.ts';
import { ofEachRow, rowsAtOnce } from './row_loops.ts';

/** Rows as they are seen from a centre: less its numbers, in float32, copied. */
export function rowsFrom(centre: Float32Array, { rows, cols, data }: Matrix): Matrix {
  const atOnce = rowsAtOnce(cols);
  const plan = layout();
  const [rowsAt, centreAt] = [plan(4 * atOnce * cols), plan(4 * cols)];
  const loops = loopsWith(plan(0));
  const rowsThere = new Float32Array(loops.memory.buffer, rowsAt, atOnce * cols);
  new Float32Array(loops.memory.buffer, centreAt, cols).set(centre);
  const moved = new Float32Array(data.length);
  for (let first = 0; first < rows; first += atOnce) {
    const some = data.subarray(first * cols, (first + atOnce) * cols);
    rowsThere.set(some);
    for (let at = 0; at < some.length; at += cols) loops.subtractInPlace(rowsAt + 4 * at, centreAt, cols);
    moved.set(rowsThere.subarray(0, some.length), first * cols);
  }
  return createMatrix(rows, cols, moved);
}

/** [rows] The largest |x| of every row. */
export function largestMagnitudes(matrix: Matrix): Float32Array {
  return ofEachRow(matrix, 'largestMagnitude', new Float32Array(matrix.rows));
}

/** Rows in whole steps, each row with a step of its own. */
export interface SteppedRows {
  /** [rows · cols] the low byte of (value / step, rounded to the nearest whole number, halves to even) + zero */
  readonly levels: Uint8Array;
  /** [rows] lengths of what rounding took away, summed in float64 */
  readonly errors: Float64Array;
}

/** @param steps [rows] above 0 */
export function rowsInSteps({ rows, cols, data }: Matrix, steps: Float32Array, zero: number): SteppedRows {
  const atOnce = rowsAtOnce(cols);
  const plan = layout();
  const [rowsAt, levelsAt] = [plan(4 * atOnce * cols), plan(atOnce * cols)];
  const loops = loopsWith(plan(0));
  const rowsThere = new Float32Array(loops.memory.buffer, rowsAt, atOnce * cols);
  const levelsThere = new Uint8Array(loops.memory.buffer, levelsAt, atOnce * cols);
  const levels = new Uint8Array(rows * cols);
  const errors = new Float64Array(rows);
  for (let first = 0; first < rows; first += atOnce) {
    const end = Math.min(first + atOnce, rows);
    rowsThere.set(data.subarray(first * cols, end * cols));
    for (let row = first; row < end; row++) {
      const at = (row - first) * cols;
      const lost = loops.toSteps(rowsAt + 4 * at, cols, steps[row] as number, zero, levelsAt + at);
      errors[row] = Math.sqrt(lost);
    }
    levels.set(levelsThere.subarray(0, (end - first) * cols), first * cols);
  }
  return { levels, errors };
}
