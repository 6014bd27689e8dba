import { largestMagnitudes, rowsFrom } from '../kernels/int8_rows.ts';
import { createGraph } from '../onnx/onnx_graph.ts';
import type { OnnxSession } from '../onnx/onnx_session.ts';
import { type Matrix, selectRows } from '../patchcore/matrix.ts';
import { neighborCount } from '../patchcore/nearest_neighbors.ts';
import { largestScore, startRanking, unitRoundoff } from './exact_ranking.ts';
import {
  blockColumns,
  createInt8Bank,
  createInt8Queries,
  type Int8Bank,
  type Int8Block,
  type Int8Queries,
  queryZero,
} from './int8_bank.ts';
import { kthLine, type LowestScores, readLowest, rowsWithin, writeLowest } from './lowest_scores.ts';
import type { Neighbors, StoredRows } from './neighbors.ts';
import { sharedSessions } from './shared_sessions.ts';
import { type StoredCandidates, storedCandidates } from './stored_candidates.ts';

/** What a search may hold of the scores of its queries. */
const blockBytes = 8 * 1024 * 1024;
/** More queries at once are no faster, and have coarser steps. */
const mostQueries = 256;

/** By so many of its standard deviations the error of a score is reckoned with. */
const deviations = 3;

const sessions = sharedSessions(scoreGraph);

/**
 * k-NN in a quarter of the memory: only int8 is held of the bank, by which the candidates are chosen. These are read where they
 * are stored, measured in float64 and ranked, ties to the lower index.
 *
 * Rows and queries are rounded less the bank's mean. A score |b|² − 2 q·b is then off by E = 2 (|e_q| |b| + |q| |e_b|) at most,
 * where e is what rounding took. As that has little to do with the numbers it is multiplied by, the standard deviation is
 * σ = 2 √(|e_q|² |b|² + |q|² |e_b|²) / √columns. Candidates are all rows whose score is within twice the lesser of E and 3 σ
 * of the k-th best line's: 4 standard deviations of the difference of two scores.
 *
 * Every distance is that of its row, to the last bit. The row is the nearest for at least 99.9 % of the queries (in 100,000
 * searches for real patches it was for all). Of the others it is farther than the nearest, and the square of its distance by 2 E at most: in an
 * inspection that is overkill, and never lets a bad part pass; a threshold calibrated with such distances can be higher by as much.
 *
 * What is large in a few columns of a row makes its steps coarse, and the largest row those of all: as near, with more
 * candidates and therefore slower, up to the cost of the plain loop and of reading the bank anew for every query.
 *
 * @param bank of which nothing is kept
 * @param stored its rows; closed when the bank is disposed of
 */
export async function createInt8Neighbors(
  bank: Matrix,
  stored: StoredRows,
  { threads }: { readonly threads: number },
): Promise<Neighbors> {
  const { rows, cols } = bank;
  const { int8, session } = await openInt8(bank, threads).catch(async (error: unknown) => {
    await stored.close();
    throw error;
  });
  let disposed = false;
  return {
    rows,
    cols,
    bytes: int8.bytes,
    keepsBank: false,
    search: async (queries, k) => {
      const ranking = startRanking(queries, neighborCount(queries, { rows, cols }, k));
      const candidates = storedCandidates(ranking, int8, stored);
      const moved = rowsFrom(int8.centre, queries);
      // Queries that are searched together share their steps: those of like size.
      const sizes = largestMagnitudes(moved);
      const order = Uint32Array.from(sizes.keys()).sort((a, b) => (sizes[a] as number) - (sizes[b] as number));
      const atOnce = queriesAtOnce(int8);
      for (let start = 0; start < order.length; start += atOnce) {
        const asked = order.subarray(start, start + atOnce);
        await chooseCandidates(candidates, asked, selectRows(moved, asked), ranking.table.k, int8, session);
      }
      await candidates.end();
      return ranking.table;
    },
    dispose: async () => {
      if (disposed) return;
      disposed = true;
      await sessions.giveBack(threads);
      await stored.close();
    },
  };
}

