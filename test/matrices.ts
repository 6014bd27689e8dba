import type { DotProducts } from '../src/patchcore/coreset.ts';
import { createMatrix, type Matrix } from '../src/patchcore/matrix.ts';

/** A matrix from rows that one can read. */
export function matrixOf(rows: readonly (readonly number[])[]): Matrix {
  return createMatrix(rows.length, rows[0]?.length ?? 1, Float32Array.from(rows.flat()));
}

/** a · bᵀ by the plain loop, in float64. */
export const plainProducts: DotProducts = async (a, b) =>
  Float32Array.from({ length: a.rows * b.rows }, (_, at) => {
    const [row, other] = [Math.floor(at / b.rows), at % b.rows];
    let sum = 0;
    for (let i = 0; i < a.cols; i++)
      sum += (a.data[row * a.cols + i] as number) * (b.data[other * b.cols + i] as number);
    return sum;
  });
