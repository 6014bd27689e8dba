import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chooseExtractor, openExtractor } from '../src/extractors/installed_extractors.ts';
import { type AddOrder, addModel, listModels, removeModel, verifyModel } from '../src/model_library.ts';
import { writeSmallVit } from './extractors/vit/small_vit_file.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-library-'));
const weights = join(folder, 'model.safetensors');
const name = 'vit_small_patch14_dinov2.lvd142m';
let modelsDir: string;

beforeAll(() => writeSmallVit(weights));
beforeEach(() => {
  modelsDir = mkdtempSync(join(folder, 'models-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function order(changes: Partial<AddOrder> = {}): AddOrder {
  return {
    path: weights,
    source: 'model.safetensors',
    name: null,
    height: 28,
    width: 56,
    blocks: null,
    precision: 'fp32',
    threads: 1,
    replace: false,
    ...changes,
  };
}

const filesOf = (model: string) => readdirSync(join(modelsDir, 'extractors', model)).sort();
const cardOf = (model: string) =>
  JSON.parse(readFileSync(join(modelsDir, 'extractors', model, 'card.json'), 'utf8')) as Record<string, unknown>;

describe('addModel', () => {
  it('makes an extractor that is chosen by itself, is opened and gives the embeddings its card says', async () => {
    const added = await addModel(modelsDir, order());
    expect(added).toMatchObject({ precision: 'fp32', trial: null, remarks: [] });
    expect(filesOf(name)).toEqual(['card.json', 'model.onnx']);
    expect(cardOf(name)).toMatchObject({
      name,
      input: { name: 'input', height: 28, width: 56 },
      fit: 'letterbox',
      resample: 'bicubic',
      embedding_width: 1152,
      made: { source: 'model.safetensors', blocks: [9, 10, 11], precision: 'fp32' },
    });
    const chosen = await chooseExtractor({ modelsDir });
    expect(chosen.info).toMatchObject({ name, grid: { rows: 2, cols: 4 }, width: 1152, patchSize: 14 });
    const extractor = await openExtractor(chosen.source, { threads: 1 });
    const found = await extractor.extract({ height: 28, width: 56, data: new Float32Array(3 * 28 * 56).fill(0.5) });
    expect([found.embeddings.rows, found.embeddings.cols, found.imageVector.length]).toEqual([8, 1152, 384]);
    expect(found.embeddings.data.every(Number.isFinite)).toBe(true);
    await extractor.dispose();
  });

  it('writes the same bytes again: memories stay good', async () => {
    const first = await addModel(modelsDir, order());
    const again = await addModel(modelsDir, order({ replace: true }));
    expect(again.card.sha256).toBe(first.card.sha256);
    expect((await addModel(modelsDir, order({ replace: true, blocks: [3, 11] }))).card).toMatchObject({
      embedding_width: 768,
    });
  });

  it('compares int8 with fp32 before it chooses, and writes down what it found', async () => {
    const runs: number[] = [];
    const added = await addModel(modelsDir, order({ precision: 'auto' }), (_, done) => runs.push(done));
    expect(runs.at(-1)).toBe(18);
    const { trial } = added;
    expect(trial?.meanCosine).toBeGreaterThan(0.9);
    const wins =
      (trial?.meanCosine ?? 0) >= 0.999 &&
      (trial?.worstCosine ?? 0) >= 0.99 &&
      (trial?.int8Ms ?? 0) < (trial?.fp32Ms ?? 0);
    expect(added.precision).toBe(wins ? 'int8' : 'fp32');
    expect(added.remarks.length).toBe(wins ? 0 : 1);
    expect(cardOf(name)).toMatchObject({
      made: { precision: added.precision, trial: { mean_cosine: expect.any(Number) } },
    });
  });

  it.each<[string, Partial<AddOrder>, RegExp]>([
    ['a size between patches', { height: 50 }, /input size 50 × 56 .* multiples of 14, for example 448/],
    ['a size of nothing', { width: 0 }, /input size 28 × 0 .* multiples of 14/],
    ['a block too many', { blocks: [11, 12] }, /no block 12 .* 0 to 11/],
    ['no block', { blocks: [] }, /No block is chosen/],
    ['the name of the embedded extractor', { name: 'embedded_filter_bank' }, /belongs to okng/],
    ['a name that is a path', { name: '../x' }, /letters, digits/],
    ['no file', { path: join(folder, 'absent.safetensors') }, /'absent.safetensors' .* no such file/],
  ])('installs nothing for %s', async (_, changes, sentence) => {
    await expect(addModel(modelsDir, order(changes))).rejects.toThrow(sentence);
    expect(readdirSync(modelsDir)).toEqual([]);
  });

  it('leaves an installed model alone unless it may be replaced', async () => {
    const { card } = await addModel(modelsDir, order());
    await expect(addModel(modelsDir, order({ height: 14 }))).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringMatching(/installed already; .*--name.*--replace/),
    });
    expect(cardOf(name).sha256).toBe(card.sha256);
  });
});

describe('the models folder', () => {
  it('lists what is there, and what is wrong with it', async () => {
    expect((await listModels(modelsDir)).map(({ name: one, state }) => [one, state])).toEqual([
      ['embedded_filter_bank', 'built in'],
    ]);
    await addModel(modelsDir, order());
    const [, row] = await listModels(modelsDir);
    expect(row).toMatchObject({ name, state: 'installed', precision: 'fp32', input: '28 × 56', width: 1152 });
    expect(row?.bytes).toBeGreaterThan(80e6);
    rmSync(join(modelsDir, 'extractors', name, 'model.onnx'));
    expect((await listModels(modelsDir))[1]).toMatchObject({ name, state: 'no model file', bytes: null });
    writeFileSync(join(modelsDir, 'extractors', name, 'card.json'), '{');
    expect((await listModels(modelsDir))[1]).toMatchObject({
      state: 'unusable',
      problem: expect.stringContaining('JSON'),
    });
  });

  it('is verified: one byte that changed is found', async () => {
    await addModel(modelsDir, order());
    expect((await verifyModel(modelsDir, name, 1)).name).toBe(name);
    const file = join(modelsDir, 'extractors', name, 'model.onnx');
    const bytes = readFileSync(file);
    bytes[40_000_000] = (bytes[40_000_000] as number) ^ 1;
    writeFileSync(file, bytes);
    await expect(verifyModel(modelsDir, name, 1)).rejects.toThrow(/has sha256/);
    await expect(verifyModel(modelsDir, 'vit', 1)).rejects.toThrow(`no installed extractor vit; installed are ${name}`);
  });

  it('loses a model and nothing else', async () => {
    await addModel(modelsDir, order());
    writeFileSync(join(modelsDir, 'extractors', name, 'note.txt'), 'mine');
    await removeModel(modelsDir, name);
    expect(filesOf(name)).toEqual(['note.txt']);
    await expect(removeModel(modelsDir, name)).rejects.toThrow('none is installed');
    await addModel(modelsDir, order({ name: 'other' }));
    await removeModel(modelsDir, 'other');
    expect(readdirSync(join(modelsDir, 'extractors'))).toEqual([name]);
  });
});
