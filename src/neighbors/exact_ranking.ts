import { squaredDistance, squaredLengths } from '../kernels/row_loops.ts';
import type { Matrix } from '../patchcore/matrix.ts';
import type { NeighborTable } from '../patchcore/nearest_neighbors.ts';
import type { DistinctRows } from './distinct_rows.ts';

/** What engines with float32 scores share: the scores choose candidates, which are measured in float64 and ranked here. */

/** Half a unit in the last place of float32 numbers from 1 to 2: the relative error of one operation. */
export const unitRoundoff = 2 ** -24;

/** Beyond this a float32 score may overflow. */
export const largestScore = 1e38;

/** A table being filled, and what one query after the other uses. */
export interface Ranking {
  readonly queries: Matrix;
  readonly table: NeighborTable;
  /** [queries] their lengths, summed in float64 */
  readonly lengths: Float64Array;
  /** [k] squared distances of the query at hand, nearest first */
  readonly nearest: Float64Array;
}

export function startRanking(queries: Matrix, k: number): Ranking {
  const places = queries.rows * k;
  return {
    queries,
    lengths: squaredLengths(queries).map(Math.sqrt),
    table: { k, distances: new Float32Array(places), indices: new Int32Array(places) },
    nearest: new Float64Array(k),
  };
}

/** To be called before the first row is compared with a query; calling it again starts that query anew. */
export function beginQuery({ nearest }: Ranking): void {
  nearest.fill(Number.POSITIVE_INFINITY);
}

/**
 * Puts a distinct row, at all its places in the bank, among the nearest of a query so far.
 *
 * @returns the squared distance
 */
export function compare(
  { queries, table, nearest }: Ranking,
  { matrix, starts, places }: DistinctRows,
  query: number,
  row: number,
): number {
  const { k, indices } = table;
  const squared = squaredDistance(queries, query, matrix, row);
  if (squared > (nearest[k - 1] as number)) return squared;
  const first = starts[row] as number;
  const end = Math.min(starts[row + 1] as number, first + k);
  for (let at = first; at < end; at++) enter(nearest, indices, query * k, squared, places[at] as number);
  return squared;
}

/** Writes the distances of a query whose rows have been compared; the indices stand already. */
export function endQuery({ table: { k, distances }, nearest }: Ranking, query: number): void {
  for (let place = 0; place < k; place++) distances[query * k + place] = Math.sqrt(nearest[place] as number);
}

/** Puts a bank row in its place among the best so far: nearer ones first, then the lower index. */
function enter(best: Float64Array, indices: Int32Array, base: number, squared: number, row: number): void {
  const isBehind = (place: number) => {
    const other = best[place] as number;
    return squared < other || (squared === other && row < (indices[base + place] as number));
  };
  let place = best.length;
  if (!isBehind(place - 1)) return;
  for (place--; place > 0 && isBehind(place - 1); place--) {
    best[place] = best[place - 1] as number;
    indices[base + place] = indices[base + place - 1] as number;
  }
  best[place] = squared;
  indices[base + place] = row;
}
