import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resample, resampleByRow } from '../../src/images/resample.ts';

const gray = (width: number, height: number, values: readonly number[]) => ({
  width,
  height,
  data: Uint8Array.from(values.flatMap((value) => [value, value, value])),
});
const red = (values: Float32Array) => [...values].filter((_, i) => i % 3 === 0);

/** The plain form of the definition: one axis as a whole, every weight, in order; Pillow's whole numbers for `bicubic`. */
function plainAxis(
  lines: readonly ArrayLike<number>[],
  outputs: number,
  method: 'bicubic' | 'area',
): readonly Float32Array[] {
  const inputs = lines.length;
  if (outputs === inputs) return lines.map((line) => Float32Array.from(line));
  const scale = inputs / outputs;
  const cubic = (distance: number) => {
    const x = Math.abs(distance / Math.max(1, scale));
    // Factored as the definition is: the last bits count here.
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
  };
  const area = (distance: number) =>
    scale <= 1
      ? Math.max(0, 1 - Math.abs(distance))
      : Math.max(0, Math.min(distance + 0.5, scale / 2) - Math.max(distance - 0.5, -scale / 2));
  const weightAt = method === 'bicubic' ? cubic : area;
  const support = method === 'bicubic' ? 2 * Math.max(1, scale) : scale <= 1 ? 1 : scale / 2 + 0.5;
  return Array.from({ length: outputs }, (_, output) => {
    const centre = ((output + 0.5) * inputs) / outputs;
    const from = Math.max(0, Math.floor(centre - support + 0.5));
    const to = Math.min(inputs, Math.floor(centre + support + 0.5));
    const weights = Array.from({ length: to - from }, (__, i) => weightAt(from + i + 0.5 - centre));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const whole = (weight: number) => Math.sign(weight) * Math.floor(Math.abs(weight) * 2 ** 22 + 0.5);
    const shares = weights.map((weight) => (method === 'area' ? weight / sum : whole(weight / sum)));
    return Float32Array.from({ length: (lines[0] as ArrayLike<number>).length }, (__, place) => {
      const value = shares.reduce(
        (total, share, i) => total + share * ((lines[from + i] as ArrayLike<number>)[place] as number),
        0,
      );
      return method === 'area' ? value : Math.min(255, Math.max(0, Math.floor(value / 2 ** 22 + 0.5)));
    });
  });
}

function plainResample(
  { height, width, data }: { height: number; width: number; data: Uint8Array },
  outHeight: number,
  outWidth: number,
  method: 'bicubic' | 'area',
): Float32Array {
  const columns = Array.from({ length: width }, (_, x) =>
    Array.from({ length: height * 3 }, (__, i) => data[(Math.floor(i / 3) * width + x) * 3 + (i % 3)] as number),
  );
  const scaled = plainAxis(columns, outWidth, method);
  const rows = Array.from({ length: height }, (_, y) =>
    Array.from({ length: outWidth * 3 }, (__, i) => scaled[Math.floor(i / 3)]?.[y * 3 + (i % 3)] as number),
  );
  return Float32Array.from(plainAxis(rows, outHeight, method).flatMap((row) => [...row]));
}

const noise = (width: number, height: number, seed: number) => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => Math.imul(i + seed, 2654435761) >>> 24),
});

describe('resample', () => {
  it.each(['bicubic', 'area'] as const)('equals the plain two passes bit for bit: %s', (method) => {
    const side = fc.integer({ min: 1, max: 34 });
    fc.assert(
      fc.property(side, side, side, side, fc.nat(), (width, height, outWidth, outHeight, seed) => {
        const image = noise(width, height, seed);
        expect(resample(image, outHeight, outWidth, method)).toEqual(plainResample(image, outHeight, outWidth, method));
      }),
      { numRuns: 150 },
    );
  });

  it.each([
    ['bicubic', 384, 448],
    ['area', 384, 256],
    ['area', 448, 256],
    ['bicubic', 500, 448],
    ['area', 700, 100],
  ] as const)('equals the plain two passes at the sizes in use: %s %i to %i', (method, from, to) => {
    const image = noise(from, 9, 1);
    expect(resample(image, 7, to, method)).toEqual(plainResample(image, 7, to, method));
    const turned = noise(9, from, 1);
    expect(resample(turned, to, 7, method)).toEqual(plainResample(turned, to, 7, method));
  });

  it.each(['bicubic', 'area'] as const)('holds only the rows in use of a tall picture: %s', (method) => {
    const image = { width: 1, height: 100_000, data: new Uint8Array(300_000).fill(9) };
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    let rows = 0;
    resampleByRow(image, 256, 64, method, (row, y) => {
      expect(y).toBe(rows++);
      expect(row).toHaveLength(64 * 3);
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    });
    expect(rows).toBe(256);
    // All rows at the new width would be 77 MB.
    expect(most).toBeLessThan(24e6);
  });

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

  it('rounds as Pillow 12.3 does, whose weights are whole numbers', () => {
    // In float64 the first is 89.
    const values = red(resample(gray(4, 1, [99, 218, 183, 111]), 1, 8, 'bicubic'));
    expect(values).toEqual([88, 122, 194, 221, 198, 165, 124, 105]);
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
