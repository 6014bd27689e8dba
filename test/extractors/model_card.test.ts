import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/extractors/fingerprint.ts';
import {
  describeModelCard,
  parseModelCard,
  readModelCard,
  verifyModelFile,
  withInputSize,
} from '../../src/extractors/model_card.ts';
import { tokenCard, tokenModel, writeCard } from './model_card_file.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-card-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const parse = (changes: object = {}) => parseModelCard({ ...tokenCard(), ...changes }, '/models/tiny/card.json');

describe('readModelCard', () => {
  it('reads the fields, and resolves the model file beside the card', async () => {
    const path = await writeCard(join(folder, 'tiny', 'card.json'), tokenCard());
    expect(await readModelCard(path)).toMatchObject({
      name: 'tiny_tokens',
      modelPath: join(folder, 'tiny', 'model.onnx'),
      inputName: 'pixels',
      preprocessing: { height: 4, width: 6, colorOrder: 'rgb', fit: 'stretch', resample: 'area' },
      output: { kind: 'tokens', names: ['tokens'], patchSize: 2, dropTokens: 1 },
      imageVector: null,
      embeddingWidth: null,
    });
  });

  it('takes an absolute model file, upper-case sha256 and a byte order mark', async () => {
    const card = tokenCard({ file: '/weights/a.onnx', sha256: 'AB'.repeat(32) });
    const path = await writeCard(join(folder, 'bom', 'card.json'), `\uFEFF${JSON.stringify(card)}`, null);
    expect(await readModelCard(path)).toMatchObject({ modelPath: '/weights/a.onnx', sha256: 'ab'.repeat(32) });
  });

  it('says which card is missing or no JSON, without a path of the host', async () => {
    const missing = readModelCard(join(folder, 'nowhere', 'card.json'));
    await expect(missing).rejects.toMatchObject({ code: 'extractor_not_found' });
    await expect(missing).rejects.toThrow(/no readable model card nowhere\/card\.json/);
    const broken = readModelCard(await writeCard(join(folder, 'torn', 'card.json'), '{"name":', null));
    await expect(broken).rejects.toMatchObject({ code: 'invalid_model_card' });
    await expect(broken).rejects.toThrow(/torn\/card\.json is not valid JSON/);
    for (const failure of [missing, broken]) await expect(failure).rejects.not.toThrow(folder);
  });

  it.each<[string, object, RegExp]>([
    ['a missing field', { sha256: undefined }, /sha256: /],
    ['an unknown field', { colour_order: 'rgb' }, /colour_order/],
    ['a name with a path separator', { name: '../x' }, /name: letters, digits/],
    ['a nested field', { input: { name: 'x', height: 4.5, width: 6 } }, /input\.height: /],
    ['std of zero', { std: [1, 0, 1] }, /std\.1: /],
    ['two channels', { mean: [0, 0] }, /mean/],
    ['an unknown fit', { fit: 'crop' }, /fit: .*letterbox/],
    ['an unknown kind of output', { output: { kind: 'pixels' } }, /output\.kind: /],
    ['tokens without patch size', { output: { kind: 'tokens', names: ['x'] } }, /output\.patch_size: /],
    ['no feature maps', { output: { kind: 'feature_maps', maps: [] } }, /output\.maps: /],
    ['an input that is no multiple of the patch size', { input: { name: 'x', height: 4, width: 7 } }, /4 × 7 .* of 2,/],
    [
      'an input that is no multiple of every stride',
      {
        output: {
          kind: 'feature_maps',
          maps: [
            { name: 'a', stride: 2 },
            { name: 'b', stride: 4 },
          ],
        },
      },
      /4 × 6 .* of 4,/,
    ],
  ])('refuses %s by name', (_, changes, message) => {
    expect(() => parse(changes)).toThrow(expect.objectContaining({ code: 'invalid_model_card' }));
    expect(() => parse(changes)).toThrow(message);
    expect(() => parse(changes)).toThrow(/model card tiny\/card\.json/);
  });
});

