import { beforeAll, describe, expect, it } from 'vitest';
import { int8ProductsAreExact } from '../../../src/extractors/vit/int8_products.ts';
import { fp32Linear, int8Linear, type LinearWriter } from '../../../src/extractors/vit/vit_linear.ts';
import type { Linear } from '../../../src/extractors/vit/vit_weights.ts';
import { createGraph, type GraphBuilder } from '../../../src/onnx/onnx_graph.ts';
import { openSession } from '../../../src/onnx/onnx_session.ts';

const exactProducts = await int8ProductsAreExact();

const rowCount = 5;
const inputs = 48;
const outputs = 20;

let state = 5;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 31 - 1;
};
const layer: Linear = {
  weight: Float32Array.from({ length: outputs * inputs }, random),
  bias: Float32Array.from({ length: outputs }, random),
};
const quiet = Float32Array.from({ length: rowCount * inputs }, random);

type Write = (linear: LinearWriter, rows: string) => string;

async function run(writer: (graph: GraphBuilder) => LinearWriter, write: Write, rows: Float32Array) {
  const graph = createGraph('linear');
  const input = graph.input('x', 'float32', ['rows', inputs]);
  graph.output(write(writer(graph), input), 'y', 'float32', ['rows', outputs]);
  const session = await openSession(graph.encode(), { threads: 1 });
  const { y } = await session.run({ x: { dims: [rows.length / inputs, inputs], data: rows } });
  await session.dispose();
  return y?.data as Float32Array;
}

/** In float64. */
function product(rows: Float32Array): number[] {
  return Array.from({ length: (rows.length / inputs) * outputs }, (_, i) => {
    const row = Math.floor(i / outputs) * inputs;
    const output = i % outputs;
    let sum = layer.bias[output] as number;
    for (let k = 0; k < inputs; k++) sum += (rows[row + k] as number) * (layer.weight[output * inputs + k] as number);
    return sum;
  });
}

/** Of each row: the greatest difference, as a share of the row's greatest expected number. */
function errorsOfRows(found: Float32Array, expected: readonly number[]): number[] {
  expect(found.length).toBe(expected.length);
  return Array.from({ length: expected.length / outputs }, (_, row) => {
    const wanted = expected.slice(row * outputs, (row + 1) * outputs);
    const differences = wanted.map((value, i) => Math.abs(value - (found[row * outputs + i] as number)));
    return Math.max(...differences) / Math.max(...wanted.map(Math.abs));
  });
}

const even: Write = (linear, rows) => linear.even(rows, layer);
const uneven: Write = (linear, rows) => linear.uneven(rows, layer);

describe('fp32Linear', () => {
  it.each([even, uneven])('multiplies and adds (1e-6)', async (write) => {
    const errors = errorsOfRows(await run(fp32Linear, write, quiet), product(quiet));
    expect(Math.max(...errors)).toBeLessThan(1e-6);
  });
});

describe.skipIf(!exactProducts)('int8Linear (skipped without VNNI: ONNX Runtime cuts off its products)', () => {
  /** As a GELU leaves them; the second row a hundred times the others. */
  const uneasy = quiet.map(
    (value, i) => Math.max(-0.169, value) * (Math.floor(i / inputs) === 1 && value > 0 ? 100 : 1),
  );
  let evenErrors: number[];
  beforeAll(async () => {
    evenErrors = errorsOfRows(await run(int8Linear, even, uneasy), product(uneasy));
  });

  it('stays within 2 % for even rows', async () => {
    const errors = errorsOfRows(await run(int8Linear, even, quiet), product(quiet));
    expect(Math.max(...errors)).toBeLessThan(0.02);
  });

  it('stays within 2 % in every one of uneven rows, which one scale for all does not', async () => {
    const errors = errorsOfRows(await run(int8Linear, uneven, uneasy), product(uneasy));
    expect(Math.max(...errors)).toBeLessThan(0.02);
    expect(Math.max(...evenErrors)).toBeGreaterThan(0.2);
  });

  it('takes rows of nothing but zeros', async () => {
    for (const write of [even, uneven]) {
      const zeros = new Float32Array(2 * inputs);
      expect(Math.max(...errorsOfRows(await run(int8Linear, write, zeros), product(zeros)))).toBeLessThan(1e-6);
    }
  });

  it('keeps what is just above the bottom of a GELU', async () => {
    const bottoms = new Float32Array(inputs).fill(-0.1699);
    const [error] = errorsOfRows(await run(int8Linear, uneven, bottoms), product(bottoms));
    expect(error).toBeLessThan(0.02);
  });

  it('rounds rows once for all layers that read them', async () => {
    const graph = createGraph('two_layers');
    const rows = graph.input('x', 'float32', ['rows', inputs]);
    const linear = int8Linear(graph);
    const sum = graph.op('Add', [linear.even(rows, layer), linear.even(rows, layer)]);
    graph.output(sum, 'y', 'float32', ['rows', outputs]);
    const text = Buffer.from(graph.encode()).toString('latin1');
    // The node's three outputs.
    expect(new Set(text.match(/DynamicQuantizeLinear_\d+/g)).size).toBe(3);
  });
});
