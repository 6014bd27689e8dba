import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { modelFileBase } from '../../src/store/file_names.ts';
import { createModelStore } from '../../src/store/model_store.ts';
import { readModelsFolder } from '../../src/store/models_folder.ts';
import { filesBelow, writeFiles } from './predecessor_files.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-folder-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const base = modelFileBase('Maße', 'roi 1');
const long = modelFileBase('x'.repeat(200), 'y'.repeat(200));

it('finds the models of every layout, and where okng looks for each', async () => {
  writeFiles(folder, {
    [`${base}.npz`]: '',
    [`${base}_index.faiss`]: '',
    [`${base}_calib.json`]: '',
    'Ma_e_roi_1.npz': '',
    'Ma_e_roi_1_calib.json': '',
    [`recipes/default/other/${base}.npz`]: '',
    [`recipes/line2/roi 1/${base}.npz`]: '',
    [`recipes/line2/roi 1/${base}_index.faiss`]: '',
    [`recipes/line2/k/${long}.npz`]: '',
  });
  const { models, passedOver } = await readModelsFolder(folder);
  const told = models.map(({ place, segments, hasIndex, hasCalibration, ...ids }) => [
    relative(folder, place.npzPath),
    segments.join('/'),
    ids.recipeId,
    ids.modelKey,
    ids.roleId,
    ids.roiId,
    `${hasIndex ? 'index' : ''} ${hasCalibration ? 'calibration' : ''}`.trim(),
  ]);
  expect(told).toEqual([
    ['Ma_e_roi_1.npz', '', 'default', null, null, null, 'calibration'],
    [`${base}.npz`, '', 'default', 'roi 1', 'Maße', 'roi 1', 'index calibration'],
    [`recipes/default/other/${base}.npz`, 'recipes/default/other', 'default', 'other', 'Maße', 'roi 1', ''],
    [`recipes/line2/k/${long}.npz`, 'recipes/line2/k', 'line2', 'k', null, null, ''],
    // A raw key's folder: okng looks for it under another name.
    [`recipes/line2/roi 1/${base}.npz`, 'recipes/line2/~cm9pIDE', 'line2', 'roi 1', 'Maße', 'roi 1', 'index'],
  ]);
  expect(passedOver).toEqual([]);
  const own = createModelStore(folder).ownPlace({
    recipeId: 'line2',
    modelKey: 'roi 1',
    roleId: 'Maße',
    roiId: 'roi 1',
  });
  expect(own.segments.join('/')).toBe('recipes/line2/~cm9pIDE');
});

it('takes only the memories that answer, and says that earlier ones stay', async () => {
  writeFiles(folder, {
    [`${base}.npz`]: '',
    [`generations/${base}/1/memory.npz`]: '',
    [`recipes/line2/generations/${base}.npz`]: '',
    [`recipes/line2/generations/generations/${base}/2/memory.npz`]: '',
  });
  const { models, passedOver } = await readModelsFolder(folder);
  expect(models.map(({ recipeId, modelKey }) => [recipeId, modelKey])).toEqual([
    ['default', 'roi 1'],
    ['line2', 'generations'],
  ]);
  expect(passedOver).toEqual([
    { path: 'generations', reason: expect.stringContaining('earlier memories') },
    { path: 'recipes/line2/generations/generations', reason: expect.stringContaining('earlier memories') },
  ]);
});

it('finds scales, and samples with and without a meta', async () => {
  writeFiles(folder, {
    'recipes/line2/recipe_meta.json': '',
    [`recipes/line2/datasets/${base}/ok/b.PNG`]: '',
    [`recipes/line2/datasets/${base}/ok/a.jpg`]: '',
    [`recipes/line2/datasets/${base}/ok/a.json`]: '',
    [`recipes/line2/datasets/${base}/ng/c.bmp`]: '',
    [`recipes/other/datasets/${base}/ok/.keep`]: '',
  });
  const { recipes, samples, passedOver } = await readModelsFolder(folder);
  expect(recipes).toEqual(['line2']);
  expect(samples).toEqual([
    {
      recipeId: 'line2',
      roleId: 'Maße',
      roiId: 'roi 1',
      label: 'ng',
      segments: ['recipes', 'line2', 'datasets', base, 'ng'],
      pictures: [{ name: 'c.bmp', hasMeta: false }],
    },
    expect.objectContaining({
      label: 'ok',
      pictures: [
        { name: 'a.jpg', hasMeta: true },
        { name: 'b.PNG', hasMeta: false },
      ],
    }),
  ]);
  expect(passedOver.map(({ path }) => path)).toEqual([`recipes/other/datasets/${base}/ok/.keep`]);
});

it('names what it passes over: links, names no request can mean, and what is alone', async () => {
  const outside = mkdtempSync(join(tmpdir(), 'okng-outside-'));
  writeFiles(outside, { [`${base}.npz`]: '' });
  writeFiles(folder, {
    'notes.txt': '',
    [`${base}_calib.json`]: '{}',
    'cache/x': '',
    'recipes/last/recipe_meta.json': '',
    'recipes/Line 2/recipe_meta.json': '',
    'recipes/line2/k/Ma_e_roi_1.npz': '',
    'recipes/line2/datasets/plain name/ok/a.png': '',
    [`recipes/line2/datasets/${base}/maybe/a.png`]: '',
    [`recipes/line2/datasets/${base}/ok/alone.json`]: '',
  });
  symlinkSync(join(outside, `${base}.npz`), join(folder, `${base}.npz`));
  symlinkSync(outside, join(folder, 'recipes', 'linked'));
  const { models, recipes, samples, passedOver } = await readModelsFolder(folder);
  rmSync(outside, { recursive: true });
  expect([models, recipes, samples]).toEqual([[], [], []]);
  expect(Object.fromEntries(passedOver.map(({ path, reason }) => [path, reason]))).toEqual({
    [`${base}.npz`]: expect.stringContaining('link'),
    'recipes/linked': expect.stringContaining('link'),
    [`${base}_calib.json`]: 'there is no memory beside it',
    'notes.txt': expect.any(String),
    cache: expect.any(String),
    'recipes/last': expect.stringContaining('no request'),
    'recipes/Line 2': expect.stringContaining('no request'),
    'recipes/line2/k/Ma_e_roi_1.npz': expect.stringContaining('root only'),
    'recipes/line2/datasets/plain name': expect.stringContaining('no role and ROI'),
    [`recipes/line2/datasets/${base}/maybe`]: expect.any(String),
    [`recipes/line2/datasets/${base}/ok/alone.json`]: expect.any(String),
  });
});

it('finds nothing in a folder that is not there, and writes nothing', async () => {
  const nothing = { models: [], recipes: [], samples: [], passedOver: [] };
  expect(await readModelsFolder(join(folder, 'absent'))).toEqual(nothing);
  expect(await readModelsFolder(folder)).toEqual(nothing);
  expect(filesBelow(folder)).toEqual({});
});