describe('verifyModelFile', () => {
  it('passes the card’s own file and refuses another, with both hashes', async () => {
    const path = await writeCard(join(folder, 'verify', 'card.json'), tokenCard());
    const card = await readModelCard(path);
    await expect(verifyModelFile(card)).resolves.toBeUndefined();
    await writeCard(path, tokenCard(), tokenModel([4, 6]));
    await expect(verifyModelFile(card)).rejects.toMatchObject({ code: 'invalid_model_card' });
    await expect(verifyModelFile(card)).rejects.toThrow(new RegExp(`model\\.onnx .* its card says ${card.sha256}`));
  });

  it('says what to do when the file is missing', async () => {
    const card = await readModelCard(await writeCard(join(folder, 'bare', 'card.json'), tokenCard(), null));
    await expect(verifyModelFile(card)).rejects.toMatchObject({ code: 'extractor_not_found' });
    await expect(verifyModelFile(card)).rejects.toThrow(/copy model\.onnx/);
    await expect(verifyModelFile(card)).rejects.not.toThrow(folder);
  });
});

describe('withInputSize', () => {
  it('makes the input square and the grid follow', () => {
    const card = withInputSize(parse(), 8);
    expect(card.preprocessing).toMatchObject({ height: 8, width: 8, fit: 'stretch' });
    expect(describeModelCard(card).grid).toEqual({ rows: 4, cols: 4 });
  });

  it.each([7, 0, -2, 2.5, 5000])('refuses %d', (size) => {
    expect(() => withInputSize(parse(), size)).toThrow(expect.objectContaining({ code: 'invalid_config' }));
  });

  it('suggests a size that fits', () => {
    const card = parse({
      output: { kind: 'tokens', names: ['x'], patch_size: 14 },
      input: { name: 'x', height: 448, width: 448 },
    });
    expect(() => withInputSize(card, 450)).toThrow(/multiple of 14 from 14 to 4088, for example 448/);
    expect(() => withInputSize(card, 4096)).toThrow(/for example 4088/);
  });

  it('asks for a multiple of every stride', () => {
    const maps = [
      { name: 'a', stride: 2 },
      { name: 'b', stride: 3 },
    ];
    const card = parse({ output: { kind: 'feature_maps', maps }, input: { name: 'x', height: 6, width: 6 } });
    expect(() => withInputSize(card, 8)).toThrow(/multiple of 6 .* example 6/);
    expect(withInputSize(card, 12).preprocessing.height).toBe(12);
  });
});

describe('describeModelCard', () => {
  const fingerprint = (changes: object = {}) => describeModelCard(parse(changes)).fingerprint;

  it('tells grid, patch size and width without the model', () => {
    expect(describeModelCard(parse({ embedding_width: 3 }))).toMatchObject({
      name: 'tiny_tokens',
      grid: { rows: 2, cols: 3 },
      patchSize: 2,
      width: 3,
    });
    expect(describeModelCard(parse()).width).toBeNull();
  });

  it('takes the finest map as the grid', () => {
    const maps = [
      { name: 'a', stride: 8 },
      { name: 'b', stride: 4 },
    ];
    const input = { name: 'x', height: 16, width: 24 };
    expect(describeModelCard(parse({ output: { kind: 'feature_maps', maps }, input }))).toMatchObject({
      grid: { rows: 4, cols: 6 },
      patchSize: 4,
    });
  });

  it.each<[string, object]>([
    ['weights', { sha256: '0'.repeat(64) }],
    ['size', { input: { name: 'pixels', height: 8, width: 6 } }],
    ['mean', { mean: [0.1, 0, 0] }],
    ['std', { std: [1, 1, 2] }],
    ['channel order', { color_order: 'bgr' }],
    ['fit', { fit: 'letterbox' }],
    ['resampling', { resample: 'bicubic' }],
    ['outputs', { output: { kind: 'tokens', names: ['tokens', 'doubled'], patch_size: 2, drop_tokens: 1 } }],
    ['dropped tokens', { output: { kind: 'tokens', names: ['tokens'], patch_size: 2 } }],
    ['image vector', { image_vector: 'whole' }],
  ])('changes the fingerprint with the %s', (_, changes) => {
    expect(fingerprint(changes)).not.toBe(fingerprint());
  });

  it.each<[string, object]>([
    ['name', { name: 'other' }],
    ['description', { description: 'other' }],
    ['place of the file', { file: '/elsewhere/x.onnx' }],
    ['order of fields', Object.fromEntries(Object.entries(tokenCard()).reverse())],
  ])('keeps the fingerprint whatever the %s', (_, changes) => {
    expect(fingerprint(changes)).toBe(fingerprint());
  });
});

describe('canonicalJson', () => {
  it('sorts keys at every depth and leaves lists in order', () => {
    expect(canonicalJson({ b: [{ z: 1, a: null }, 2], a: 'x"', B: true })).toBe(
      '{"B":true,"a":"x\\"","b":[{"a":null,"z":1},2]}',
    );
  });
});
