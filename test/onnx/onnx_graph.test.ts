import { describe, expect, it } from 'vitest';
import { createGraph } from '../../src/onnx/onnx_graph.ts';
import { openSession } from '../../src/onnx/onnx_session.ts';

describe('createGraph', () => {
  it('writes a graph that ONNX Runtime runs: 2 x + 1, with a free batch', async () => {
    const graph = createGraph('affine');
    const x = graph.input('x', 'float32', ['n', 2]);
    const doubled = graph.op('Mul', [x, graph.scalar(2)]);
    graph.output(graph.op('Add', [doubled, graph.scalar(1)]), 'y', 'float32', ['n', 2]);
    const session = await openSession(graph.encode(), { threads: 1 });
    expect(session.inputNames).toEqual(['x']);
    expect(session.inputDims('x')).toEqual([-1, 2]);
    const { y } = await session.run({ x: { dims: [2, 2], data: Float32Array.of(0, 1, -1, 0.5) } });
    expect(y?.dims).toEqual([2, 2]);
    expect([...(y?.data ?? [])]).toEqual([1, 3, -1, 2]);
    await session.dispose();
  });

  it('passes integer, float, list and string attributes, constants of int64 and several outputs', async () => {
    const graph = createGraph('attributes');
    const x = graph.input('x', 'float32', [1, 4]);
    const [values] = graph.ops('TopK', [x, graph.ints([2])], 2, { axis: 1, largest: 0 });
    const relu = graph.op('LeakyRelu', [values as string], { alpha: { float: 0.5 } });
    graph.output(graph.op('Pad', [relu, graph.ints([0, 1, 0, 0])], { mode: 'edge' }), 'y', 'float32', [1, 3]);
    const session = await openSession(graph.encode(), { threads: 1 });
    const { y } = await session.run({ x: { dims: [1, 4], data: Float32Array.of(3, -4, 2, 5) } });
    expect([...(y?.data ?? [])]).toEqual([-2, -2, 2]);
    await session.dispose();
  });

  it('gives equal bytes for equal calls', () => {
    const write = () => {
      const graph = createGraph('same');
      graph.output(graph.op('Relu', [graph.input('x', 'float32', [3])]), 'y', 'float32', [3]);
      return graph.encode();
    };
    expect(write()).toEqual(write());
  });

  it('refuses a constant whose numbers do not fill its shape, and a fractional integer attribute', () => {
    const graph = createGraph('wrong');
    expect(() => graph.constant([2, 2], Float32Array.of(1, 2, 3))).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
    expect(() => graph.op('LeakyRelu', ['x'], { alpha: 0.5 })).toThrow(/write \{float: 0.5\}/);
  });
});

describe('openSession', () => {
  it('refuses bytes that are no graph', async () => {
    await expect(openSession(Uint8Array.of(1, 2, 3, 4), { threads: 1 })).rejects.toMatchObject({
      code: 'invalid_model_card',
    });
  });
});
