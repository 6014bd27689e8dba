import { createGraph } from '../../../src/onnx/onnx_graph.ts';
import { openSession } from '../../../src/onnx/onnx_session.ts';

/** ONNX Runtime's MatMul and nothing else: how fast this machine multiplies. */
export interface BareProduct {
  /** [rows, inner] · [inner, cols] of numbers made beforehand. */
  of(rows: number, inner: number, cols: number): () => Promise<unknown>;
  dispose(): Promise<void>;
}

export async function openBareProduct(threads: number): Promise<BareProduct> {
  const graph = createGraph('bare_product');
  const a = graph.input('a', 'float32', ['n', 'd']);
  const b = graph.input('b', 'float32', ['d', 'm']);
  graph.output(graph.op('MatMul', [a, b]), 'product', 'float32', ['n', 'm']);
  const session = await openSession(graph.encode(), { threads });
  const numbers = (rows: number, cols: number) => ({
    dims: [rows, cols],
    data: new Float32Array(rows * cols).map((_, i) => (i % 7) - 3),
  });
  return {
    of: (rows, inner, cols) => {
      const feeds = { a: numbers(rows, inner), b: numbers(inner, cols) };
      return () => session.run(feeds);
    },
    dispose: () => session.dispose(),
  };
}
