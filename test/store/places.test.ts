import { relative } from 'node:path';
import { expect, it } from 'vitest';
import { candidatePlaces, type ModelKey, ownPlace } from '../../src/store/places.ts';

const base = 'YQ__Yg';
const key = (recipeId: string, modelKey: string, roleId = 'a', roiId = 'b'): ModelKey => ({
  recipeId,
  modelKey,
  roleId,
  roiId,
});
const npzOf = (one: ModelKey) => candidatePlaces('/m', one).map(({ npzPath }) => relative('/m', npzPath));

it('takes the contract order for a recipe of its own', () => {
  expect(npzOf(key('line2', 'k'))).toEqual([
    `recipes/line2/k/${base}.npz`,
    `recipes/default/k/${base}.npz`,
    `${base}.npz`,
    'a_b.npz',
  ]);
});

it('gives the default recipe the root when the model_key is the ROI', () => {
  expect(npzOf(key('default', 'b'))).toEqual([`${base}.npz`, `recipes/default/b/${base}.npz`, 'a_b.npz']);
});

it('gives the default recipe its folder for another model_key', () => {
  expect(npzOf(key('default', 'k'))).toEqual([`recipes/default/k/${base}.npz`, `${base}.npz`, 'a_b.npz']);
});

it('reads the folders that the predecessor named with the key as it is after ours, of the same recipe', () => {
  const places = candidatePlaces('/m', key('line2', 'ROI 1'), ['line2', 'default']);
  expect(places.map(({ npzPath }) => relative('/m', npzPath))).toEqual([
    `recipes/line2/~Uk9JIDE/${base}.npz`,
    `recipes/line2/ROI 1/${base}.npz`,
    `recipes/default/~Uk9JIDE/${base}.npz`,
    `recipes/default/ROI 1/${base}.npz`,
    `${base}.npz`,
    'a_b.npz',
  ]);
  expect(candidatePlaces('/m', key('line2', 'ROI 1'), ['default'])).toEqual(places.filter((_, i) => i !== 1));
});

it('names the three files of a place alike', () => {
  const place = ownPlace('/m', key('line2', '../x'));
  expect([place.npzPath, place.indexPath, place.calibrationPath]).toEqual([
    `/m/recipes/line2/~Li4veA/${base}.npz`,
    `/m/recipes/line2/~Li4veA/${base}_index.faiss`,
    `/m/recipes/line2/~Li4veA/${base}_calib.json`,
  ]);
});

it('keeps every place of hostile ids inside the models folder', () => {
  for (const text of ['../../etc', '..', '/', '\0', 'a\\..\\b', 'C:', 'x'.repeat(200)]) {
    for (const path of npzOf(key('line2', text, text, text))) {
      expect(path).toMatch(/^(recipes\/(line2|default)\/[\w~-]+\/)?[\w~-]+\.npz$/);
    }
  }
  expect(() => ownPlace('/m', key('../x', 'k'))).toThrow(expect.objectContaining({ code: 'invalid_value' }));
});
