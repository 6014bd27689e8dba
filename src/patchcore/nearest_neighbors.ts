import { InspectionError } from '../errors.ts';
import { type Matrix, squaredDistance } from './matrix.ts';

/** The k nearest bank rows of every query row, nearest first; ties go to the lower index. */
export interface NeighborTable {
  readonly k: number;
  /** [queries · k] Euclidean. */
  readonly distances: Float32Array;
  /** [queries · k] bank rows. */
  readonly indices: Int32Array;
}

/**
 * Exact k-nearest neighbours by the plain loop, in float64: the reference for every faster engine.
 *
 * Cost: queries · bank rows · columns multiplications.
 *
 * @param k 1 ≤ k; cut to the bank's rows
 * @throws InspectionError `shape_mismatch` for an empty bank or different widths, `invalid_value` for another k
 */
export function nearestNeighbors(queries: Matrix, bank: Matrix, k: number): NeighborTable {
  const count = neighborCount(queries, bank, k);
  const distances = new Float32Array(queries.rows * count);
  const indices = new Int32Array(queries.rows * count);
  // The best so far of one query, nearest first, squared.
  const best = new Float64Array(count);
  for (let query = 0; query < queries.rows; query++) {
    best.fill(Number.POSITIVE_INFINITY);
    const base = query * count;
    for (let row = 0; row < bank.rows; row++) {
      const squared = squaredDistance(queries, query, bank, row);
      let place = count;
      // Strictly smaller: an equal distance stays behind the lower index found before.
      while (place > 0 && squared < (best[place - 1] as number)) place--;
      if (place === count) continue;
      for (let i = count - 1; i > place; i--) {
        best[i] = best[i - 1] as number;
        indices[base + i] = indices[base + i - 1] as number;
      }
      best[place] = squared;
      indices[base + place] = row;
    }
    for (let i = 0; i < count; i++) distances[base + i] = Math.sqrt(best[i] as number);
  }
  return { k: count, distances, indices };
}

/**
 * Checks a search's arguments and cuts k to the bank.
 *
 * @throws InspectionError as {@link nearestNeighbors}
 */
export function neighborCount(queries: Matrix, bank: Pick<Matrix, 'rows' | 'cols'>, k: number): number {
  if (!Number.isInteger(k) || k < 1)
    throw new InspectionError('invalid_value', `k is ${k}; it must be a whole number above 0.`);
  if (bank.rows < 1) throw new InspectionError('shape_mismatch', 'The memory bank has no rows.');
  if (queries.cols !== bank.cols) {
    throw new InspectionError(
      'shape_mismatch',
      `Queries of ${queries.cols} columns cannot be searched in a bank of ${bank.cols}.`,
    );
  }
  return Math.min(k, bank.rows);
}
