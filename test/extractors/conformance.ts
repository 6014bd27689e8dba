import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Extractor, ExtractorInfo } from '../../src/extractors/extractor.ts';
import { noisePicture } from './noise_picture.ts';

export interface ExtractorUnderTest {
  readonly open: () => Promise<Extractor>;
  /** What is known without loading. */
  readonly describe: () => ExtractorInfo | Promise<ExtractorInfo>;
  /** The reason for skipping; printed. */
  readonly skip?: string | null;
}

/** What every extractor promises. */
export function extractorConformance(name: string, subject: ExtractorUnderTest): void {
  const skip = subject.skip ?? null;
  describe.skipIf(skip !== null)(
    `${name} keeps the promises of an extractor${skip === null ? '' : ` (${skip})`}`,
    () => {
      let extractor: Extractor;
      const picture = (seed: number) => {
        const { height, width } = extractor.info.preprocessing;
        return noisePicture(height, width, seed);
      };

      beforeAll(async () => {
        extractor = await subject.open();
      });
      afterAll(async () => {
        await extractor?.dispose();
      });

      it('is what its description said before loading', async () => {
        const described = await subject.describe();
        expect(extractor.info).toEqual({ ...described, width: described.width ?? expect.any(Number) });
        expect(extractor.info.fingerprint).toMatch(/^[0-9a-f]{64}$/);
      });

      it('has a grid of patch-sized cells that fills the input', () => {
        const { grid, patchSize, preprocessing } = extractor.info;
        expect([grid.rows * patchSize, grid.cols * patchSize]).toEqual([preprocessing.height, preprocessing.width]);
      });

      it('gives one row of `width` numbers per grid cell and an image vector, all finite', async () => {
        const { embeddings, grid, imageVector } = await extractor.extract(picture(1));
        expect(grid).toEqual(extractor.info.grid);
        expect(embeddings.rows).toBe(grid.rows * grid.cols);
        expect(embeddings.cols).toBe(extractor.info.width);
        expect(embeddings.data.length).toBe(embeddings.rows * embeddings.cols);
        expect(embeddings.data.every(Number.isFinite)).toBe(true);
        expect(imageVector.length).toBeGreaterThan(0);
        expect(imageVector.every(Number.isFinite)).toBe(true);
      });

      it('does not normalise rows', async () => {
        const { embeddings } = await extractor.extract(picture(1));
        const { rows, cols, data } = embeddings;
        const lengths = Array.from({ length: rows }, (_, row) =>
          Math.hypot(...data.subarray(row * cols, (row + 1) * cols)),
        );
        expect(lengths.some((length) => Math.abs(length - 1) > 0.01)).toBe(true);
      });

      it('gives equal bits for equal pictures, also after another picture and in another instance', async () => {
        const first = await extractor.extract(picture(1));
        const other = await extractor.extract(picture(2));
        const again = await extractor.extract(picture(1));
        const twin = await subject.open();
        const elsewhere = await twin.extract(picture(1)).finally(() => twin.dispose());
        for (const same of [again, elsewhere]) {
          expect(equalBits(same.embeddings.data, first.embeddings.data)).toBe(true);
          expect(equalBits(same.imageVector, first.imageVector)).toBe(true);
        }
        expect(equalBits(other.embeddings.data, first.embeddings.data)).toBe(false);
        expect(equalBits(other.imageVector, first.imageVector)).toBe(false);
      });

      it('gives arrays that later pictures leave alone', async () => {
        const { embeddings, imageVector } = await extractor.extract(picture(1));
        const [rowsBefore, vectorBefore] = [embeddings.data.slice(), imageVector.slice()];
        await extractor.extract(picture(2));
        expect(equalBits(embeddings.data, rowsBefore)).toBe(true);
        expect(equalBits(imageVector, vectorBefore)).toBe(true);
      });

      it('leaves its input alone', async () => {
        const input = picture(1);
        await extractor.extract(input);
        expect(equalBits(input.data, picture(1).data)).toBe(true);
      });

      it('refuses an input of another size, or whose numbers do not fill it, as shape_mismatch', async () => {
        const { height, width, data } = picture(1);
        for (const wrong of [
          noisePicture(height, width + 1, 1),
          noisePicture(height - 1, width, 1),
          { height, width, data: data.subarray(1) },
          { height: height * 2, width: width / 2, data },
        ]) {
          await expect(extractor.extract(wrong)).rejects.toMatchObject({ code: 'shape_mismatch' });
        }
      });
    },
  );
}

/** As `toEqual`, which takes seconds for half a million numbers. */
function equalBits(a: Float32Array, b: Float32Array): boolean {
  const bytes = (array: Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(a).equals(bytes(b));
}
