import { inflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodeGrayPng } from '../../src/images/png.ts';

describe('encodeGrayPng', () => {
  it('writes one channel of 8 bits, in an array of its own', async () => {
    const data = Uint8Array.from({ length: 6 }, (_, i) => i * 50);
    const png = await encodeGrayPng({ height: 2, width: 3, data }, { inPool: true });
    expect([png[24], png[25]], 'bit depth and colour type').toEqual([8, 0]);
    expect(png.buffer.byteLength).toBe(png.byteLength);
  });

  describe.each([{ inPool: false }, { inPool: true }])('%o', (options) => {
    /** Reads it with a library, and its one IDAT with zlib, which sees whether the checksum holds. */
    async function expectReadBack(height: number, width: number, data: Uint8Array): Promise<void> {
      const png = Buffer.from(await encodeGrayPng({ height, width, data }, options));
      // The signature, IHDR with 13 bytes, then IDAT; a chunk is 12 bytes around its data.
      expect(png.toString('latin1', 37, 41)).toBe('IDAT');
      expect(inflateSync(png.subarray(41, 41 + png.readUInt32BE(33))).length).toBe(height * (1 + width));
      const { data: pixels, info } = await sharp(png).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true });
      expect(info).toMatchObject({ height, width, channels: 1 });
      expect(Buffer.compare(pixels, data)).toBe(0);
    }

    it('reads back the same, whatever its size and values', async () => {
      const side = fc.integer({ min: 1, max: 70 });
      await fc.assert(
        fc.asyncProperty(side, side, fc.nat(), fc.boolean(), async (height, width, seed, isFlat) => {
          const value = (i: number) => (isFlat ? seed & 255 : Math.imul(i + seed, 2654435761) >>> 24);
          await expectReadBack(
            height,
            width,
            Uint8Array.from({ length: height * width }, (_, i) => value(i)),
          );
        }),
        { numRuns: 60 },
      );
    });

    it.each([
      [250, 700],
      [701, 389],
      [3, 5551],
      [2, 5552],
      [20, 70_000],
    ])('reads back the same when it is large: %i × %i', async (height, width) => {
      await expectReadBack(
        height,
        width,
        Uint8Array.from({ length: height * width }, (_, i) => Math.imul(i, 2654435761) >>> 24),
      );
    });

    it('is smaller than the pixels of a map that changes slowly', async () => {
      const data = Uint8Array.from(
        { length: 100 * 100 },
        (_, i) => 100 + 50 * Math.sin(i / 1000) + 50 * Math.cos((i % 100) / 20),
      );
      expect((await encodeGrayPng({ height: 100, width: 100, data }, options)).length).toBeLessThan(data.length / 2);
    });
  });
});
