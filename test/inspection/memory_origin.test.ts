import { describe, expect, it } from 'vitest';
import { extractorAdvice, extractorMismatch, extractorsFor } from '../../src/inspection/memory_origin.ts';

const grid = { rows: 32, cols: 32 };
const vit = { name: 'vit_small', fingerprint: 'a'.repeat(64), width: 1152, grid, patchSize: 14 };
const embedded = { name: 'embedded_filter_bank', fingerprint: 'b'.repeat(64), width: 74, grid, patchSize: 8 };
const unknown = { fingerprint: null, extractorName: null, cols: 1152, grid };
const ours = { ...unknown, fingerprint: vit.fingerprint, extractorName: 'vit_small' };

describe('extractorMismatch', () => {
  it('lets the same fingerprint answer, and no other of the same shape', () => {
    expect(extractorMismatch(ours, vit)).toBeNull();
    const other = extractorMismatch(ours, { ...vit, fingerprint: 'c'.repeat(64), name: 'vit_int8' });
    expect(other).toMatchObject({ code: 'extractor_mismatch', message: expect.stringMatching(/vit_small.*vit_int8/) });
  });

  it('lets the same width and grid answer for a memory of unknown origin', () => {
    expect(extractorMismatch(unknown, vit)).toBeNull();
    // Only loading tells: the worker compares it again.
    expect(extractorMismatch(unknown, { ...vit, width: null })).toBeNull();
  });

  it.each([
    [
      'another width',
      embedded,
      /holds 1152 numbers per patch.*gives 74 on.*okng model add.*okng model fetch dinov2-small/,
    ],
    ['another grid', { ...vit, grid: { rows: 20, cols: 40 } }, /32 × 32 grid.*20 × 40.*--input-size 448x448/],
    ['a grid turned', { ...vit, width: null, grid: { rows: 16, cols: 64 } }, /gives patches on 16 × 64/],
  ])('refuses %s in words that help', (_, extractor, words) => {
    expect(extractorMismatch(unknown, extractor)).toMatchObject({
      code: 'extractor_mismatch',
      message: expect.stringMatching(words),
    });
  });
});

it('extractorsFor names those that surely fit', () => {
  const widthless = { ...vit, name: 'widthless', width: null };
  expect(extractorsFor(unknown, [embedded, vit, widthless])).toEqual([vit]);
  expect(extractorsFor(ours, [embedded, vit, { ...widthless, fingerprint: 'd' }])).toEqual([vit]);
});

it.each([
  [{ ...unknown, cols: 3072 }, /dinov2-large/],
  [{ ...unknown, cols: 99 }, /Install the extractor that gives 99 numbers/],
  [ours, /Install vit_small with the same weights/],
])('extractorAdvice', (memory, words) => {
  expect(extractorAdvice(memory, [embedded])).toMatch(words);
});
