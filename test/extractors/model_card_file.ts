import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sha256Hex } from '../../src/extractors/fingerprint.ts';
import type { ModelCardJson } from '../../src/extractors/model_card.ts';
import { createGraph } from '../../src/onnx/onnx_graph.ts';

/** A card of {@link tokenModel}; the sha256 is its. */
export function tokenCard(changes: Partial<ModelCardJson> = {}): ModelCardJson {
  return {
    name: 'tiny_tokens',
    description: 'Means of 2 × 2 pixels as tokens.',
    file: 'model.onnx',
    sha256: sha256Hex(tokenModel()),
    input: { name: 'pixels', height: 4, width: 6 },
    mean: [0, 0, 0],
    std: [1, 1, 1],
    color_order: 'rgb',
    fit: 'stretch',
    resample: 'area',
    output: { kind: 'tokens', names: ['tokens'], patch_size: 2, drop_tokens: 1 },
    licence: 'Apache-2.0',
    origin: 'written by the test',
    ...changes,
  };
}

/**
 * A network whose embeddings one can see. Outputs: `tokens` [1, 1 + t, 3], a class token of -1 and the mean colour of
 * every 2 × 2 cell; `doubled`, twice that; `whole` [1, 3], the mean colour; `fine` [1, 3, h / 2, w / 2] and `coarse`
 * [1, 3, h / 4, w / 4], means.
 *
 * @param size the input's height and width; free without it
 */
export function tokenModel(size: readonly [number | string, number | string] = ['h', 'w']): Uint8Array {
  const graph = createGraph('tiny_tokens');
  const pixels = graph.input('pixels', 'float32', ['n', 3, ...size]);
  const pool = (side: number) =>
    graph.op('AveragePool', [pixels], { kernel_shape: [side, side], strides: [side, side] });
  const cells = pool(2);
  const rows = graph.op('Transpose', [graph.op('Reshape', [cells, graph.ints([0, 3, -1])])], { perm: [0, 2, 1] });
  const classToken = graph.constant([1, 1, 3], Float32Array.of(-1, -1, -1));
  const tokens = graph.op('Concat', [classToken, rows], { axis: 1 });
  graph.output(tokens, 'tokens', 'float32', ['n', 't', 3]);
  graph.output(graph.op('Add', [tokens, tokens]), 'doubled', 'float32', ['n', 't', 3]);
  graph.output(graph.op('ReduceMean', [pixels], { axes: [2, 3], keepdims: 0 }), 'whole', 'float32', ['n', 3]);
  graph.output(cells, 'fine', 'float32', ['n', 3, 'h2', 'w2']);
  graph.output(pool(4), 'coarse', 'float32', ['n', 3, 'h4', 'w4']);
  return graph.encode();
}

/** Writes a card, and its model beside it unless `model` is null. */
export async function writeCard(cardPath: string, card: unknown, model: Uint8Array | null = tokenModel()) {
  await mkdir(dirname(cardPath), { recursive: true });
  await writeFile(cardPath, typeof card === 'string' ? card : JSON.stringify(card));
  if (model !== null) await writeFile(`${dirname(cardPath)}/model.onnx`, model);
  return cardPath;
}
