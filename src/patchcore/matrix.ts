import { InspectionError } from '../errors.ts';

/** A dense row-major matrix of float32. `data.length === rows · cols`, checked when made. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float32Array;
}

declare const unitRows: unique symbol;

/** A matrix whose rows have length 1 (or are all zero). Only {@link normalizeRows} and {@link trustUnitRows} make one. */
export type UnitRowMatrix = Matrix & { readonly [unitRows]: true };

/**
 * Wraps `data` as a matrix; no copy, the caller gives the array away.
 *
 * @throws InspectionError `shape_mismatch` unless `rows ≥ 0`, `cols ≥ 1` and `data.length === rows · cols`
 */
export function createMatrix(rows: number, cols: number, data: Float32Array): Matrix {
  if (!Number.isInteger(rows) || !Number.isInteger(cols) || rows < 0 || cols < 1 || data.length !== rows * cols) {
    throw new InspectionError('shape_mismatch', `A ${rows} × ${cols} matrix cannot be made of ${data.length} numbers.`);
  }
  return { rows, cols, data };
}

/** [cols] The mean of the rows, summed in double precision. */
export function meanRow({ rows, cols, data }: Matrix): Float32Array {
  const sums = new Float64Array(cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) sums[col] = (sums[col] as number) + (data[row * cols + col] as number);
  }
  return Float32Array.from(sums, (sum) => sum / rows);
}

/** Keeps the division of an all-zero row harmless; the predecessor's value. */
export const epsilon = 1e-8;

/** What rounding may make of a row that was divided by its length. */
const unitTolerance = 1e-3;

/**
 * Divides every row by (its length + 1e-8), so that Euclidean distances compare directions. An all-zero row stays zero.
 *
 * @returns a new matrix; lengths are summed in float64
 */
export function normalizeRows({ rows, cols, data }: Matrix): UnitRowMatrix {
  const unit = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const start = row * cols;
    const end = start + cols;
    const scale = 1 / (Math.sqrt(squaredLength(data, start, end)) + epsilon);
    for (let i = start; i < end; i++) unit[i] = (data[i] as number) * scale;
  }
  return createMatrix(rows, cols, unit) as UnitRowMatrix;
}

/** Four sums, so that one addition need not wait for the last. */
function squaredLength(data: Float32Array, start: number, end: number): number {
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  let i = start;
  for (const whole = end - ((end - start) & 3); i < whole; i += 4) {
    first += (data[i] as number) * (data[i] as number);
    second += (data[i + 1] as number) * (data[i + 1] as number);
    third += (data[i + 2] as number) * (data[i + 2] as number);
    fourth += (data[i + 3] as number) * (data[i + 3] as number);
  }
  for (; i < end; i++) first += (data[i] as number) * (data[i] as number);
  return first + second + (third + fourth);
}

/**
 * Takes rows that were normalised before, such as those of a stored bank, for what they are. No copy. Rows shorter than 1
 * are accepted: a tiny row divided by (its length + 1e-8) is one.
 *
 * @throws InspectionError `shape_mismatch` when a row is longer than 1 or not finite
 */
export function trustUnitRows(matrix: Matrix): UnitRowMatrix {
  const { rows, cols, data } = matrix;
  for (let row = 0; row < rows; row++) {
    const sum = squaredLength(data, row * cols, (row + 1) * cols);
    // Written so that NaN fails too.
    if (!(Math.sqrt(sum) <= 1 + unitTolerance)) {
      const what = Number.isFinite(sum) ? `length ${Math.sqrt(sum)}` : 'a number that is not finite';
      throw new InspectionError('shape_mismatch', `row ${row} has ${what}, but unit rows are expected`);
    }
  }
  return matrix as UnitRowMatrix;
}

/**
 * The rows `indices` in their order, copied.
 *
 * @throws InspectionError `shape_mismatch` for an index outside the matrix
 */
export function selectRows<M extends Matrix>(matrix: M, indices: ArrayLike<number>): M {
  const { rows, cols, data } = matrix;
  const selected = new Float32Array(indices.length * cols);
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i] as number;
    if (!(row >= 0 && row < rows)) throw new InspectionError('shape_mismatch', `There is no row ${row} among ${rows}.`);
    selected.set(data.subarray(row * cols, (row + 1) * cols), i * cols);
  }
  return createMatrix(indices.length, cols, selected) as M;
}

/**
 * All rows of several matrices below each other, copied.
 *
 * @throws InspectionError `shape_mismatch` when there is none or the widths differ
 */
export function concatRows(matrices: readonly Matrix[]): Matrix {
  const [first] = matrices;
  if (first === undefined) throw new InspectionError('shape_mismatch', 'There are no matrices to put together.');
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const data = new Float32Array(rows * first.cols);
  let offset = 0;
  for (const matrix of matrices) {
    if (matrix.cols !== first.cols) {
      throw new InspectionError(
        'shape_mismatch',
        `Matrices of ${first.cols} and ${matrix.cols} columns cannot be put together.`,
      );
    }
    data.set(matrix.data, offset);
    offset += matrix.data.length;
  }
  return createMatrix(rows, first.cols, data);
}

/** Squared Euclidean distance of two rows of equally wide matrices, summed in float64. */
export function squaredDistance(a: Matrix, aRow: number, b: Matrix, bRow: number): number {
  const { cols } = a;
  const { data: left } = a;
  const { data: right } = b;
  let i = aRow * cols;
  let j = bRow * cols;
  const end = i + cols;
  // Four sums, as above.
  let first = 0;
  let second = 0;
  let third = 0;
  let fourth = 0;
  for (const whole = end - (cols & 3); i < whole; i += 4, j += 4) {
    const d0 = (left[i] as number) - (right[j] as number);
    const d1 = (left[i + 1] as number) - (right[j + 1] as number);
    const d2 = (left[i + 2] as number) - (right[j + 2] as number);
    const d3 = (left[i + 3] as number) - (right[j + 3] as number);
    first += d0 * d0;
    second += d1 * d1;
    third += d2 * d2;
    fourth += d3 * d3;
  }
  for (; i < end; i++, j++) {
    const difference = (left[i] as number) - (right[j] as number);
    first += difference * difference;
  }
  return first + second + (third + fourth);
}
