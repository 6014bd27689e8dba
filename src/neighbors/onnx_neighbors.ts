import { createGraph } from '../onnx/onnx_graph.ts';
import { type OnnxSession, openSession } from '../onnx/onnx_session.ts';
import { type Matrix, squaredDistance } from '../patchcore/matrix.ts';
import { type NeighborTable, neighborCount } from '../patchcore/nearest_neighbors.ts';
import type { Neighbors } from './neighbors.ts';

export interface OnnxNeighborsOptions {
  /** Threads of one search, ≥ 1. */
  readonly threads: number;
}

/** The score matrix of one block of queries stays below this many numbers (64 MiB). */
const blockNumbers = 16 * 1024 * 1024;

/**
 * Candidates beyond k that the graph hands over for exact ranking. Its float32 distances can swap rows whose squared
 * distances differ by less than about 1e-6 of |q|² + |b|²; more than this many such near-ties are needed to hide the
 * nearest row, and then the answer's distance is wrong by no more than that error.
 */
const spareCandidates = 3;

/**
 * Exact k-NN as one matrix product on ONNX Runtime: |q − b|² = |q|² + |b|² − 2 q·b, of which |q|² does not change the order
 * and is left out. Differences of near-equal numbers lose digits in float32, so the graph only picks k + 3 candidates;
 * their distances are computed again in float64 and ranked, ties to the lower index.
 *
 * The bank is an input of the graph, not part of it: many banks of one width share the engine's session. It is copied
 * once, transposed and scaled.
 */
export async function createOnnxNeighbors(bank: Matrix, options: OnnxNeighborsOptions): Promise<Neighbors> {
  const { rows, cols } = bank;
  const transposed = { dims: [cols, rows], data: transposeScaled(bank) };
  const squares = { dims: [1, rows], data: squaredLengths(bank) };
  const sessions = new Map<number, Promise<OnnxSession>>();

  const sessionFor = (candidates: number): Promise<OnnxSession> => {
    const open = sessions.get(candidates) ?? openSession(searchGraph(candidates), options);
    sessions.set(candidates, open);
    return open;
  };

  return {
    rows,
    cols,
    search: async (queries, k) => {
      const count = neighborCount(queries, bank, k);
      const candidates = Math.min(rows, count + spareCandidates);
      const table: NeighborTable = {
        k: count,
        distances: new Float32Array(queries.rows * count),
        indices: new Int32Array(queries.rows * count),
      };
      const session = await sessionFor(candidates);
      const block = Math.max(1, Math.floor(blockNumbers / rows));
      for (let start = 0; start < queries.rows; start += block) {
        const size = Math.min(block, queries.rows - start);
        const { picked } = await session.run({
          queries: { dims: [size, cols], data: queries.data.subarray(start * cols, (start + size) * cols) },
          bank: transposed,
          squares,
        });
        rank(queries, bank, picked?.data as BigInt64Array, candidates, start, size, table);
      }
      return table;
    },
    dispose: async () => {
      for (const session of sessions.values()) await (await session).dispose();
      sessions.clear();
    },
  };
}

/** queries [n, d], bank [d, m] already times −2, squares [1, m] → the candidates' rows [n, c], in no promised order. */
function searchGraph(candidates: number): Uint8Array {
  const graph = createGraph('nearest_neighbors');
  const queries = graph.input('queries', 'float32', ['n', 'd']);
  const bank = graph.input('bank', 'float32', ['d', 'm']);
  const squares = graph.input('squares', 'float32', [1, 'm']);
  const scores = graph.op('Add', [graph.op('MatMul', [queries, bank]), squares]);
  const [, indices] = graph.ops('TopK', [scores, graph.ints([candidates])], 2, { axis: 1, largest: 0, sorted: 0 });
  graph.output(indices as string, 'picked', 'int64', ['n', candidates]);
  return graph.encode();
}

function rank(
  queries: Matrix,
  bank: Matrix,
  picked: BigInt64Array,
  candidates: number,
  start: number,
  size: number,
  table: NeighborTable,
): void {
  const { k } = table;
  for (let i = 0; i < size; i++) {
    const query = start + i;
    const ranked: { readonly row: number; readonly squared: number }[] = [];
    for (let c = 0; c < candidates; c++) {
      const row = Number(picked[i * candidates + c]);
      ranked.push({ row, squared: squaredDistance(queries, query, bank, row) });
    }
    ranked.sort((a, b) => a.squared - b.squared || a.row - b.row);
    for (let place = 0; place < k; place++) {
      const { row, squared } = ranked[place] as (typeof ranked)[0];
      table.distances[query * k + place] = Math.sqrt(squared);
      table.indices[query * k + place] = row;
    }
  }
}

function transposeScaled({ rows, cols, data }: Matrix): Float32Array {
  const transposed = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) transposed[col * rows + row] = -2 * (data[row * cols + col] as number);
  }
  return transposed;
}

function squaredLengths({ rows, cols, data }: Matrix): Float32Array {
  const squares = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) sum += (data[i] as number) * (data[i] as number);
    squares[row] = sum;
  }
  return squares;
}
