import { createGraph } from '../onnx/onnx_graph.ts';
import { type OnnxSession, openSession } from '../onnx/onnx_session.ts';
import { type Matrix, selectRows, squaredDistance } from '../patchcore/matrix.ts';
import { type NeighborTable, nearestNeighbors, neighborCount } from '../patchcore/nearest_neighbors.ts';
import { type DistinctRows, distinctRows } from './distinct_rows.ts';
import type { Neighbors } from './neighbors.ts';

export interface OnnxNeighborsOptions {
  /** Threads of one search, ≥ 1. */
  readonly threads: number;
}

/** What the engine may hold for one block of queries: their scores for every bank row, and the candidates. */
const blockBytes = 64 * 1024 * 1024;

/** Candidates beyond k that the graph hands over. */
const spareCandidates = 3;

/** How many times more candidates a query gets whose first ones could not be told from the rest. */
const secondChance = 8;

/** Half a unit in the last place of float32 numbers from 1 to 2: the relative error of one operation. */
const unitRoundoff = 2 ** -24;

/** Beyond this a float32 score may overflow. */
const largestScore = 1e38;

/**
 * Exact k-NN with one matrix product on ONNX Runtime: |q − b|² = |q|² + |b|² − 2 q·b, of which |q|² does not change the
 * order and is left out. What is left, the score, loses digits to cancellation, so it only chooses candidates: their
 * distances are computed again in float64 and ranked, ties to the lower index.
 *
 * Distances, indices and ties are those of {@link nearestNeighbors}, for any finite rows, because the error of a score
 * is bounded: a row can only be among the k nearest if its score is within twice that error of the k-th best. When the
 * k + 3 candidates do not reach that far, the query is searched again with eight times as many, and if near-ties outnumber
 * even those, by the plain loop. Rows that are equal bit for bit are searched once.
 *
 * The bank is an input of the graph: it is used where it lies (no copy unless rows repeat; the caller must not change it)
 * and all banks of a thread share one small session. A search holds at most 64 MiB of scores, or one query's.
 */
export async function createOnnxNeighbors(bank: Matrix, { threads }: OnnxNeighborsOptions): Promise<Neighbors> {
  const distinct = distinctRows(bank);
  const squares = squaredLengths(distinct.matrix);
  const longest = Math.sqrt(squares.reduce((most, square) => Math.max(most, square), 0));
  const search: Search = { distinct, squares: Float32Array.from(squares), longest, session: await borrow(threads) };
  let disposed = false;
  return {
    rows: bank.rows,
    cols: bank.cols,
    search: async (queries, k) => {
      const count = neighborCount(queries, bank, k);
      const table: NeighborTable = {
        k: count,
        distances: new Float32Array(queries.rows * count),
        indices: new Int32Array(queries.rows * count),
      };
      const wanted = Math.min(count, distinct.matrix.rows) + spareCandidates;
      const undecided = await searchInto(table, queries, allRows(queries), search, wanted);
      const left = await searchInto(table, queries, undecided, search, secondChance * wanted);
      if (left.length > 0) {
        const plain = nearestNeighbors(selectRows(queries, left), bank, count);
        for (const [i, query] of left.entries()) {
          table.distances.set(plain.distances.subarray(i * count, (i + 1) * count), query * count);
          table.indices.set(plain.indices.subarray(i * count, (i + 1) * count), query * count);
        }
      }
      return table;
    },
    dispose: async () => {
      if (disposed) return;
      disposed = true;
      await giveBack(threads);
    },
  };
}

/** What a search needs to know of its bank. */
interface Search {
  readonly distinct: DistinctRows;
  /** [distinct rows] */
  readonly squares: Float32Array;
  /** Length of the longest row. */
  readonly longest: number;
  readonly session: OnnxSession;
}

/**
 * Searches the query rows `chosen` and enters in the table those it can decide.
 *
 * @returns the others, ascending
 */
async function searchInto(
  table: NeighborTable,
  queries: Matrix,
  chosen: Int32Array,
  { distinct, squares, longest, session }: Search,
  wantedCandidates: number,
): Promise<Int32Array> {
  const { rows, cols, data } = distinct.matrix;
  const candidates = Math.min(rows, wantedCandidates);
  const asked = chosen.length === queries.rows ? queries : selectRows(queries, chosen);
  // Four bytes for every score, four and eight for a candidate's score and row.
  const block = Math.max(1, Math.floor(blockBytes / (4 * rows + 12 * candidates)));
  const undecided: number[] = [];
  for (let start = 0; start < asked.rows; start += block) {
    const size = Math.min(block, asked.rows - start);
    const output = await session.run({
      queries: { dims: [size, cols], data: asked.data.subarray(start * cols, (start + size) * cols) },
      bank: { dims: [rows, cols], data },
      squares: { dims: [1, rows], data: squares },
      candidates: { dims: [1], data: Float32Array.of(candidates) },
    });
    const scores = output.scores?.data as Float32Array;
    const picked = output.picked?.data as Int32Array;
    for (let i = 0; i < size; i++) {
      const from = i * candidates;
      const decided = rank(table, chosen[start + i] as number, queries, distinct, longest, {
        scores: scores.subarray(from, from + candidates),
        rows: picked.subarray(from, from + candidates),
      });
      if (!decided) undecided.push(chosen[start + i] as number);
    }
  }
  return Int32Array.from(undecided);
}

