import { squaredDistance } from '../kernels/row_loops.ts';
import { createGraph, elementTypes } from '../onnx/onnx_graph.ts';
import { type OnnxSession, openSession } from '../onnx/onnx_session.ts';
import type { PositionProducts, SearchBlocks } from '../patchcore/position_search.ts';

/** Matrix products on ONNX Runtime. Not safe for concurrent calls; each worker owns one. */
export interface OnnxProducts {
  /** @see PositionProducts; the widths must be equal, and indices below 2^24 */
  readonly products: Required<Pick<PositionProducts, 'searchBlocks' | 'squaredDistance'>> & PositionProducts;
  dispose(): Promise<void>;
}

/** @param options.threads of one product, ≥ 1 */
export async function createOnnxProducts(options: { readonly threads: number }): Promise<OnnxProducts> {
  const session = await openSession(productGraph(), options);
  let blockSession: Promise<OnnxSession> | null = null;
  const products: PositionProducts = async (a, b) => {
    const { dots } = await session.run({
      a: { dims: [a.rows, a.cols], data: a.data },
      b: { dims: [b.rows, b.cols], data: b.data },
    });
    return dots?.data as Float32Array;
  };
  const searchBlocks = async ({ queries, asked, rows, bias, blocks }: SearchBlocks) => {
    blockSession ??= openSession(blockGraph(), options);
    const found = await (await blockSession).run({
      queries: { dims: [queries.rows, queries.cols], data: queries.data },
      asked: { dims: [blocks, asked.length / blocks], data: new Float32Array(asked) },
      rows: { dims: [blocks, rows.rows / blocks, rows.cols], data: rows.data },
      bias: { dims: [blocks, rows.rows / blocks, 1], data: bias },
    });
    return { dots: found.dots?.data as Float32Array, rows: found.nearest?.data as Int32Array };
  };
  return {
    products: Object.assign(products, { searchBlocks, squaredDistance }),
    dispose: async () => {
      await session.dispose();
      await (await blockSession)?.dispose();
    },
  };
}

/** a [n, d], b [m, d] → a · bᵀ [n, m] */
function productGraph(): Uint8Array {
  const graph = createGraph('dot_products');
  const a = graph.input('a', 'float32', ['n', 'd']);
  const b = graph.input('b', 'float32', ['m', 'd']);
  graph.output(graph.op('Gemm', [a, b], { transB: 1 }), 'dots', 'float32', ['n', 'm']);
  return graph.encode();
}

/**
 * queries [n, d], asked [blocks, k], rows [blocks, m, d], bias [blocks, m, 1] → of rows · queries[asked]ᵀ + bias in each block
 * the largest for each query, [blocks, k], and its row, the lower of equal ones. Whole numbers come in as float32, the only
 * type that sessions here take.
 */
function blockGraph(): Uint8Array {
  const graph = createGraph('nearest_in_blocks');
  const queries = graph.input('queries', 'float32', ['n', 'd']);
  const asked = graph.input('asked', 'float32', ['blocks', 'k']);
  const rows = graph.input('rows', 'float32', ['blocks', 'm', 'd']);
  const bias = graph.input('bias', 'float32', ['blocks', 'm', 1]);
  const asking = graph.op('Gather', [queries, graph.op('Cast', [asked], { to: elementTypes.int32 })], { axis: 0 });
  // This way round, many rows take a quarter less time than rows turned over.
  const products = graph.op('MatMul', [rows, graph.op('Transpose', [asking], { perm: [0, 2, 1] })]);
  const dots = graph.op('Add', [products, bias]);
  // Together they take less time than TopK of one.
  const largest = graph.op('ReduceMax', [dots], { axes: [1], keepdims: 0 });
  const nearest = graph.op('ArgMax', [dots], { axis: 1, keepdims: 0 });
  graph.output(largest, 'dots', 'float32', ['blocks', 'k']);
  graph.output(graph.op('Cast', [nearest], { to: elementTypes.int32 }), 'nearest', 'int32', ['blocks', 'k']);
  return graph.encode();
}
