import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { embeddedExtractorInfo } from '../../src/extractors/embedded/embedded_extractor.ts';
import { preparePicture } from '../../src/workers/pixel_steps.ts';

const { preprocessing, grid } = embeddedExtractorInfo();
const settings = { preprocessing, grid, maxPixels: 1e6, modelsDir: '.' };

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
          const png = await sharp(data, { raw: { width, height, channels: 3 } })
            .png()
            .toBuffer();
          const { brightness } = await preparePicture(Uint8Array.from(png), 'part.png', settings);
          expect(brightness).toBe(data.reduce((sum, value) => sum + value, 0) / count);
        },
      ),
      { numRuns: 40 },
    );
  });
});
