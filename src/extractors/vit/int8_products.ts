import { InspectionError } from '../../errors.ts';
import { createGraph } from '../../onnx/onnx_graph.ts';
import { type OutputTensor, openSession } from '../../onnx/onnx_session.ts';

/**
 * Whether ONNX Runtime multiplies uint8 by int8 exactly on this processor. On x64 without VNNI it adds two products in
 * int16 and cuts off what is beyond, by which a graph with int8 weights gives wrong numbers without a word; its session
 * option `session.x64quantprecision` = 1 prevents that. Set it only there: with VNNI it makes such graphs slower than float32.
 *
 * Measured by a product that does not fit, about 5 ms.
 */
export async function int8ProductsAreExact(): Promise<boolean> {
  const depth = 64;
  const value = 255;
  const weight = 127;
  const graph = createGraph('int8_products');
  const [values, scale, zero] = graph.ops('DynamicQuantizeLinear', [graph.input('x', 'float32', [depth, depth])], 3);
  const weights = graph.constant([depth, depth], new Int8Array(depth * depth).fill(weight));
  const operands = [values as string, weights, scale as string, graph.scalar(1), zero as string];
  const product = graph.op('MatMulIntegerToFloat', operands, {}, 'com.microsoft');
  graph.output(product, 'y', 'float32', [depth, depth]);
  const session = await openSession(graph.encode(), { threads: 1 });
  try {
    const x = { dims: [depth, depth], data: new Float32Array(depth * depth).fill(value) };
    const { y } = await session.run({ x });
    const sums = (y as OutputTensor).data as Float32Array;
    return sums.every((sum) => Math.abs(sum / (depth * value * weight) - 1) < 1e-3);
  } finally {
    await session.dispose();
  }
}

/** What to do about a graph with int8 weights on this processor. */
export function inexactInt8(): InspectionError {
  return new InspectionError(
    'invalid_model_card',
    'This processor does not multiply int8 exactly (an x64 without VNNI), so a model with int8 weights would give wrong numbers; make it with --precision fp32 and fit again.',
  );
}
