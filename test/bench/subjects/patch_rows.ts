import { seededRandom } from '../../../src/evaluation/seeded_random.ts';
import { createMatrix, type Matrix } from '../../../src/patchcore/matrix.ts';

const directions = 32;
const noise = 0.3;

/**
 * Rows of length 1 such as patches have: a few directions, each weaker than the last, and a little of all others. The same
 * for the same seed. Made in place, because peak memory is measured around it.
 */
export function patchRows(rows: number, cols: number, seed: number): Matrix {
  return patchRowStream(cols, seed)(rows);
}

/** The next so many rows of the same directions at every call. */
export function patchRowStream(cols: number, seed: number): (rows: number) => Matrix {
  const random = seededRandom(seed);
  const basis = Float32Array.from({ length: directions * cols }, () => random() - 0.5);
  return (rows) => nextRows(rows, cols, basis, random);
}

function nextRows(rows: number, cols: number, basis: Float32Array, random: () => number): Matrix {
  const data = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const values = data.subarray(row * cols, (row + 1) * cols);
    for (let col = 0; col < cols; col++) values[col] = noise * (random() - 0.5);
    for (let direction = 0; direction < directions; direction++) {
      const weight = (random() - 0.5) / Math.sqrt(1 + direction);
      for (let col = 0; col < cols; col++) {
        values[col] = (values[col] as number) + weight * (basis[direction * cols + col] as number);
      }
    }
    const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    for (let col = 0; col < cols; col++) values[col] = (values[col] as number) / length;
  }
  return createMatrix(rows, cols, data);
}
