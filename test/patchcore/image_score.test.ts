import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heatmap } from '../../src/patchcore/heatmap.ts';
import { imageScore, percentile, topShareScore } from '../../src/patchcore/image_score.ts';
import { type RoiMask, roiMask } from '../../src/patchcore/roi_mask.ts';

const map = (...values: readonly number[]) => ({ height: 1, width: values.length, data: Float32Array.from(values) });
const mask = (...values: readonly number[]): RoiMask => ({
  height: 1,
  width: values.length,
  data: Uint8Array.from(values),
  covered: values.reduce((sum, value) => sum + value, 0),
});

describe('percentile', () => {
  it.each([
    [[10, 11, 13], 99, 12.96],
    [[1, 2, 3, 4], 50, 2.5],
    [[7], 99, 7],
    [[3, 1, 2], 0, 1],
    [[3, 1, 2], 100, 3],
    [[5, 5, 5, 5], 37, 5],
  ])('of %j at %d is %d', (values, p, expected) => {
    expect(percentile(Float64Array.from(values), p)).toBeCloseTo(expected, 12);
  });

  it('equals the one of the sorted values, ties included, and leaves the values as they are', () => {
    const numbers = fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(numbers, fc.float({ min: 0, max: 100, noNaN: true }), (values, p) => {
        const given = Float64Array.from(values);
        const sorted = [...values].sort((a, b) => a - b);
        const position = ((sorted.length - 1) * p) / 100;
        const low = sorted[Math.floor(position)] as number;
        const high = sorted[Math.ceil(position)] as number;
        expect(percentile(given, p)).toBeCloseTo(low + (high - low) * (position - Math.floor(position)), 9);
        expect([...given]).toEqual(values);
      }),
    );
  });

  it('refuses no values and other percentiles', () => {
    expect(() => percentile(new Float64Array(), 50)).toThrow(expect.objectContaining({ code: 'shape_mismatch' }));
    for (const p of [-1, 101, Number.NaN]) {
      expect(() => percentile(Float64Array.of(1), p)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    }
  });
});

describe('imageScore', () => {
  it('looks inside the mask only', () => {
    expect(imageScore(map(1, 100, 3), mask(1, 0, 1), 100)).toBe(3);
    expect(imageScore(map(1, 100, 3), mask(1, 1, 1), 100)).toBe(100);
  });

  it('is never a number for a mask that covers nothing', () => {
    expect(() => imageScore(map(1, 2), mask(0, 0), 99)).toThrow(expect.objectContaining({ code: 'empty_mask' }));
  });

  it('refuses a mask of another size', () => {
    expect(() => imageScore(map(1, 2), mask(1), 99)).toThrow(expect.objectContaining({ code: 'shape_mismatch' }));
  });
});

describe('heatmap', () => {
  it('stretches the 1st to 99th percentile to 0..255 and is 0 outside the mask', () => {
    const values = Array.from({ length: 101 }, (_, i) => i);
    const picture = heatmap(map(...values), roiMask({ kind: 'whole' }, { height: 1, width: 101 }));
    expect(picture[0]).toBe(0);
    expect(picture[1]).toBe(0);
    expect(picture[50]).toBe(Math.round((49 / 98) * 255));
    expect(picture[99]).toBe(255);
    expect(picture[100]).toBe(255);
    expect([...heatmap(map(5, 1, 2, 3), mask(0, 1, 1, 1))][0]).toBe(0);
  });

  it('is 0 in every gap of the mask', () => {
    const picture = heatmap(map(9, 1, 2, 9, 3, 4, 9), mask(0, 1, 1, 0, 1, 1, 0));
    expect([...picture].map((value) => value > 0)).toEqual([false, false, true, false, true, true, false]);
  });

  it('is black for a flat map', () => {
    expect([...heatmap(map(2, 2, 2), mask(1, 1, 1))]).toEqual([0, 0, 0]);
  });
});

describe('topShareScore', () => {
  it('averages the highest 1 % inside the mask', () => {
    const values = Array.from({ length: 400 }, (_, i) => (i * 7) % 400);
    // The four highest of 0..399; then without the pixel that holds 399.
    expect(topShareScore(map(...values), mask(...values.map(() => 1)))).toBe((396 + 397 + 398 + 399) / 4);
    const without = values.map((value) => (value === 399 ? 0 : 1));
    expect(topShareScore(map(...values), mask(...without))).toBe((396 + 397 + 398) / 3);
  });

  it('is the maximum where 1 % is less than a pixel, and refuses an empty mask', () => {
    expect(topShareScore(map(3, 1, 2), mask(1, 1, 1))).toBe(3);
    expect(() => topShareScore(map(3, 1), mask(0, 0))).toThrow(expect.objectContaining({ code: 'empty_mask' }));
  });
});
