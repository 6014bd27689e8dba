import { createMatrix, type Matrix } from '../src/patchcore/matrix.ts';

/** A matrix from rows that one can read. */
export function matrixOf(rows: readonly (readonly number[])[]): Matrix {
  return createMatrix(rows.length, rows[0]?.length ?? 1, Float32Array.from(rows.flat()));
}