async function openInt8(bank: Matrix, threads: number): Promise<{ int8: Int8Bank; session: OnnxSession }> {
  return { int8: createInt8Bank(bank), session: await sessions.borrow(threads) };
}

/** As many as have the scores of one block, and the lowest of all blocks, in the bytes allowed. */
function queriesAtOnce({ blocks }: Int8Bank): number {
  const lowest = blocks.reduce((sum, { lines }) => sum + lines + blockColumns, 0);
  const scores = (blocks[0]?.lines ?? 0) * blockColumns;
  return Math.max(1, Math.min(mostQueries, Math.floor(blockBytes / (4 * (scores + lowest)))));
}

/** @param asked the numbers of the queries, which are less the bank's mean */
async function chooseCandidates(
  candidates: StoredCandidates,
  asked: Uint32Array,
  queries: Matrix,
  k: number,
  bank: Int8Bank,
  session: OnnxSession,
): Promise<void> {
  const int8 = createInt8Queries(queries);
  const scores: LowestScores[] = [];
  for (const block of bank.blocks) scores.push(await lowestScores(int8, block, session));
  for (const [place, query] of asked.entries()) {
    const reach = kthLine(scores, place, k) + 2 * scoreError(int8, place, bank);
    for (const lowest of scores) {
      for (const row of rowsWithin(reach, lowest, place)) if (candidates.add(query, row)) await candidates.rank();
    }
  }
}

/** In the queries' steps. */
async function lowestScores(
  { levels, errors, step }: Int8Queries,
  block: Int8Block,
  session: OnnxSession,
): Promise<LowestScores> {
  const places = block.lines * blockColumns;
  const cols = block.levels.length / places;
  const output = await session.run({
    queries: { dims: [errors.length, cols], data: levels },
    rows: { dims: [cols, places], data: block.levels },
    factors: { dims: [places], data: block.factors },
    squares: { dims: [places], data: Float32Array.from(block.squares, (square) => square / step) },
  });
  return readLowest(block, output);
}

/**
 * By how much a score is taken to be off, in the queries' steps: by the rounding to steps as {@link createInt8Neighbors} says, by
 * that of float32 and by what underflow can swallow at most.
 *
 * @returns NaN when the score may overflow
 */
function scoreError(
  { lengths, errors, step }: Int8Queries,
  query: number,
  { cols, longest, longestError }: Int8Bank,
): number {
  const queryError = errors[query] as number;
  const queryLength = (lengths[query] as number) + queryError;
  const ofQuery = 2 * queryError * longest;
  const ofRow = 2 * queryLength * longestError;
  const largest = 2 * queryLength * (longest + longestError) + longest * longest;
  if (!(largest / step < largestScore)) return Number.NaN;
  const rounding = Math.min(ofQuery + ofRow, (deviations * Math.hypot(ofQuery, ofRow)) / Math.sqrt(cols));
  return (rounding + 16 * unitRoundoff * largest) / step + 2 ** -125;
}

/**
 * queries [n, d] and rows [d, places] in steps, factors and squares [places] → squares + factors · (queries · rows), of which
 * of_lines [n, places / 32] and of_columns [n, 32] are the lowest.
 */
function scoreGraph(): Uint8Array {
  const graph = createGraph('lowest_int8_scores');
  const queries = graph.input('queries', 'uint8', ['n', 'd']);
  const rows = graph.input('rows', 'int8', ['d', 'places']);
  const factors = graph.input('factors', 'float32', ['places']);
  const squares = graph.input('squares', 'float32', ['places']);
  const zero = graph.constant([], Uint8Array.of(queryZero));
  const operands = [queries, rows, graph.scalar(1), factors, zero, '', squares];
  const scores = graph.op('MatMulIntegerToFloat', operands, {}, 'com.microsoft');
  writeLowest(graph, graph.op('Reshape', [scores, graph.ints([0, -1, blockColumns])]));
  return graph.encode();
}
