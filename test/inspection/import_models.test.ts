import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { InspectionError } from '../../src/errors.ts';
import { type ImportRequest, importModels } from '../../src/inspection/import_models.ts';
import { modelFileBase } from '../../src/store/file_names.ts';
import { encodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore } from '../../src/store/model_store.ts';
import {
  filesBelow,
  predecessorIndex,
  predecessorNpz,
  withoutGenerations,
  writeFiles,
} from '../store/predecessor_files.ts';
import { someMemory } from '../store/some_memory.ts';

/** What happens when the store has read a file. */
const reading = vi.hoisted(() => ({ done: (_path: string): void => undefined }));

vi.mock('../../src/store/stored_file.ts', async (original) => {
  const real = await original<typeof import('../../src/store/stored_file.ts')>();
  return {
    ...real,
    readStoredFile: (path: string) => real.readStoredFile(path).finally(() => reading.done(path)),
  };
});

let folder = '';
let source = '';
let modelsDir = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-import-'));
  source = join(folder, 'old');
  modelsDir = join(folder, 'new', 'models');
});
afterEach(() => {
  reading.done = () => undefined;
  rmSync(folder, { recursive: true });
});

const base = modelFileBase('role', 'roi');
const calibration = '{"threshold":0.5,"p99_ok":0.4}';
const dataset = `recipes/line2/datasets/${base}/ok`;
const extractor = {
  name: 'sixteen',
  fingerprint: 'e'.repeat(64),
  width: 16,
  grid: { rows: 2, cols: 3 },
  patchSize: 14,
};

/** What a plant has: a model at the root, one in a recipe, its scale, two samples. */
const plant = {
  [`${base}.npz`]: predecessorNpz(0),
  [`${base}_index.faiss`]: predecessorIndex(0),
  [`${base}_calib.json`]: calibration,
  [`recipes/line2/roi/${base}.npz`]: predecessorNpz(1),
  'recipes/line2/recipe_meta.json': '{"mm_per_px":0.2,"name":"Linie 2"}',
  [`${dataset}/a.png`]: 'picture a',
  [`${dataset}/a.json`]: '{"shape":null}',
  [`${dataset}/b.png`]: 'picture b',
};

const run = (request: Partial<ImportRequest> = {}) =>
  importModels(
    {
      modelsDir,
      extractors: [extractor],
      prove: async (bytes, name) => {
        if (!Buffer.from(bytes).toString().startsWith('picture'))
          throw new InspectionError('unsupported_media_type', `${name} is no picture.`);
      },
    },
    { source, replace: false, dryRun: false, ...request },
  );

