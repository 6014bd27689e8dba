import { describe, expect, it } from 'vitest';
import { calibrateNgRequest, fitOkForm, inferForm } from '../../src/http/schemas.ts';
import { parseJson, parseWith, resolveRecipe } from '../../src/http/validation.ts';

const form = { role_id: 'flange', roi_id: 'top', mm_per_px: '0.1' };

describe('form fields', () => {
  it.each([
    ['0.1', 0.1],
    ['1E-05', 1e-5],
    [' 2 ', 2],
    ['.5', 0.5],
    ['1e-9', 1e-9],
    ['1000000', 1e6],
  ])('reads mm_per_px %j', (text, value) => {
    expect(parseWith(fitOkForm, { ...form, mm_per_px: text }).mm_per_px).toBe(value);
  });

  it.each([
    ['0', 'invalid_value'],
    ['-1', 'invalid_value'],
    ['NaN', 'invalid_value'],
    ['Infinity', 'invalid_value'],
    ['1e999', 'invalid_value'],
    ['9e-10', 'invalid_value'],
    ['1000001', 'invalid_value'],
    ['1e200', 'invalid_value'],
    ['abc', 'invalid_type'],
    ['0,1', 'invalid_type'],
    ['0x10', 'invalid_type'],
    ['', 'invalid_type'],
  ])('refuses mm_per_px %j as %s, naming field and value', (text, code) => {
    expect(() => parseWith(fitOkForm, { ...form, mm_per_px: text })).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining('mm_per_px') }),
    );
  });

  it('names the limits of mm_per_px', () => {
    expect(() => parseWith(fitOkForm, { ...form, mm_per_px: '1e200' })).toThrow(
      'mm_per_px must be from 1e-9 to 1000000, finite and above 0; it is 1e+200.',
    );
  });

  it('takes an empty model_key for none, and names the field in every refusal', () => {
    expect(parseWith(inferForm, { ...form, model_key: '' }).model_key).toBeUndefined();
    expect(parseWith(inferForm, { ...form, model_key: 'm' }).model_key).toBe('m');
    expect(() => parseWith(inferForm, { ...form, model_key: ' ' })).toThrow(/^model_key must not be empty/);
    expect(() => parseWith(inferForm, { ...form, model_key: 'x'.repeat(201) })).toThrow(
      expect.objectContaining({
        code: 'invalid_value',
        message: expect.stringMatching(/^model_key has 201 characters/),
      }),
    );
  });

  it.each(['true', 'True', '1', 'yes', 'YES', 'on', 'On'])('reads %j as true', (text) => {
    const booleans = { memory_fit: text, use_dataset: text };
    expect(parseWith(fitOkForm, { ...form, ...booleans })).toMatchObject({ memory_fit: true, use_dataset: true });
    expect(parseWith(inferForm, { ...form, include_heatmap: text }).include_heatmap).toBe(true);
  });

  it.each(['false', 'False', '0', 'no', 'No', 'off', 'OFF'])('reads %j as false', (text) => {
    const booleans = { memory_fit: text, use_dataset: text };
    expect(parseWith(fitOkForm, { ...form, ...booleans })).toMatchObject({ memory_fit: false, use_dataset: false });
    expect(parseWith(inferForm, { ...form, include_heatmap: text }).include_heatmap).toBe(false);
  });

  it.each(['maybe', '2', 'ja', 'nein', 't'])('refuses %j as a boolean', (text) => {
    for (const [schema, field] of [
      [fitOkForm, 'memory_fit'],
      [fitOkForm, 'use_dataset'],
      [inferForm, 'include_heatmap'],
    ] as const) {
      expect(() => parseWith<typeof fitOkForm | typeof inferForm>(schema, { ...form, [field]: text })).toThrow(
        expect.objectContaining({
          code: 'invalid_type',
          message: expect.stringContaining(`${field} must be true/false`),
        }),
      );
    }
  });

  it("has the contract's defaults: no memory_fit, a heatmap", () => {
    expect(parseWith(fitOkForm, form)).toMatchObject({ memory_fit: false, use_dataset: false });
    expect(parseWith(inferForm, form).include_heatmap).toBe(true);
  });

  it('names every missing field', () => {
    expect(() => parseWith(fitOkForm, { role_id: 'x' })).toThrow(
      expect.objectContaining({
        code: 'missing_field',
        message: 'The field roi_id is missing. The field mm_per_px is missing.',
      }),
    );
  });

  it('takes ids of 200 characters of any script, not 201, not half a surrogate pair', () => {
    expect(parseWith(fitOkForm, { ...form, role_id: '😀'.repeat(200) }).role_id).toHaveLength(400);
    expect(() => parseWith(fitOkForm, { ...form, role_id: '😀'.repeat(201) })).toThrow(
      /role_id has 201 characters; at most 200/,
    );
    expect(() => parseWith(fitOkForm, { ...form, role_id: '\ud800' })).toThrow(/role_id holds half a surrogate pair/);
    expect(() => parseWith(fitOkForm, { ...form, role_id: '  ' })).toThrow(/role_id must not be empty/);
  });
});

