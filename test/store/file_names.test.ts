import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  idsOfModelFileBase,
  isRawKeyFolder,
  legacyFileBase,
  modelFileBase,
  modelKeyFolder,
  modelKeyOfFolder,
  recipeFolder,
} from '../../src/store/file_names.ts';

/** Ids that end and begin with many one-bits, where `_` of the alphabet could be mistaken for the separator. */
const nastyId = fc
  .array(fc.constantFrom('\u007f', '\u{10ffff}', '\u{3ffff}', '\uffff', '߿', 'a', '/', '..', '_', '?', '\0'), {
    minLength: 1,
    maxLength: 6,
  })
  .map((parts) => parts.join(''));
const anyId = fc.oneof(
  nastyId,
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }),
);
const pair = fc.tuple(anyId, anyId);

describe('modelFileBase', () => {
  it('is the contract base64 of both ids', () => {
    expect(modelFileBase('Pieza 1', 'ROI/ñ?')).toBe('UGllemEgMQ__Uk9JL8OxPw');
    expect(modelFileBase('???', '~~~')).toBe('Pz8___fn5-');
  });

  it('gives different ids different bases that are plain file names', () => {
    fc.assert(
      fc.property(pair, pair, (one, other) => {
        const base = modelFileBase(...one);
        expect(base).toMatch(/^[A-Za-z0-9_~-]+$/);
        expect(`${base}_index.faiss`.length).toBeLessThanOrEqual(255);
        if (one[0] !== other[0] || one[1] !== other[1]) expect(modelFileBase(...other)).not.toBe(base);
      }),
    );
  });

  it('can be read back unless shortened', () => {
    fc.assert(
      fc.property(pair, ([roleId, roiId]) => {
        const base = modelFileBase(roleId, roiId);
        expect(idsOfModelFileBase(base)).toEqual(base.startsWith('~') ? undefined : { roleId, roiId });
      }),
      { numRuns: 500 },
    );
  });

  it('shortens exactly when the longest file name would pass 255', () => {
    // 3 · 30 bytes → 120 letters, 2 more, 3 · 40 + 1 bytes → 122 letters: 120 + 2 + 122 = 244.
    expect(modelFileBase('a'.repeat(90), 'b'.repeat(90))).toHaveLength(242);
    expect(modelFileBase('a'.repeat(90), 'b'.repeat(91))).toMatch(/^~~[0-9a-f]{64}$/);
    expect(modelFileBase('a'.repeat(91), 'b'.repeat(90))).not.toBe(modelFileBase('a'.repeat(90), 'b'.repeat(91)));
  });

  it('refuses half a surrogate pair', () => {
    expect(() => modelFileBase('\ud800', 'a')).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });

  it('reads no ids out of names it never makes', () => {
    for (const name of ['', 'abc', '__', 'YQ__', '__YQ', 'YQ==__YQ', 'YR__YQ', '_w__YQ', 'YQ__YQ.old']) {
      expect(idsOfModelFileBase(name), name).toBeUndefined();
    }
  });
});

describe('legacyFileBase', () => {
  it('replaces every code point but ASCII letters, digits, - and _', () => {
    expect(legacyFileBase('Pieza-1', 'a/ñ.😀_z')).toBe('Pieza-1_a_____z');
  });

  it('does not reach for the model of another role and ROI', () => {
    const theirs = modelFileBase('a', 'b');
    expect(theirs).toBe('YQ__Yg');
    expect(legacyFileBase('YQ_', 'Yg')).toBeUndefined();
  });

  it('is absent when no file can have the name', () => {
    expect(legacyFileBase('a'.repeat(200), 'b'.repeat(42))).toHaveLength(243);
    expect(legacyFileBase('a'.repeat(200), 'b'.repeat(43))).toBeUndefined();
  });
});

describe('modelKeyFolder', () => {
  it('keeps plain keys and encodes the rest', () => {
    expect(modelKeyFolder('roi_1-B')).toBe('roi_1-B');
    expect(modelKeyFolder('a'.repeat(64))).toBe('a'.repeat(64));
    expect(modelKeyFolder('..')).toBe('~Li4');
    expect(modelKeyFolder('a/b')).toBe('~YS9i');
    expect(modelKeyFolder('datasets')).toBe('~ZGF0YXNldHM');
    expect(modelKeyFolder('CON')).toBe('~Q09O');
    expect(modelKeyFolder('a'.repeat(65))).toMatch(/^~YWFh/);
    expect(modelKeyFolder('ñ'.repeat(200))).toMatch(/^~~[0-9a-f]{64}$/);
  });

  it('gives different keys different plain folder names and reads them back', () => {
    const key = fc.oneof(anyId, fc.constantFrom('datasets', 'NUL', '~Li4', '..', '~', 'a'.repeat(190), '~~'));
    fc.assert(
      fc.property(key, key, (one, other) => {
        const folder = modelKeyFolder(one);
        expect(folder).toMatch(/^[A-Za-z0-9_~-]{1,255}$/);
        expect(folder.toLowerCase()).not.toBe('datasets');
        if (one !== other) expect(modelKeyFolder(other)).not.toBe(folder);
        expect(modelKeyOfFolder(folder)).toBe(folder.startsWith('~~') ? undefined : one);
      }),
      { numRuns: 500 },
    );
  });
});

describe('isRawKeyFolder', () => {
  it.each(['ROI 1', 'Maße', 'a.b', 'x'.repeat(65), '-a'])('knows %j, which we would name otherwise', (name) => {
    expect(isRawKeyFolder(name)).toBe(true);
    expect(modelKeyOfFolder(name)).toBe(name);
  });

  it.each([
    'roi_1',
    '..',
    '.',
    '',
    '.tmp-1',
    'a/b',
    'a\\b',
    'C:',
    'a\0',
    'datasets',
    'DATASETS',
    'con',
    '~',
    '~Li4',
    '~x y',
    'ä'.repeat(128),
  ])('does not take %j for one', (name) => expect(isRawKeyFolder(name)).toBe(false));

  it('takes no folder that is ours, whatever key it was made for', () => {
    fc.assert(
      fc.property(anyId, (modelKey) => {
        expect(isRawKeyFolder(modelKeyFolder(modelKey))).toBe(false);
      }),
    );
  });
});

it('recipeFolder refuses what the contract does not allow', () => {
  expect(recipeFolder('line-2_b')).toBe('line-2_b');
  for (const recipe of ['..', '', 'A', 'a/b', '-a', 'a'.repeat(65)]) {
    expect(() => recipeFolder(recipe), recipe).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  }
});
