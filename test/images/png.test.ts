import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodeGrayPng } from '../../src/images/png.ts';

describe('encodeGrayPng', () => {
  it('writes one channel of 8 bits, in an array of its own', () => {
    const png = encodeGrayPng({ height: 2, width: 3, data: Uint8Array.from({ length: 6 }, (_, i) => i * 50) });
    expect([png[24], png[25]], 'bit depth and colour type').toEqual([8, 0]);
    expect(png.buffer.byteLength).toBe(png.byteLength);
  });

  it('reads back the same, whatever its size and values', async () => {
    const side = fc.integer({ min: 1, max: 70 });
    await fc.assert(
      fc.asyncProperty(side, side, fc.nat(), fc.boolean(), async (height, width, seed, isFlat) => {
        const value = (i: number) => (isFlat ? seed & 255 : Math.imul(i + seed, 2654435761) >>> 24);
        const data = Uint8Array.from({ length: height * width }, (_, i) => value(i));
        const { data: pixels, info } = await sharp(encodeGrayPng({ height, width, data }))
          .toColourspace('b-w')
          .raw()
          .toBuffer({ resolveWithObject: true });
        expect(info).toMatchObject({ height, width, channels: 1 });
        expect(new Uint8Array(pixels)).toEqual(data);
      }),
      { numRuns: 60 },
    );
  });

  it('is smaller than the pixels of a map that changes slowly', () => {
    const data = Uint8Array.from(
      { length: 100 * 100 },
      (_, i) => 100 + 50 * Math.sin(i / 1000) + 50 * Math.cos((i % 100) / 20),
    );
    expect(encodeGrayPng({ height: 100, width: 100, data }).length).toBeLessThan(data.length / 2);
  });
});
