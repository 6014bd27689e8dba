import type { GraphBuilder, Value } from '../../onnx/onnx_graph.ts';
import { quantizeWeights } from './quantized_weights.ts';
import type { Linear } from './vit_weights.ts';

/** Writes the linear layers of a network: rows [any, inputs] become rows · Wᵀ + b [any, outputs]. */
export interface LinearWriter {
  /** For rows alike in magnitude, as a norm or an attention gives them. */
  even(rows: Value, layer: Linear): Value;
  /** For rows of which one may be a hundred times another, with no number below -0.17: as a GELU gives them. */
  uneven(rows: Value, layer: Linear): Value;
}

/** Linear layers in float32. */
export function fp32Linear(graph: GraphBuilder): LinearWriter {
  // Not MatMul and Add: ONNX Runtime 1.30 joins that Add with a Gelu after it, which then takes twice as long.
  const write = (rows: Value, { weight, bias }: Linear): Value => {
    const shape = [bias.length, weight.length / bias.length];
    return graph.op('Gemm', [rows, graph.constant(shape, weight), graph.constant([bias.length], bias)], { transB: 1 });
  };
  return { even: write, uneven: write };
}

/** A GELU's least is -0.16998. */
const geluDepth = 0.17;
/** What stands for 0 in uneven rows: steps below it for the depth, steps above it for the peak. */
const unevenZero = 32;

/**
 * Linear layers with int8 weights, see {@link quantizeWeights}, and rows that are rounded to uint8 at run time. Even rows
 * share one scale and one zero point between their least and their greatest number. Uneven rows have a scale each: a token
 * a hundred times its neighbours, as trained transformers have them, would leave the others a few steps of a common one.
 * That costs two more passes over the result.
 *
 * Right only where `int8ProductsAreExact`.
 */
export function int8Linear(graph: GraphBuilder): LinearWriter {
  const one = graph.scalar(1);
  const zero = graph.constant([], Uint8Array.of(unevenZero));
  const anyZeros = graph.constant([1], Uint8Array.of(unevenZero));
  const perPeak = graph.scalar(1 / (255 - unevenZero));
  const leastStep = graph.scalar(geluDepth / unevenZero);
  /** Rows that several layers read are rounded once. */
  const roundedRows = new Map<Value, readonly Value[]>();

  const product = (rows: Value, scale: Value, rowZero: Value, { weight, bias }: Linear, addend?: Value): Value => {
    const outputs = bias.length;
    const inputs = weight.length / outputs;
    const { data, scales } = quantizeWeights(weight, outputs, inputs);
    const operands = [rows, graph.constant([inputs, outputs], data), scale, graph.constant([outputs], scales), rowZero];
    // The empty name is the weights' zero point.
    const all = addend === undefined ? operands : [...operands, '', addend];
    return graph.op('MatMulIntegerToFloat', all, {}, 'com.microsoft');
  };

  return {
    even: (rows, layer) => {
      const rounded = roundedRows.get(rows) ?? graph.ops('DynamicQuantizeLinear', [rows], 3);
      roundedRows.set(rows, rounded);
      const [values, scale, rowZero] = rounded as [Value, Value, Value];
      return product(values, scale, rowZero, layer, graph.constant([layer.bias.length], layer.bias));
    },
    uneven: (rows, layer) => {
      const peaks = graph.op('ReduceMax', [rows], { axes: [1], keepdims: 1 });
      const steps = graph.op('Max', [graph.op('Mul', [peaks, perPeak]), leastStep]);
      const rowSteps = graph.op('Reshape', [steps, graph.ints([-1])]);
      const rowZeros = graph.op('Expand', [anyZeros, graph.op('Shape', [rowSteps])]);
      const values = graph.op('QuantizeLinear', [rows, rowSteps, rowZeros], { axis: 0 });
      const scaled = graph.op('Mul', [product(values, one, zero, layer), steps]);
      return graph.op('Add', [scaled, graph.constant([layer.bias.length], layer.bias)]);
    },
  };
}
