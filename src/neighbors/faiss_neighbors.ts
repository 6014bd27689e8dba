import { squaredLengths } from '../kernels/row_loops.ts';
import { type Matrix, selectRows } from '../patchcore/matrix.ts';
import { type nearestNeighbors, neighborCount } from '../patchcore/nearest_neighbors.ts';
import { type DistinctRows, distinctRows } from './distinct_rows.ts';
import {
  beginQuery,
  compare,
  endQuery,
  largestScore,
  type Ranking,
  startRanking,
  unitRoundoff,
} from './exact_ranking.ts';
import type { FaissProcess } from './faiss_process.ts';
import type { Neighbors } from './neighbors.ts';

/** Rows that FAISS is asked for beyond the k nearest; those queries for which that was not enough are asked with the next. */
const spares = [7, 127];

/** FAISS multiplies matrices for so many queries at least; for fewer the loop over all rows here is as fast as FAISS's. */
const fewestQueries = 20;

/**
 * Exact k-NN with faiss-node. Its float32 distances and its own order of equal ones only choose candidates: these are
 * measured again in float64 and ranked, ties to the lower index.
 *
 * Distances, indices and ties are those of {@link nearestNeighbors}, for any finite rows, because the error of FAISS's
 * distances is bounded: the rows that it did not name are no nearer by its distances than the last one it named. Where that
 * leaves a doubt, more candidates are asked for, in the end all rows compared. Rows that are equal bit for bit are searched
 * once.
 *
 * The bank is used where it lies (no copy unless rows repeat; the caller must not change it); the child holds another.
 * Errors as of {@link FaissProcess}, which may serve several banks.
 */
export function createFaissNeighbors(bank: Matrix, faiss: FaissProcess): Neighbors {
  const distinct = distinctRows(bank);
  const longest = Math.sqrt(squaredLengths(distinct.matrix).reduce((most, square) => Math.max(most, square), 0));
  return {
    rows: bank.rows,
    cols: bank.cols,
    bytes: bank.data.byteLength,
    keepsBank: true,
    search: async (queries, k) => {
      const ranking = startRanking(queries, neighborCount(queries, bank, k));
      const searched: SearchedBank = { ...distinct, longest };
      let open = Array.from({ length: queries.rows }, (_, query) => query);
      for (const [turn, spare] of spares.entries()) {
        if (open.length === 0 || (turn > 0 && open.length < fewestQueries)) break;
        open = await rankCandidates(ranking, searched, open, ranking.table.k + spare, faiss);
      }
      for (const query of open) rankAll(ranking, searched, query);
      return ranking.table;
    },
    dispose: () => faiss.drop(distinct.matrix),
  };
}

interface SearchedBank extends DistinctRows {
  /** Length of the longest row. */
  readonly longest: number;
}

/** Ranks what FAISS names for these queries, and gives those of them for which that leaves a doubt. */
async function rankCandidates(
  ranking: Ranking,
  bank: SearchedBank,
  asked: readonly number[],
  wanted: number,
  faiss: FaissProcess,
): Promise<number[]> {
  const { queries } = ranking;
  const count = Math.min(wanted, bank.matrix.rows);
  const asking = asked.length === queries.rows ? queries : selectRows(queries, asked);
  const { rows, scores } = await faiss.search(bank.matrix, asking.data, count);
  return asked.filter((query, i) => {
    const at = i * count;
    return !rankQuery(ranking, bank, query, rows.subarray(at, at + count), scores.subarray(at, at + count));
  });
}

/** @returns whether no other row can be among the k nearest */
function rankQuery(
  ranking: Ranking,
  bank: SearchedBank,
  query: number,
  rows: Int32Array,
  scores: Float32Array,
): boolean {
  const { lengths, nearest } = ranking;
  const { matrix, longest } = bank;
  const error = scoreError(lengths[query] as number, longest, matrix.cols);
  beginQuery(ranking);
  // Comparisons are written so that NaN, from numbers too large or not finite, leaves a doubt.
  let certain = rows.length === matrix.rows;
  for (const [i, row] of rows.entries()) {
    const score = scores[i] as number;
    if (score > (nearest.at(-1) as number) + error) {
      certain = true;
      break;
    }
    // A score that is further off than it can be, or no row at all: FAISS is not to be relied on here.
    if (!(row >= 0 && row < matrix.rows && Math.abs(compare(ranking, bank, query, row) - score) <= error)) return false;
  }
  endQuery(ranking, query);
  return certain;
}

function rankAll(ranking: Ranking, bank: SearchedBank, query: number): void {
  beginQuery(ranking);
  for (let row = 0; row < bank.matrix.rows; row++) compare(ranking, bank, query, row);
  endQuery(ranking, query);
}

/**
 * By how much FAISS's |q − b|² can be off at most, whatever the order of its sums. With many queries it is
 * |q|² + |b|² − 2 q·b, not below 0, with few the sum of (q − b)²: in either case γ_d (|q| + |b|)² and a few roundings (Higham,
 * Accuracy and Stability of Numerical Algorithms, 2002, sec. 3.1), and what underflow can swallow.
 *
 * Source: exhaustive_L2sqr_blas and exhaustive_L2sqr_seq of FAISS 1.7.3, utils/distances.cpp.
 *
 * @returns NaN when the score may overflow
 */
function scoreError(queryLength: number, longest: number, cols: number): number {
  const largest = (queryLength + longest) ** 2;
  if (!(largest < largestScore)) return Number.NaN;
  return (cols + 8) * unitRoundoff * largest + cols * 2 ** -125 * (1 + queryLength + longest);
}
