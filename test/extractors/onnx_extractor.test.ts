import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/extractors/fingerprint.ts';
import {
  describeModelCard,
  type ModelCardJson,
  readModelCard,
  withInputSize,
} from '../../src/extractors/model_card.ts';
import { openOnnxExtractor } from '../../src/extractors/onnx_extractor.ts';
import { extractorConformance } from './conformance.ts';
import { tokenCard, tokenModel, writeCard } from './model_card_file.ts';

let folder: string;
let cards = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-onnx-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const options = { threads: 1 };

async function cardOf(changes: Partial<ModelCardJson> = {}, model = tokenModel()) {
  return readModelCard(await writeCard(join(folder, `card_${cards++}`, 'card.json'), tokenCard(changes), model));
}

const featureMaps: Partial<ModelCardJson> = {
  name: 'tiny_maps',
  input: { name: 'pixels', height: 4, width: 8 },
  output: {
    kind: 'feature_maps',
    maps: [
      { name: 'fine', stride: 2 },
      { name: 'coarse', stride: 4 },
    ],
  },
};

extractorConformance('onnx with tokens', {
  open: async () => openOnnxExtractor(await cardOf(), options),
  describe: async () => describeModelCard(await cardOf()),
});

extractorConformance('onnx with feature maps and an image vector', {
  open: async () => openOnnxExtractor(await cardOf({ ...featureMaps, image_vector: 'whole' }), options),
  describe: async () => describeModelCard(await cardOf({ ...featureMaps, image_vector: 'whole' })),
});

const repositoryRoot = resolve(import.meta.dirname, '../..');
const sharedWeights = join(repositoryRoot, '../shared/weights/resnet18_imagenet_layer123.onnx');
const resnetCard = async () => {
  const file = join(repositoryRoot, 'models/extractors/resnet18_imagenet/card.json');
  const card = JSON.parse(await readFile(file, 'utf8')) as ModelCardJson;
  const place = join(folder, 'resnet18', 'card.json');
  return readModelCard(await writeCard(place, { ...card, file: sharedWeights }, null));
};

extractorConformance('the ResNet-18 of our card', {
  open: async () => openOnnxExtractor(await resnetCard(), options),
  describe: async () => describeModelCard(await resnetCard()),
  skip: existsSync(sharedWeights) ? null : 'its weights are not in ../shared/weights',
});

/** Channel c holds `values[cell] + 100 c` on each 2 × 2 cell of a grid `cols` wide. */
function picture(height: number, width: number, values: readonly number[]) {
  const data = new Float32Array(3 * height * width);
  for (let index = 0; index < data.length; index++) {
    const channel = Math.floor(index / (height * width));
    const row = Math.floor((index % (height * width)) / width / 2);
    const col = Math.floor((index % width) / 2);
    data[index] = (values[row * (width / 2) + col] as number) + 100 * channel;
  }
  return { height, width, data };
}

async function extract(changes: Partial<ModelCardJson>, input: ReturnType<typeof picture>) {
  const extractor = await openOnnxExtractor(await cardOf(changes), options);
  const result = await extractor.extract(input).finally(() => extractor.dispose());
  return { ...result, info: extractor.info };
}

