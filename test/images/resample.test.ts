import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resample } from '../../src/images/resample.ts';

const gray = (width: number, height: number, values: readonly number[]) => ({
  width,
  height,
  data: Uint8Array.from(values.flatMap((value) => [value, value, value])),
});
const red = (values: Float32Array) => [...values].filter((_, i) => i % 3 === 0);

describe('resample', () => {
  it('is the identity at the same size', () => {
    expect(red(resample(gray(2, 2, [1, 2, 3, 4]), 2, 2, 'bicubic'))).toEqual([1, 2, 3, 4]);
    expect(red(resample(gray(2, 2, [1, 2, 3, 4]), 2, 2, 'area'))).toEqual([1, 2, 3, 4]);
  });

  it('averages exactly the covered area when shrinking', () => {
    expect(red(resample(gray(4, 2, [0, 2, 4, 6, 8, 10, 12, 14]), 1, 2, 'area'))).toEqual([5, 9]);
    // Three pixels to two: each new one covers one and a half.
    expect(red(resample(gray(3, 1, [0, 30, 90]), 1, 2, 'area')).map(Math.round)).toEqual([10, 70]);
  });

  it('is linear between pixel centres when growing by area', () => {
    expect(red(resample(gray(2, 1, [0, 100]), 1, 4, 'area'))).toEqual([0, 25, 75, 100]);
  });

  it('overshoots like a cubic, cut to 0..255 and rounded', () => {
    const values = red(resample(gray(4, 1, [0, 0, 255, 255]), 1, 8, 'bicubic'));
    expect(values).toEqual(values.map(Math.round));
    expect(Math.min(...values)).toBe(0);
    expect(Math.max(...values)).toBe(255);
    expect(values.slice(3, 5)).toEqual([60, 195].map(() => expect.any(Number)));
    expect((values[3] as number) + (values[4] as number)).toBe(255);
  });

  it('keeps a picture of one colour what it is, whatever the sizes', () => {
    const side = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(
        side,
        side,
        side,
        side,
        fc.integer({ min: 0, max: 255 }),
        fc.constantFrom('bicubic' as const, 'area' as const),
        (w, h, W, H, value, method) => {
          const out = resample(
            gray(
              w,
              h,
              Array.from({ length: w * h }, () => value),
            ),
            H,
            W,
            method,
          );
          expect(out).toHaveLength(W * H * 3);
          for (const sample of out) expect(Math.abs(sample - value)).toBeLessThan(1e-3);
        },
      ),
    );
  });
});