/** Distinct rows of the best scores, best first. */
interface Candidates {
  readonly scores: Float32Array;
  readonly rows: Int32Array;
}

/**
 * Ranks the candidates of one query by their true distance and enters the k nearest.
 *
 * @returns false, with the table untouched, when rows that are no candidates might be nearer
 */
function rank(
  { k, distances, indices }: NeighborTable,
  query: number,
  queries: Matrix,
  { matrix, places, starts }: DistinctRows,
  longest: number,
  candidates: Candidates,
): boolean {
  const error = scoreError(lengthOf(queries, query), longest, matrix.cols);
  const last = candidates.scores.length - 1;
  const reach = (candidates.scores[Math.min(k - 1, last)] as number) + 2 * error;
  // Written so that NaN, from numbers too large or not finite, decides nothing.
  const complete = candidates.rows.length === matrix.rows || (candidates.scores[last] as number) > reach;
  if (!complete || !Number.isFinite(reach)) return false;

  const base = query * k;
  const best = new Float64Array(k).fill(Number.POSITIVE_INFINITY);
  for (let i = 0; i <= last && (candidates.scores[i] as number) <= reach; i++) {
    const row = candidates.rows[i] as number;
    const squared = squaredDistance(queries, query, matrix, row);
    const from = starts[row] as number;
    const to = Math.min(starts[row + 1] as number, from + k);
    for (let at = from; at < to; at++) enter(best, indices, base, squared, places[at] as number);
  }
  for (let place = 0; place < k; place++) distances[base + place] = Math.sqrt(best[place] as number);
  return true;
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
 * queries [n, d], bank [m, d], squares [1, m], candidates [1] → the candidates' scores and rows [n, c], best first. The
 * number of candidates is an input, so that one session serves every k.
 */
function searchGraph(): Uint8Array {
  const graph = createGraph('nearest_neighbors');
  const queries = graph.input('queries', 'float32', ['n', 'd']);
  const bank = graph.input('bank', 'float32', ['m', 'd']);
  const squares = graph.input('squares', 'float32', [1, 'm']);
  const candidates = graph.op('Cast', [graph.input('candidates', 'float32', [1])], { to: onnxInt64 });
  const scores = graph.op('Gemm', [queries, bank, squares], { alpha: { float: -2 }, transB: 1 });
  const [best, rows] = graph.ops('TopK', [scores, candidates], 2, { axis: 1, largest: 0, sorted: 1 });
  graph.output(best as string, 'scores', 'float32', ['n', 'c']);
  graph.output(graph.op('Cast', [rows as string], { to: onnxInt32 }), 'picked', 'int32', ['n', 'c']);
  return graph.encode();
}

/** Element types of `onnx.proto`. */
const onnxInt32 = 6;
const onnxInt64 = 7;

interface SharedSession {
  readonly session: Promise<OnnxSession>;
  borrowers: number;
}

/** Open sessions by their number of threads: they know nothing of a bank, so all banks use the same. */
const sharedSessions = new Map<number, SharedSession>();

async function borrow(threads: number): Promise<OnnxSession> {
  const shared = sharedSessions.get(threads) ?? { session: openSession(searchGraph(), { threads }), borrowers: 0 };
  sharedSessions.set(threads, shared);
  shared.borrowers++;
  try {
    return await shared.session;
  } catch (error) {
    // The next bank tries again.
    sharedSessions.delete(threads);
    throw error;
  }
}

async function giveBack(threads: number): Promise<void> {
  const shared = sharedSessions.get(threads);
  if (shared === undefined) return;
  shared.borrowers--;
  if (shared.borrowers > 0) return;
  sharedSessions.delete(threads);
  await (await shared.session).dispose();
}

function allRows({ rows }: Matrix): Int32Array {
  return Int32Array.from({ length: rows }, (_, row) => row);
}

/** In float64. */
function squaredLengths(matrix: Matrix): Float64Array {
  return Float64Array.from({ length: matrix.rows }, (_, row) => lengthOf(matrix, row) ** 2);
}

function lengthOf({ cols, data }: Matrix, row: number): number {
  let sum = 0;
  for (let i = row * cols; i < (row + 1) * cols; i++) sum += (data[i] as number) * (data[i] as number);
  return Math.sqrt(sum);
}