describe('openOnnxExtractor with tokens', () => {
  const input = picture(4, 6, [1, 2, 3, 4, 5, 6]);

  it('drops the class token, keeps the grid’s order, and averages the patches for the whole picture', async () => {
    const { grid, embeddings, imageVector, info } = await extract({}, input);
    expect(grid).toEqual({ rows: 2, cols: 3 });
    expect([...embeddings.data]).toEqual([1, 2, 3, 4, 5, 6].flatMap((v) => [v, v + 100, v + 200]));
    expect([...imageVector]).toEqual([3.5, 103.5, 203.5]);
    expect(info.width).toBe(3);
  });

  it('hands out an array that fills its buffer', async () => {
    const { embeddings } = await extract({}, input);
    expect(embeddings.data.buffer.byteLength).toBe(embeddings.data.byteLength);
  });

  it('puts several outputs side by side', async () => {
    const names = ['doubled', 'tokens'];
    const { embeddings } = await extract({ output: { kind: 'tokens', names, patch_size: 2, drop_tokens: 1 } }, input);
    expect(embeddings.cols).toBe(6);
    expect([...embeddings.data.subarray(0, 6)]).toEqual([2, 202, 402, 1, 101, 201]);
    expect([...embeddings.data.subarray(30)]).toEqual([12, 212, 412, 6, 106, 206]);
  });

  it('takes another size where the graph’s input is free', async () => {
    const extractor = await openOnnxExtractor(withInputSize(await cardOf(), 4), options);
    const { embeddings } = await extractor.extract(picture(4, 4, [1, 2, 3, 4]));
    await extractor.dispose();
    expect(embeddings.rows).toBe(4);
    expect([...embeddings.data.subarray(9)]).toEqual([4, 104, 204]);
  });

  it('refuses another size as invalid_config where the graph’s input is fixed', async () => {
    const model = tokenModel([4, 6]);
    const card = await cardOf({ sha256: sha256Hex(model) }, model);
    await openOnnxExtractor(card, options).then((extractor) => extractor.dispose());
    const opening = openOnnxExtractor(withInputSize(card, 8), options);
    await expect(opening).rejects.toMatchObject({ code: 'invalid_config' });
    await expect(opening).rejects.toThrow(/tiny_tokens .*\[free, 3, 4, 6\], not 8 × 8; leave INPUT_SIZE empty/);
  });
});

describe('openOnnxExtractor with feature maps', () => {
  it('averages, resizes and joins them, and takes the image vector the card names', async () => {
    const values = [0, 3, 6, 9, 0, 3, 6, 9];
    const { grid, embeddings, imageVector } = await extract(
      { ...featureMaps, image_vector: 'whole', embedding_width: 6 },
      picture(4, 8, values),
    );
    expect(grid).toEqual({ rows: 2, cols: 4 });
    // fine: the mean of each cell and its neighbours left and right; coarse: (1.5 + 7.5) / 2 everywhere.
    const fine = [1.5, 3, 6, 7.5, 1.5, 3, 6, 7.5];
    expect([...embeddings.data]).toEqual(fine.flatMap((v) => [v, v + 100, v + 200, 4.5, 104.5, 204.5]));
    expect([...imageVector]).toEqual([4.5, 104.5, 204.5]);
  });
});

describe('openOnnxExtractor', () => {
  it.each<[string, Partial<ModelCardJson>, RegExp]>([
    ['the input', { input: { name: 'image', height: 4, width: 6 } }, /input\.name is image, the model has pixels/],
    [
      'an output',
      { output: { kind: 'tokens', names: ['cls'], patch_size: 2 } },
      /names the output cls, .* tokens, doubled/,
    ],
    ['the image vector', { image_vector: 'pooled' }, /names the output pooled/],
    [
      'the number of dropped tokens',
      { output: { kind: 'tokens', names: ['tokens'], patch_size: 2 } },
      /7 tokens; .* needs 6/,
    ],
    [
      'the kind of output',
      { output: { kind: 'tokens', names: ['fine'], patch_size: 2 } },
      /tokens are \[1, tokens, width\]/,
    ],
    [
      'a stride',
      { output: { kind: 'feature_maps', maps: [{ name: 'fine', stride: 1 }] } },
      /with stride 1 it should be \[1, channels, 4, 6\]/,
    ],
    ['the image vector’s shape', { image_vector: 'fine' }, /an image vector is \[1, width\]/],
    ['the width', { embedding_width: 5 }, /embedding_width is 5, the model gives 3/],
  ])('refuses a card that is wrong about %s when it is opened', async (_, changes, message) => {
    const opening = openOnnxExtractor(await cardOf(changes), options);
    await expect(opening).rejects.toMatchObject({ code: 'invalid_model_card' });
    await expect(opening).rejects.toThrow(message);
  });

  it('refuses a model file that is not the card’s, and one that is no ONNX graph', async () => {
    const other = await cardOf({ sha256: '0'.repeat(64) });
    await expect(openOnnxExtractor(other, options)).rejects.toThrow(/its card says 0000/);
    const text = new TextEncoder().encode('not a graph');
    const noGraph = await cardOf({ sha256: sha256Hex(text) }, text);
    await expect(openOnnxExtractor(noGraph, options)).rejects.toMatchObject({ code: 'invalid_model_card' });
  });
});