describe('importModels', () => {
  it('takes everything over, changes nothing at the source, and nothing the second time', async () => {
    writeFiles(source, plant);
    const before = filesBelow(source, true);
    const report = await run();
    expect(report).toMatchObject({ dry_run: false, refused: 0, passed_over: [] });
    expect(report.models.map(({ outcome }) => outcome)).toEqual(['new', 'new']);
    expect(report.scales).toEqual([{ recipe_id: 'line2', mm_per_px: 0.2, outcome: 'new', problem: null }]);
    expect(report.datasets).toEqual([
      {
        recipe_id: 'line2',
        role_id: 'role',
        roi_id: 'roi',
        label: 'ok',
        new: 2,
        replaced: 0,
        there_already: 0,
        refused: [],
      },
    ]);
    expect(filesBelow(source, true)).toEqual(before);

    const files = withoutGenerations(filesBelow(modelsDir));
    const expected: Record<string, string> = Object.fromEntries(
      Object.entries(plant).map(([name, content]) => [name, Buffer.from(content).toString('base64')]),
    );
    // Made of the rows.
    expected[`recipes/line2/roi/${base}_index.faiss`] = Buffer.from(predecessorIndex(1)).toString('base64');
    const scale = 'recipes/line2/recipe_meta.json';
    const decoded = (content: string | undefined) => JSON.parse(Buffer.from(content ?? '', 'base64').toString());
    expect(decoded(files[scale])).toEqual({ mm_per_px: 0.2, name: 'Linie 2' });
    expect({ ...files, [scale]: '' }).toEqual({ ...expected, [scale]: '' });

    const after = filesBelow(modelsDir, true);
    const again = await run({ replace: true });
    expect(filesBelow(modelsDir, true)).toEqual(after);
    expect(again).toMatchObject({ refused: 0 });
    expect([...again.models, ...again.scales].map(({ outcome }) => outcome)).toEqual(Array(3).fill('there_already'));
    expect(again.datasets[0]).toMatchObject({ new: 0, there_already: 2 });
  });

  it('says of each model what it found', async () => {
    writeFiles(source, { ...plant, 'role_roi_2.npz': predecessorNpz(2, 1152), 'role_roi_2_index.faiss': 'x' });
    const { models } = await run();
    expect(models).toEqual([
      {
        file: `${base}.npz`,
        recipe_id: 'default',
        model_key: 'roi',
        role_id: 'role',
        roi_id: 'roi',
        outcome: 'new',
        problems: [],
        memory: {
          rows: 6,
          width: 16,
          grid: [2, 3],
          origin: 'unknown',
          index: 'good',
          calibrated: true,
          extractors: ['sixteen'],
          advice: null,
        },
      },
      expect.objectContaining({
        file: 'role_roi_2.npz',
        model_key: null,
        role_id: null,
        roi_id: null,
        memory: expect.objectContaining({
          width: 1152,
          index: 'was_damaged',
          extractors: [],
          advice: expect.stringMatching(/okng model add/),
        }),
      }),
      expect.objectContaining({
        recipe_id: 'line2',
        memory: expect.objectContaining({ index: 'was_missing', calibrated: false }),
      }),
    ]);
  });

  it('knows a memory of ours, and takes its role and ROI from inside where the name does not tell', async () => {
    writeFiles(source, { 'role_roi.npz': encodeMemory(someMemory(1)).npz });
    const { models } = await run();
    expect(models).toMatchObject([
      {
        role_id: 'Maße',
        roi_id: 'roi 1',
        memory: { origin: 'okng', extractors: [], advice: expect.stringMatching(/embedded_filter_bank/) },
      },
    ]);
  });

  it('writes nothing in a dry run, and tells the same', async () => {
    writeFiles(source, { ...plant, 'broken.npz': 'x' });
    const told = await run({ dryRun: true });
    expect(() => filesBelow(modelsDir)).toThrow(/ENOENT/);
    expect(await run()).toEqual({ ...told, dry_run: false });
    expect(told.refused).toBe(1);
  });

  it('refuses what is damaged, by name, and takes the rest over', async () => {
    writeFiles(source, {
      ...plant,
      [`${base}_calib.json`]: '{"threshold":NaN}',
      [`recipes/line2/roi/${base}.npz`]: predecessorNpz(1).subarray(0, 500),
      'recipes/line3/recipe_meta.json': '{"mm_per_px":-1}',
      [`${dataset}/c.png`]: 'text',
      [`${dataset}/d.png`]: 'picture d',
      [`${dataset}/d.json`]: '[]',
    });
    const report = await run();
    expect(report.refused).toBe(5);
    expect(report.models).toMatchObject([
      // Without its calibration: it gives scores and no verdict.
      {
        outcome: 'new',
        problems: [expect.stringContaining(`'${base}_calib.json' is damaged`)],
        memory: { calibrated: false },
      },
      {
        outcome: 'refused',
        problems: [expect.stringContaining(`'recipes/line2/roi/${base}.npz' is damaged`)],
        memory: null,
      },
    ]);
    expect(report.scales).toMatchObject([{ outcome: 'new' }, { recipe_id: 'line3', outcome: 'refused' }]);
    expect(report.datasets).toMatchObject([
      {
        new: 2,
        refused: [
          { filename: 'c.png', problem: 'c.png is no picture.' },
          { filename: 'd.png', problem: expect.stringContaining("'d.json' is damaged") },
        ],
      },
    ]);
    expect(Object.keys(withoutGenerations(filesBelow(modelsDir)))).toEqual([
      `${base}.npz`,
      `${base}_index.faiss`,
      `${dataset}/a.json`,
      `${dataset}/a.png`,
      `${dataset}/b.png`,
      'recipes/line2/recipe_meta.json',
    ]);
  });

  it('overwrites nothing unasked; a scale never', async () => {
    writeFiles(source, plant);
    const own = {
      [`${base}.npz`]: predecessorNpz(5),
      [`${base}_index.faiss`]: predecessorIndex(5),
      [`${base}_calib.json`]: '{"threshold":9}',
      'recipes/line2/recipe_meta.json': '{"mm_per_px":0.1}',
      [`${dataset}/a.png`]: 'picture A',
      [`${dataset}/b.png`]: 'picture b',
      [`${dataset}/b.json`]: '{}',
    };
    writeFiles(modelsDir, own);
    const there = filesBelow(modelsDir);
    const report = await run();
    expect(report.models).toMatchObject([
      { outcome: 'refused', problems: [expect.stringMatching(/another memory is there \(--replace/)] },
      { outcome: 'new' },
    ]);
    expect(report.scales[0]).toMatchObject({
      outcome: 'refused',
      problem: expect.stringMatching(/0\.2 there and 0\.1 here/),
    });
    expect(report.datasets[0]).toMatchObject({ new: 0, there_already: 1, refused: [{ filename: 'a.png' }] });
    expect(filesBelow(modelsDir)).toMatchObject(there);

    const replaced = await run({ replace: true });
    expect(replaced.models.map(({ outcome }) => outcome)).toEqual(['replaced', 'there_already']);
    expect(replaced.datasets[0]).toMatchObject({ replaced: 1, there_already: 1, refused: [] });
    expect(replaced.scales[0]).toMatchObject({ outcome: 'refused' });
    const files = filesBelow(modelsDir);
    for (const name of [`${base}.npz`, `${base}_index.faiss`, `${base}_calib.json`, `${dataset}/a.png`])
      expect(files[name], name).toBe(filesBelow(source)[name]);
  });

  it('keeps a scale that is the same but for rounding, and gives one to a recipe that has none', async () => {
    writeFiles(source, {
      'recipes/a/recipe_meta.json': '{"mm_per_px":0.2}',
      'recipes/b/recipe_meta.json': '{"mm_per_px":0.3}',
      'recipes/c/recipe_meta.json': '{}',
    });
    writeFiles(modelsDir, {
      'recipes/a/recipe_meta.json': '{"mm_per_px":0.20000001}',
      'recipes/b/recipe_meta.json': '{"note":1}',
    });
    expect((await run()).scales.map(({ recipe_id, outcome }) => [recipe_id, outcome])).toEqual([
      ['a', 'there_already'],
      ['b', 'new'],
    ]);
    const models = createModelStore(modelsDir);
    expect(await models.readRecipe('a')).toEqual({ mm_per_px: 0.20000001 });
    expect(await models.readRecipe('b')).toEqual({ mm_per_px: 0.3, note: 1 });
  });

  it('does not let a waiting calibration come into force beside a foreign memory', async () => {
    writeFiles(source, { [`${base}.npz`]: predecessorNpz(0) });
    writeFiles(modelsDir, { [`${base}_calib.json`]: '{"threshold":1,"memory_id":null}' });
    expect((await run()).models).toMatchObject([{ outcome: 'refused' }]);
    await run({ replace: true });
    expect(Object.keys(withoutGenerations(filesBelow(modelsDir)))).toEqual([`${base}.npz`, `${base}_index.faiss`]);
  });

  it('refuses a sample folder at the destination that is reached through a link', async () => {
    writeFiles(source, plant);
    mkdirSync(join(modelsDir, 'recipes/other/datasets'), { recursive: true });
    mkdirSync(join(modelsDir, 'recipes/line2'), { recursive: true });
    symlinkSync(join(modelsDir, 'recipes/other/datasets'), join(modelsDir, 'recipes/line2/datasets'));
    const { datasets } = await run();
    expect(datasets[0]?.refused.map(({ problem }) => problem)).toEqual(
      Array(2).fill(expect.stringMatching(/leads elsewhere/)),
    );
    expect(filesBelow(join(modelsDir, 'recipes/other'))).toEqual({});
  });

  it('refuses a model that is replaced while it is read', async () => {
    writeFiles(source, plant);
    reading.done = (path) => {
      if (path === join(source, `${base}_calib.json`)) utimesSync(join(source, `${base}.npz`), 1, 1);
    };
    const report = await run();
    expect(report.models[0]).toMatchObject({
      outcome: 'refused',
      problems: [expect.stringMatching(/replaced while it was read/)],
    });
  });

  it('refuses folders that are the same or one inside the other, before anything is written', async () => {
    writeFiles(source, plant);
    symlinkSync(source, join(folder, 'link'));
    const before = filesBelow(folder, true);
    for (const into of [source, join(source, 'new', 'models'), folder, join(folder, 'link', 'x')]) {
      modelsDir = into;
      await expect(run(), into).rejects.toMatchObject({
        code: 'invalid_value',
        message: expect.stringMatching(/one inside the other/),
      });
    }
    expect(filesBelow(folder, true)).toEqual(before);
    // Beside each other, the name of one beginning with the other's.
    modelsDir = `${source}er`;
    expect((await run()).refused).toBe(0);
  });

  it('refuses a folder that is not there or holds nothing of the kind', async () => {
    await expect(run()).rejects.toMatchObject({ code: 'not_found' });
    writeFiles(source, { 'models/x.npz': 'x' });
    await expect(run()).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringMatching(/Give the models folder itself/),
    });
  });

  it.skipIf(process.getuid?.() === 0)(
    'names a file that may not be read, and goes on (root may read all)',
    async () => {
      writeFiles(source, plant);
      chmodSync(join(source, `${base}.npz`), 0);
      expect((await run()).models.map(({ outcome }) => outcome)).toEqual(['refused', 'new']);
    },
  );

  it('tells how far it is', async () => {
    writeFiles(source, plant);
    for (let i = 0; i < 40; i++) writeFileSync(join(source, dataset, `${i}.png`), `picture ${i}`);
    const seen: string[] = [];
    await run({ onProgress: (phase, done, total) => seen.push(`${phase} ${done}/${total}`) });
    expect(seen).toEqual([
      'models 0/2',
      'models 1/2',
      'models 2/2',
      'pictures 16/42',
      'pictures 32/42',
      'pictures 42/42',
    ]);
  });
});
