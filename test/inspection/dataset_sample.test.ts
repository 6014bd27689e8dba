import { describe, expect, it } from 'vitest';
import { scaleInMeta, scaleOfSample, shapeInMeta } from '../../src/inspection/dataset_sample.ts';

describe('shapeInMeta', () => {
  const circle = { kind: 'circle', cx: 1, cy: 2, r: 3 };
  const parsed = { kind: 'circle', numbers: { cx: 1, cy: 2, r: 3 } };

  it.each([
    ['an object under shape', { shape: circle }, parsed],
    ['an object under shape_json', { shape_json: circle }, parsed],
    ['its text', { shape_json: JSON.stringify(circle) }, parsed],
    ['shape_json before shape', { shape: { kind: 'rect' }, shape_json: circle }, parsed],
    ['shape where shape_json is empty', { shape: circle, shape_json: '' }, parsed],
    ['shape where shape_json is null', { shape: circle, shape_json: null }, parsed],
    ['none', { mm_per_px: 1 }, null],
    ['null for none', { shape: null }, null],
    ['an unknown kind for the whole picture', { shape: { kind: 'star' } }, { kind: '', numbers: {} }],
  ])('takes %s', (_, meta, expected) => {
    expect(shapeInMeta(meta)).toEqual(expected);
  });

  it.each([
    ['a list', { shape: [1] }, /must be a JSON object .* it is a list/],
    ['a number', { shape: 5 }, /it is 5\./],
    ['text that is no JSON', { shape_json: '{' }, /not valid JSON/],
    ['a number that is none', { shape: { kind: 'circle', r: 'x' } }, /shape\.r must be a finite number/],
  ])('refuses %s', (_, meta, message) => {
    expect(() => shapeInMeta(meta)).toThrow(expect.objectContaining({ code: 'invalid_shape' }));
    expect(() => shapeInMeta(meta)).toThrow(message);
  });
});

describe('scaleInMeta', () => {
  it.each([
    [{ mm_per_px: 0.1 }, 0.1],
    [{ mm_per_px: '1E-05' }, 1e-5],
    [{ mm_per_px: null }, null],
    [{ mm_per_px: '' }, null],
    [{}, null],
  ])('of %j is %j', (meta, expected) => {
    expect(scaleInMeta(meta)).toBe(expected);
  });

  it.each([0, -1, 1e7, 'abc', '0', true, [0.1], { mm: 1 }])('refuses %j', (scale) => {
    expect(() => scaleInMeta({ mm_per_px: scale })).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});

describe('scaleOfSample', () => {
  it.each([
    ["the meta's own", { mm_per_px: 0.3 }, null, 0.5, 0.3],
    [
      "the meta's own where it is the recipe's but for a millionth",
      { mm_per_px: 0.3 * (1 + 5e-7) },
      0.3,
      0.5,
      0.3 * (1 + 5e-7),
    ],
    ["the recipe's where it was corrected since", { mm_per_px: 0.3 }, 0.4, 0.5, 0.4],
    ["the recipe's where the meta has none", {}, 0.4, 0.5, 0.4],
    ['the default', {}, null, 0.5, 0.5],
    ['0.2 without a word from anyone', {}, null, null, 0.2],
  ])('is %s', (_, meta, recipe, fallback, expected) => {
    expect(scaleOfSample(meta, recipe, fallback)).toBe(expected);
  });
});
