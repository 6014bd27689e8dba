import { squaredLengths } from '../kernels/row_loops.ts';
import { createGraph } from '../onnx/onnx_graph.ts';
import type { OnnxSession } from '../onnx/onnx_session.ts';
import type { Matrix } from '../patchcore/matrix.ts';
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
import { type BankBlock, kthLine, type LowestScores, readLowest, rowsWithin, writeLowest } from './lowest_scores.ts';
import type { Neighbors } from './neighbors.ts';
import { sharedSessions } from './shared_sessions.ts';

export interface OnnxNeighborsOptions {
  /** Threads of one search, ≥ 1. */
  readonly threads: number;
}

/** What the engine may hold of scores at once. More would leave the processor's cache. */
const blockBytes = 8 * 1024 * 1024;

/**
 * Rows of the bank in one product. Fewer make it slower; with more there is room for the scores of fewer queries, and for every
 * few of them all rows are laid out anew: all 50000 × 1152 at once take twice as long.
 */
const blockRows = 4096;

const sessions = sharedSessions(scoreGraph);

/**
 * Exact k-NN with one matrix product on ONNX Runtime: |q − b|² = |q|² + |b|² − 2 q·b, of which |q|² does not change the
 * order and is left out. What is left, the score, loses digits to cancellation, so it only chooses candidates: their
 * distances are computed again in float64 and ranked, ties to the lower index.
 *
 * The scores of a query are laid out as a rectangle, and the engine gives the lowest of each of its lines and columns: a low
 * score lies where a low line and a low column cross. That takes a third of the time of a sorted selection.
 *
 * Distances, indices and ties are those of {@link nearestNeighbors}, for any finite rows, because the error of a score
 * is bounded: a row can only be among the k nearest if its score is within twice that error of the k-th best line's. The
 * more rows the scores cannot tell apart, the nearer the cost comes to the plain loop's. Rows that are equal bit for bit
 * are searched once.
 *
 * The bank is an input of the graph: it is used where it lies (no copy unless rows repeat; the caller must not change it)
 * and all banks of a thread share one small session. A search holds at most 8 MiB of scores, or one query's.
 */
export async function createOnnxNeighbors(bank: Matrix, { threads }: OnnxNeighborsOptions): Promise<Neighbors> {
  const distinct = distinctRows(bank);
  const squares = squaredLengths(distinct.matrix);
  const searched: SearchedBank = {
    ...distinct,
    blocks: blocksOf(distinct.matrix.rows),
    squares: Float32Array.from(squares),
    longest: Math.sqrt(squares.reduce((most, square) => Math.max(most, square), 0)),
  };
  const session = await sessions.borrow(threads);
  let disposed = false;
  return {
    rows: bank.rows,
    cols: bank.cols,
    bytes: bank.data.byteLength,
    keepsBank: true,
    search: async (queries, k) => {
      const ranking = startRanking(queries, neighborCount(queries, bank, k));
      const atOnce = Math.max(1, Math.floor(blockBytes / (4 * Math.min(searched.matrix.rows, blockRows))));
      for (let start = 0; start < queries.rows; start += atOnce) {
        const end = Math.min(start + atOnce, queries.rows);
        const scores: LowestScores[] = [];
        for (const block of searched.blocks) {
          scores.push(await lowestScores(queries, start, end, searched, block, session));
        }
        rankQueries(ranking, searched, start, end, scores);
      }
      return ranking.table;
    },
    dispose: async () => {
      if (disposed) return;
      disposed = true;
      await sessions.giveBack(threads);
    },
  };
}

interface SearchedBank extends DistinctRows {
  readonly blocks: readonly BankBlock[];
  /** [distinct rows] squared lengths */
  readonly squares: Float32Array;
  /** Length of the longest row. */
  readonly longest: number;
}

function blocksOf(rows: number): readonly BankBlock[] {
  return Array.from({ length: Math.ceil(rows / blockRows) }, (_, i) => {
    const first = i * blockRows;
    const end = Math.min(first + blockRows, rows);
    return { first, end, ...rectangleOf(end - first) };
  });
}

/** Nearly a square, of all rows or all but a few. */
function rectangleOf(rows: number): Pick<BankBlock, 'lines' | 'columns'> {
  const side = Math.floor(Math.sqrt(rows));
  let lines = side;
  for (let fewer = side; fewer > side / 3; fewer--) if (rows % fewer < rows % lines) lines = fewer;
  return { lines, columns: Math.floor(rows / lines) };
}

/** For the queries from `start` to `end`, which is not one of them. */
async function lowestScores(
  queries: Matrix,
  start: number,
  end: number,
  { matrix: { cols, data }, squares }: SearchedBank,
  block: BankBlock,
  session: OnnxSession,
): Promise<LowestScores> {
  const { first, lines, columns } = block;
  const behind = first + lines * columns;
  const output = await session.run({
    queries: { dims: [end - start, cols], data: queries.data.subarray(start * cols, end * cols) },
    bank: { dims: [lines, columns, cols], data: data.subarray(first * cols, behind * cols) },
    squares: { dims: [1, behind - first], data: squares.subarray(first, behind) },
  });
  return readLowest(block, output);
}

/** Ranks the rows that may be among the k nearest, for the queries from `start` to `end`. */
function rankQueries(
  ranking: Ranking,
  bank: SearchedBank,
  start: number,
  end: number,
  scores: readonly LowestScores[],
): void {
  const { lengths, table } = ranking;
  for (let query = start; query < end; query++) {
    const error = scoreError(lengths[query] as number, bank.longest, bank.matrix.cols);
    const reach = kthLine(scores, query - start, table.k) + 2 * error;
    beginQuery(ranking);
    for (const ofBlock of scores) {
      for (const row of rowsWithin(reach, ofBlock, query - start)) compare(ranking, bank, query, row);
    }
    endQuery(ranking, query);
  }
}

/**
 * By how much a float32 score |b|² − 2 q·b can be off at most, whatever the order of its sum: γ_d · |q| · |b| for the
 * product, a few roundings for the rest (Higham, Accuracy and Stability of Numerical Algorithms, 2002, sec. 3.1), and what
 * underflow can swallow.
 *
 * @returns NaN when the score may overflow
 */
function scoreError(queryLength: number, longest: number, cols: number): number {
  const product = 2 * queryLength * longest;
  const square = longest * longest;
  if (!(product + square < largestScore)) return Number.NaN;
  const underflow = cols * 2 ** -125 * (1 + queryLength + longest);
  return (cols + 8) * unitRoundoff * product + 8 * unitRoundoff * square + underflow;
}

/**
 * queries [n, d], bank [lines, columns, d], squares [1, lines · columns] → of_lines [n, lines], of_columns [n, columns]: the
 * lowest scores.
 */
function scoreGraph(): Uint8Array {
  const graph = createGraph('lowest_scores');
  const queries = graph.input('queries', 'float32', ['n', 'd']);
  const bank = graph.input('bank', 'float32', ['lines', 'columns', 'd']);
  const squares = graph.input('squares', 'float32', [1, 'rows']);
  const rows = graph.op('Flatten', [bank], { axis: 2 });
  const scores = graph.op('Gemm', [queries, rows, squares], { alpha: { float: -2 }, transB: 1 });
  const sides = graph.op('Slice', [graph.op('Shape', [bank]), graph.ints([0]), graph.ints([2])]);
  const rectangle = graph.op('Reshape', [scores, graph.op('Concat', [graph.ints([-1]), sides], { axis: 0 })]);
  writeLowest(graph, rectangle);
  return graph.encode();
}
