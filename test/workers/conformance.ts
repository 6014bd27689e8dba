import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExtractorInfo } from '../../src/extractors/extractor.ts';
import { chooseExtractor, type ExtractorSource } from '../../src/extractors/installed_extractors.ts';
import { wholePicture } from '../../src/inspection/shape_text.ts';
import { decodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore, type MemoryAddress, type ModelStore } from '../../src/store/model_store.ts';
import type { NetworkSettings } from '../../src/workers/network_steps.ts';
import type { PixelSettings } from '../../src/workers/pixel_steps.ts';
import type { DrawOrder, FitOrder, FitPicture, Vision } from '../../src/workers/vision.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { someMetadata } from '../store/some_memory.ts';

export interface VisionSettings {
  readonly pixels: PixelSettings;
  readonly network: NetworkSettings;
}

const key = { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' };

/** A copy: the steps are given their bytes. */
const copyOf = ({ name, bytes }: PartPicture): [Uint8Array, string] => [bytes.slice(), name];

/** Settings of a vision with the embedded extractor on a models folder. */
export async function visionSettings(modelsDir: string): Promise<{ settings: VisionSettings; info: ExtractorInfo }> {
  const chosen = await chooseExtractor({ modelsDir, wanted: 'embedded' });
  const source: ExtractorSource = chosen.source;
  const { preprocessing, grid } = chosen.info;
  return {
    info: chosen.info,
    settings: {
      pixels: { preprocessing, grid, maxPixels: 64e6, modelsDir },
      network: { source, threads: 1, bankCacheBytes: 64 * 1024 * 1024 },
    },
  };
}

/** What a vision must do, in threads or inline: the same numbers, the same errors, arrays given away as told. */
export function visionConformance(name: string, open: (settings: VisionSettings) => Vision): void {
  describe(`${name} as a vision`, () => {
    const modelsDir = mkdtempSync(join(tmpdir(), 'okng-vision-'));
    const [first, second] = partPictures('train/good') as [PartPicture, PartPicture];
    const [bad] = partPictures('test/scratch') as [PartPicture];
    let vision: Vision;
    let models: ModelStore;
    let info: ExtractorInfo;
    let address: MemoryAddress;

    const embed = async (picture: PartPicture): Promise<FitPicture> => {
      const prepared = await vision.prepare(...copyOf(picture));
      const { size, frame, brightness } = prepared;
      return { name: picture.name, size, frame, brightness, embeddings: (await vision.embed(prepared)).embeddings };
    };
    const order = (pictures: readonly FitPicture[], coresetRate: number): FitOrder => ({
      pictures,
      shape: wholePicture,
      scoreMode: 'percentile',
      scorePercentile: 99,
      sigmaPx: 1,
      positionBytes: 1024 * 1024,
      grid: info.grid,
      coresetRate,
      about: { ...someMetadata(1), extractor: info.name, fingerprint: info.fingerprint },
    });

    beforeAll(async () => {
      const made = await visionSettings(modelsDir);
      info = made.info;
      vision = open(made.settings);
      models = createModelStore(modelsDir);
      const fitted = await vision.fit(order([await embed(first), await embed(second)], 0.02));
      const { place } = await (await models.stageEncodedMemory(key, fitted.encoded)).commit();
      address = (await models.address(place)) as MemoryAddress;
    });

    afterAll(async () => {
      await vision.close();
      rmSync(modelsDir, { recursive: true, force: true });
    });

    it('prepares a picture: its size, the input, where it lies on the grid', async () => {
      const { size, input, frame } = await vision.prepare(...copyOf(first));
      expect(size).toEqual({ height: 384, width: 384 });
      expect([input.height, input.width, input.data.length]).toEqual([256, 256, 3 * 256 * 256]);
      expect(frame).toEqual({ top: 0, left: 0, height: info.grid.rows, width: info.grid.cols });
    });

    it('fits: the coreset size of the rate, and files that can be read', async () => {
      const embeddings = await embed(first);
      const { rows } = embeddings.embeddings;
      const fitted = await vision.fit(order([embeddings], 0.01));
      expect(fitted).toMatchObject({
        embeddings: rows,
        coresetSize: Math.ceil(rows * 0.01),
        coresetRateApplied: Math.ceil(rows * 0.01) / rows,
      });
      const memory = decodeMemory({ bytes: fitted.encoded.npz, stamp: '' }, 'fitted');
      expect(memory.memoryId).toBe(fitted.encoded.memoryId);
      expect(memory.bank.rows).toBe(fitted.coresetSize);
    });

    it('describes the memory that was fitted', async () => {
      const memory = await models.readMemory(models.ownPlace(key));
      expect(await vision.describe(address)).toMatchObject({
        memoryId: memory.memoryId,
        fingerprint: info.fingerprint,
        rows: memory.bank.rows,
        cols: memory.bank.cols,
        generation: 1,
      });
    });

    it('measures the same picture twice with the same result: it is not given away', async () => {
      const prepared = await vision.prepare(...copyOf(bad));
      const one = await vision.measure(prepared, address);
      const two = await vision.measure(prepared, address);
      expect(two.distances).toEqual(one.distances);
      expect(one.distances.length).toBe(info.grid.rows * info.grid.cols);
      expect(Math.max(...one.distances)).toBeGreaterThan(0);
    });

    it('measures 0 for every patch of a picture whose every patch is in the memory', async () => {
      const fitted = await vision.fit(order([await embed(bad)], 1));
      const staged = await models.stageEncodedMemory({ ...key, roiId: 'all', modelKey: 'all' }, fitted.encoded);
      const { place } = await staged.commit();
      const prepared = await vision.prepare(...copyOf(bad));
      const { distances } = await vision.measure(prepared, (await models.address(place)) as MemoryAddress);
      expect(Math.max(...distances)).toBeLessThan(1e-3);
    });

    it('loads a memory again when its file was replaced', async () => {
      const other = { ...key, roiId: 'replaced', modelKey: 'replaced' };
      const publish = async (picture: PartPicture) => {
        const fitted = await vision.fit(order([await embed(picture)], 0.02));
        const { place } = await (await models.stageEncodedMemory(other, fitted.encoded)).commit();
        return (await models.address(place)) as MemoryAddress;
      };
      const one = await vision.describe(await publish(first));
      const two = await vision.describe(await publish(bad));
      expect(two.memoryId).not.toBe(one.memoryId);
    });

    it('draws: the score, regions above the threshold, a heatmap when asked for', async () => {
      const prepared = await vision.prepare(...copyOf(bad));
      const measured = await vision.measure(prepared, address);
      const draw = (change: Partial<DrawOrder>) =>
        vision.draw({
          distances: measured.distances.slice(),
          grid: measured.grid,
          frame: prepared.frame,
          size: prepared.size,
          shape: wholePicture,
          sigmaPx: 1,
          scoreMode: 'percentile',
          scorePercentile: 99,
          threshold: null,
          areaMm2Thr: 0,
          mmPerPx: 0.1,
          heatmap: false,
          map: false,
          ...change,
        });
      const plain = await draw({});
      expect(plain).toMatchObject({ regions: [], heatmapPng: null });
      const full = await draw({ threshold: plain.score, heatmap: true });
      expect(full.score).toBe(plain.score);
      expect(full.regions.length).toBeGreaterThan(0);
      expect([...(full.heatmapPng as Uint8Array).subarray(1, 4)]).toEqual([...Buffer.from('PNG')]);
    });

    it('keeps the code of an error, wherever it was thrown', async () => {
      await expect(vision.prepare(Uint8Array.of(1, 2, 3), 'x.png')).rejects.toMatchObject({
        name: 'InspectionError',
        code: 'unsupported_media_type',
      });
      await expect(vision.describe({ path: join(modelsDir, 'absent.npz'), stamp: '' })).rejects.toMatchObject({
        code: 'memory_not_fitted',
      });
      await expect(vision.fit(order([], 0.02))).rejects.toMatchObject({ code: 'shape_mismatch' });
    });

    it('abandons a fit when the signal says so, also one that has not begun', async () => {
      const pictures = [await embed(first), await embed(second)];
      await expect(vision.fit(order(pictures, 0.5), { signal: AbortSignal.abort() })).rejects.toMatchObject({
        code: 'request_aborted',
      });
    });

    it('tells how far a fit is', async () => {
      const seen: (readonly [number, number])[] = [];
      const pictures = [await embed(first), await embed(second)];
      const { coresetSize } = await vision.fit(order(pictures, 0.9), {
        onProgress: (done, total) => seen.push([done, total]),
      });
      expect(seen.at(-1)).toEqual([coresetSize, coresetSize]);
      for (const [done, total] of seen) {
        expect(total).toBe(coresetSize);
        expect(done).toBeLessThanOrEqual(total);
      }
    });
  });
}