describe('calibration body', () => {
  const body = { role_id: 'flange', roi_id: 'top', ok_scores: [1] };

  it('takes null for what may be absent', () => {
    expect(parseWith(calibrateNgRequest, { ...body, ng_scores: null, mm_per_px: null, unknown: 1 })).toMatchObject({
      ng_scores: null,
    });
  });

  it.each([
    [{ ok_scores: undefined }, 'missing_field'],
    [{ ok_scores: [] }, 'invalid_value'],
    [{ ok_scores: ['1'] }, 'invalid_type'],
    [{ ok_scores: 'x' }, 'invalid_type'],
    [{ ok_scores: [Number.POSITIVE_INFINITY] }, 'invalid_value'],
    [{ ng_scores: [null] }, 'invalid_type'],
    [{ score_percentile: 100.001 }, 'invalid_value'],
    [{ score_percentile: 101 }, 'invalid_value'],
    [{ score_percentile: -0.001 }, 'invalid_value'],
    [{ score_percentile: '99' }, 'invalid_type'],
    [{ area_mm2_thr: '1' }, 'invalid_type'],
    [{ area_mm2_thr: -1 }, 'invalid_value'],
    [{ mm_per_px: 0 }, 'invalid_value'],
    [{ mm_per_px: 1e200 }, 'invalid_value'],
    [{ mm_per_px: 1e-10 }, 'invalid_value'],
    [{ ok_scores: [1, 1.1e100] }, 'invalid_value'],
    [{ ng_scores: [-1.1e100] }, 'invalid_value'],
    [{ role_id: 5 }, 'invalid_type'],
    [{ model_key: 5 }, 'invalid_type'],
    [{ recipe_id: 5 }, 'invalid_type'],
  ])('refuses %j as %s', (change, code) => {
    const [field] = Object.keys(change) as [string];
    expect(() => parseWith(calibrateNgRequest, { ...body, ...change })).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(field) }),
    );
  });

  it('takes null for no recipe_id and no model_key, as .NET writes them', () => {
    const { recipe_id, model_key } = parseWith(calibrateNgRequest, { ...body, recipe_id: null, model_key: null });
    expect([recipe_id ?? 'none', model_key ?? 'none']).toEqual(['none', 'none']);
  });

  it('takes scores up to 1e100 of either sign', () => {
    expect(parseWith(calibrateNgRequest, { ...body, ok_scores: [1e100, -1e100] }).ok_scores).toEqual([1e100, -1e100]);
  });

  it('tells a long wrong list once, not once per score', () => {
    const { error } = calibrateNgRequest.safeParse({
      ...body,
      ok_scores: new Array(1000).fill(null),
      ng_scores: [[], []],
    });
    expect(error?.issues.map(({ message }) => message)).toEqual([
      'ok_scores must hold finite numbers only.',
      'ng_scores must hold finite numbers only.',
    ]);
  });

  it('takes a million scores, not one more', () => {
    const many = new Array(1_000_000).fill(0.5);
    expect(parseWith(calibrateNgRequest, { ...body, ok_scores: many }).ok_scores).toHaveLength(1_000_000);
    expect(() => parseWith(calibrateNgRequest, { ...body, ok_scores: [...many, 0.5] })).toThrow(
      expect.objectContaining({ code: 'invalid_value', message: 'ok_scores must hold at most 1000000 scores.' }),
    );
  });

  it('refuses a body that is no object', () => {
    expect(() => parseWith(calibrateNgRequest, [1])).toThrow(expect.objectContaining({ code: 'invalid_type' }));
  });
});

describe('parseJson', () => {
  it.each(['{"a": NaN}', '{', '', 'Infinity'])('refuses %j', (text) => {
    expect(() => parseJson(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'invalid_json' }));
  });

  it('says that there is nothing, and what is read here when something else was announced', () => {
    expect(() => parseJson(new Uint8Array())).toThrow('The body is not valid JSON: it is empty.');
    expect(() => parseJson(Buffer.from('a=1'), 'application/x-www-form-urlencoded')).toThrow(
      /reads application\/json; the request's Content-Type is application\/x-www-form-urlencoded\.$/,
    );
    expect(() => parseJson(Buffer.from('a=1'), 'application/problem+json')).not.toThrow(/Content-Type/);
    expect(parseJson(Buffer.from('[1]'), 'text/plain')).toEqual([1]);
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(/not UTF-8/);
  });
});

describe('resolveRecipe', () => {
  it('takes the first that is named, trimmed and lower-cased', () => {
    expect(resolveRecipe(undefined, null)).toBe('default');
    expect(resolveRecipe(' ', 'Line-2 ')).toBe('line-2');
    expect(resolveRecipe('A_1', 'b')).toBe('a_1');
  });

  it.each(['a', '0', 'x-_9', `9${'z'.repeat(63)}`, 'lasts', 'last_'])('takes %j', (text) => {
    expect(resolveRecipe(` ${text.toUpperCase()}\t`)).toBe(text);
  });

  it.each(['last', ' LAST', '_a', 'a.b', 'a/b', 'a\nb', '../x', 'a b', '-a', 'ä', 'a'.repeat(65)])(
    'refuses %j',
    (text) => {
      expect(() => resolveRecipe(text)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    },
  );
});
