import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { thumbnailJpeg } from '../../src/images/thumbnail.ts';

/** Left half red, right half blue. */
const halves = (width: number, height: number) => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const isLeft = Math.floor(i / 3) % width < width / 2;
    return [isLeft ? 200 : 10, 20, isLeft ? 10 : 200][i % 3] as number;
  }),
});

describe('thumbnailJpeg', () => {
  it.each([
    [400, 200, 100, 100, 50],
    [200, 400, 100, 50, 100],
    [40, 20, 100, 40, 20],
    [5000, 1, 100, 100, 1],
  ])('brings %i × %i within %i: %i × %i, never larger than it was', async (width, height, maxSide, ...size) => {
    const jpeg = await thumbnailJpeg(halves(width, height), maxSide);
    const metadata = await sharp(jpeg).metadata();
    expect(metadata).toMatchObject({ format: 'jpeg', width: size[0], height: size[1], channels: 3 });
  });

  it('shows the same picture, in an array of its own', async () => {
    const jpeg = await thumbnailJpeg(halves(400, 200), 100);
    expect(jpeg.buffer.byteLength).toBe(jpeg.byteLength);
    const { data, info } = await sharp(jpeg).raw().toBuffer({ resolveWithObject: true });
    const at = (x: number) => [...data.subarray((25 * info.width + x) * 3, (25 * info.width + x) * 3 + 3)];
    for (const [x, expected] of [
      [10, [200, 20, 10]],
      [90, [10, 20, 200]],
    ] as const) {
      for (const [channel, value] of at(x).entries())
        expect(Math.abs(value - (expected[channel] as number))).toBeLessThan(12);
    }
  });
});
