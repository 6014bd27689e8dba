import { createGraph } from '../onnx/onnx_graph.ts';
import { openSession } from '../onnx/onnx_session.ts';
import type { DotProducts } from '../patchcore/coreset.ts';

/** Matrix products on ONNX Runtime. Not safe for concurrent calls; each worker owns one. */
export interface OnnxProducts {
  /** @see DotProducts; the widths must be equal */
  readonly products: DotProducts;
  dispose(): Promise<void>;
}

/** @param options.threads of one product, ≥ 1 */
export async function createOnnxProducts(options: { readonly threads: number }): Promise<OnnxProducts> {
  const session = await openSession(productGraph(), options);
  return {
    products: async (a, b) => {
      const { dots } = await session.run({
        a: { dims: [a.rows, a.cols], data: a.data },
        b: { dims: [b.rows, b.cols], data: b.data },
      });
      return dots?.data as Float32Array;
    },
    dispose: () => session.dispose(),
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
