import { platform } from 'node:os';
import { describe, expect, it } from 'vitest';
import { createGraph } from '../../src/onnx/onnx_graph.ts';
import { openSession } from '../../src/onnx/onnx_session.ts';

function doubling(): Uint8Array {
  const graph = createGraph('doubling');
  const x = graph.input('x', 'float32', ['n']);
  graph.output(graph.op('Add', [x, x]), 'y', 'float32', ['n']);
  return graph.encode();
}

/** uint8 by int8, in whole numbers. */
function byteProduct(): Uint8Array {
  const graph = createGraph('byte_product');
  const a = graph.input('a', 'uint8', [1, 'd']);
  const b = graph.input('b', 'int8', ['d', 1]);
  graph.output(graph.op('MatMulInteger', [a, b]), 'y', 'int32', [1, 1]);
  return graph.encode();
}

describe('openSession', () => {
  it('takes bytes, with and without signs', async () => {
    const session = await openSession(byteProduct(), { threads: 1 });
    const a = { dims: [1, 2], data: Uint8Array.of(255, 3) };
    const { y } = await session.run({ a, b: { dims: [2, 1], data: Int8Array.of(-1, 4) } });
    expect(y?.data).toEqual(Int32Array.of(-255 + 12));
    await session.dispose();
  });

  // One that this system can never have, and one that is there or not as the machine has it.
  const absent = platform() === 'win32' ? ('coreml' as const) : ('dml' as const);
  it.each([absent, 'cuda', 'webgpu'] as const)('computes where there is no %s as well', async (device) => {
    const session = await openSession(doubling(), { threads: 1, device });
    const { y } = await session.run({ x: { dims: [2], data: Float32Array.of(1, -3) } });
    expect(y?.data).toEqual(Float32Array.of(2, -6));
    expect([device === absent ? 'cpu' : device, 'cpu']).toContain(session.device);
    await session.dispose();
  });

  it('tells that the CPU serves where nothing was wished for', async () => {
    const session = await openSession(doubling(), { threads: 1 });
    expect(session.device).toBe('cpu');
    await session.dispose();
  });

  it('refuses what is no graph, wherever it should run', async () => {
    await expect(openSession(Buffer.from('no graph'), { threads: 1, device: 'webgpu' })).rejects.toMatchObject({
      code: 'invalid_model_card',
    });
  });
});
