import { describe, expect, it } from 'vitest';
import { parseMetas } from '../../src/http/dataset_upload.ts';

describe('parseMetas', () => {
  it.each([
    ['one object per field', ['{"a":1}', ' {"b":1E-05} '], [{ a: 1 }, { b: 0.00001 }]],
    ['one field with the list of all', ['[{"a":1},{"b":2},{}]'], [{ a: 1 }, { b: 2 }, {}]],
    ['lists and objects', ['[{"a":1},{"b":2}]', '{"c":3}'], [{ a: 1 }, { b: 2 }, { c: 3 }]],
    ['empty texts and null for pictures without one', ['{"a":1}', '', 'null', '[null]'], [{ a: 1 }, {}, {}, {}]],
    ['nothing', [], []],
    ['nothing but empty texts', ['', ' ', 'null'], []],
    ['an empty list', ['[]'], []],
  ])('reads %s', (_, texts, expected) => {
    expect(parseMetas(texts)).toEqual(expected);
  });

  it.each([
    ['text that is no JSON', ['{}', '{"a":'], /^metas\[1\] is no meta: it is not valid JSON/],
    ['a number', ['5'], /metas\[0\].*it holds number/],
    ['a list in a list', ['[[]]'], /it holds a list/],
    ['a text', ['"x"'], /it holds string/],
  ])('refuses %s', (_, texts, message) => {
    expect(() => parseMetas(texts)).toThrow(expect.objectContaining({ code: 'invalid_json' }));
    expect(() => parseMetas(texts)).toThrow(message);
  });
});
