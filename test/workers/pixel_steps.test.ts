import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { embeddedExtractorInfo } from '../../src/extractors/embedded/embedded_extractor.ts';
import { preparePicture } from '../../src/workers/pixel_steps.ts';

const { preprocessing, grid } = embeddedExtractorInfo();
const settings = { preprocessing, grid, maxPixels: 1e6, modelsDir: '.', packInPool: true };

/** The brightness it is told, and that of a plain sum. */
async function brightnessOf(width: number, height: number, data: Uint8Array): Promise<readonly [number, number]> {
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
  const { brightness } = await preparePicture(Uint8Array.from(png), 'part.png', settings);
  return [brightness, data.reduce((sum, value) => sum + value, 0) / data.length];
}

describe('preparePicture', () => {
  it('tells the mean of all bytes exactly, whatever their number', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 2 }),
        async (width, height, kind) => {
          const count = width * height * 3;
          const data = Uint8Array.from({ length: count }, (_, i) => [255, 0, (i * 89 + width) % 256][kind] as number);
          const [told, plain] = await brightnessOf(width, height, data);
          expect(told).toBe(plain);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('tells it of a large picture as well', async () => {
    const data = Uint8Array.from({ length: 331 * 257 * 3 }, (_, i) => (i * 89) % 256);
    const [told, plain] = await brightnessOf(331, 257, data);
    expect(told).toBe(plain);
  });
});
