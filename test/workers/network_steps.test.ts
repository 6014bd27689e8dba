import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/extractors/fingerprint.ts';
import { chooseExtractor } from '../../src/extractors/installed_extractors.ts';
import { createGraph } from '../../src/onnx/onnx_graph.ts';
import { createNetworkSteps, type NetworkSteps } from '../../src/workers/network_steps.ts';
import type { PreparedPicture } from '../../src/workers/vision.ts';
import { tokenCard, writeCard } from '../extractors/model_card_file.ts';

/** Tokens that are the logarithm of each 2 × 2 cell's colour: minus infinity for black. */
function logarithmModel(): Uint8Array {
  const graph = createGraph('logarithm');
  const pixels = graph.input('pixels', 'float32', ['n', 3, 4, 6]);
  const cells = graph.op('Log', [graph.op('AveragePool', [pixels], { kernel_shape: [2, 2], strides: [2, 2] })]);
  const rows = graph.op('Transpose', [graph.op('Reshape', [cells, graph.ints([0, 3, -1])])], { perm: [0, 2, 1] });
  const classToken = graph.constant([1, 1, 3], Float32Array.of(1, 1, 1));
  graph.output(graph.op('Concat', [classToken, rows], { axis: 1 }), 'tokens', 'float32', ['n', 't', 3]);
  return graph.encode();
}

const picture = (value: number): PreparedPicture => ({
  size: { height: 4, width: 6 },
  input: { height: 4, width: 6, data: new Float32Array(3 * 4 * 6).fill(value) },
  frame: { top: 0, left: 0, height: 2, width: 3 },
  brightness: 0,
  decodeMs: 0,
  prepareMs: 0,
});

describe('an extractor that gives numbers that are not finite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'okng-finite-'));
  let steps: NetworkSteps;

  beforeAll(async () => {
    const model = logarithmModel();
    const card = tokenCard({ name: 'logarithm', sha256: sha256Hex(model) });
    const cardPath = await writeCard(join(folder, 'card.json'), card, model);
    const { source } = await chooseExtractor({ modelsDir: folder, wanted: cardPath });
    steps = createNetworkSteps({ source, threads: 1, device: 'cpu' });
  });
  afterAll(async () => {
    await steps.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('fits no memory: NaN would make every later score meaningless', async () => {
    expect((await steps.embed(picture(0.5))).embeddings.rows).toBe(6);
    await expect(steps.embed(picture(0))).rejects.toMatchObject({
      code: 'not_a_number',
      message: expect.stringContaining('The extractor logarithm gives numbers for this picture that are not finite'),
    });
  });
});
