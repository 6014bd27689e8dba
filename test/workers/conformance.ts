import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExtractorInfo } from '../../src/extractors/extractor.ts';
import { chooseExtractor, type ExtractorSource } from '../../src/extractors/installed_extractors.ts';
import { wholePicture } from '../../src/inspection/shape_text.ts';
import type { GrayMap } from '../../src/patchcore/anomaly_map.ts';
import { imageScore, topShareScore } from '../../src/patchcore/image_score.ts';
import { normalizeRows, selectRows } from '../../src/patchcore/matrix.ts';
import { type RoiMask, roiMask, type ShapeSpec } from '../../src/patchcore/roi_mask.ts';
import { thinRows } from '../../src/patchcore/thinning.ts';
import { decodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore, type MemoryAddress, type ModelStore } from '../../src/store/model_store.ts';
import type { BankSettings } from '../../src/workers/bank_steps.ts';
import type { NetworkSettings } from '../../src/workers/network_steps.ts';
import type { PixelSettings } from '../../src/workers/pixel_steps.ts';
import type {
  DrawOrder,
  FitOrder,
  MeasuredPicture,
  PatchMatches,
  PreparedPicture,
  Vision,
} from '../../src/workers/vision.ts';
import { plainProducts } from '../matrices.ts';
import { type PartPicture, partPictures, partsFolder } from '../parts.ts';
import { someMetadata } from '../store/some_memory.ts';
import { allPatches, type PatchedPicture } from './all_patches.ts';

export interface VisionSettings {
  readonly pixels: PixelSettings;
  readonly network: NetworkSettings;
  readonly banks: BankSettings;
}

const key = { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' };

/** A copy: the steps are given their bytes. */
export const copyOf = ({ name, bytes }: PartPicture): [Uint8Array, string] => [bytes.slice(), name];

/** Settings of a vision with the embedded extractor on a models folder. */
export async function visionSettings(modelsDir: string): Promise<{ settings: VisionSettings; info: ExtractorInfo }> {
  const chosen = await chooseExtractor({ modelsDir, wanted: 'embedded' });
  const source: ExtractorSource = chosen.source;
  const { preprocessing, grid } = chosen.info;
  return {
    info: chosen.info,
    settings: {
      pixels: { preprocessing, grid, maxPixels: 64e6, modelsDir, packInPool: true },
      network: { source, threads: 1, device: 'cpu' },
      banks: { threads: 1, bankCacheBytes: 64 * 1024 * 1024, neighbors: 'onnx' },
    },
  };
}

export async function embedPart(vision: Vision, picture: PartPicture): Promise<PatchedPicture> {
  const prepared = await vision.prepare(...copyOf(picture));
  const { size, frame, brightness } = prepared;
  return { name: picture.name, size, frame, brightness, embeddings: (await vision.embed(prepared)).embeddings };
}

export function fitOrder(pictures: readonly PatchedPicture[], coresetRate: number, info: ExtractorInfo): FitOrder {
  return {
    pictures: pictures.map(({ cells: _cells, embeddings: _embeddings, ...picture }) => picture),
    patches: allPatches(pictures, info.grid),
    scoreMode: 'percentile',
    scorePercentile: 99,
    sigmaPx: 1,
    positionBytes: 8 * 1024 * 1024,
    grid: info.grid,
    coresetRate,
    about: { ...someMetadata(1), extractor: info.name, fingerprint: info.fingerprint },
  };
}

/** A drawing of the whole picture: no threshold, no heatmap, no map. Its distances are a copy: drawing takes them away. */
export function drawOrder(
  { size, frame }: PreparedPicture,
  { distances, grid }: Pick<MeasuredPicture, 'distances' | 'grid'>,
  changes: Partial<DrawOrder> = {},
): DrawOrder {
  return {
    distances: distances.slice(),
    grid,
    frame,
    size,
    shape: wholePicture,
    sigmaPx: 1,
    scoreMode: 'percentile',
    scorePercentile: 99,
    threshold: null,
    areaMm2Thr: 0,
    mmPerPx: 0.1,
    heatmap: false,
    map: false,
    ...changes,
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

    const embed = (picture: PartPicture) => embedPart(vision, picture);
    const order = (pictures: readonly PatchedPicture[], coresetRate: number) => fitOrder(pictures, coresetRate, info);
    const fitAs = async (name: string, pictures: readonly PatchedPicture[], coresetRate: number) => {
      const fitted = await vision.fit(order(pictures, coresetRate));
      const staged = await models.stageEncodedMemory({ ...key, roiId: name, modelKey: name }, fitted.encoded);
      const { place } = await staged.commit();
      return { fitted, address: (await models.address(place)) as MemoryAddress };
    };

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

    it('proves a picture: format, size, sketch; its bytes stay the caller’s', async () => {
      const proven = await vision.prove(first.bytes, first.name);
      expect(proven).toMatchObject({ format: 'jpeg', size: { height: 384, width: 384 } });
      expect(proven.sketch).toMatch(/^s8:/);
      expect(first.bytes.length).toBeGreaterThan(0);
      expect((await vision.prove(second.bytes, second.name)).sketch).not.toBe(proven.sketch);
      const torn = first.bytes.subarray(0, 500);
      await expect(vision.prove(torn, 'torn.jpg')).rejects.toMatchObject({
        code: 'unreadable_image',
        message: expect.stringContaining('torn.jpg'),
      });
      const text = new TextEncoder().encode('no picture');
      await expect(vision.prove(text, 'a.png')).rejects.toMatchObject({ code: 'unsupported_media_type' });
    });

    it('tells the cells that a ROI needs, and which picture a ROI misses', async () => {
      const { size, frame } = await vision.prepare(...copyOf(first));
      const cells = (numbers: ShapeSpec['numbers']) =>
        vision.roiCells({ name: first.name, shape: { kind: 'rect', numbers }, size, frame, sigmaPx: 1 });
      // Twelve pixels a cell: the first six are the left half of column 0, less three for the blur.
      expect([...(await cells({ x: 0, y: 0, w: 3, h: 384 }))]).toEqual(
        Array.from({ length: 32 }, (_, row) => row * 32),
      );
      expect(await cells({})).toHaveLength(1024);
      await expect(cells({ x: 500, w: 5 })).rejects.toMatchObject({
        code: 'empty_mask',
        message: expect.stringContaining(first.name),
      });
    });

    it('fits from the cells that are given, and scores inside the ROI that is given', async () => {
      const shape = { kind: 'rect', numbers: { x: 0, y: 0, w: 192, h: 384 } };
      const inRoi = async (picture: PartPicture): Promise<PatchedPicture> => {
        const whole = await embed(picture);
        const cells = await vision.roiCells({ ...whole, shape, sigmaPx: 1 });
        return { ...whole, shape, cells, embeddings: selectRows(whole.embeddings, cells), sha256: 'f'.repeat(64) };
      };
      const fitted = await vision.fit(order([await inRoi(first), await inRoi(second)], 1));
      // Sixteen columns touch the ROI; the seventeenth is mixed into its rim.
      expect(fitted.embeddings).toBe(2 * 32 * 17);
      const memory = decodeMemory({ bytes: fitted.encoded.npz, stamp: '' }, 'fitted');
      const columns = new Set(Array.from(memory.sources?.cell ?? [], (cell) => cell % 32));
      expect([...columns].sort((a, b) => a - b)).toEqual(Array.from({ length: 17 }, (_, column) => column));
      expect(memory.metadata.pictures?.[0]).toMatchObject({ sha256: 'f'.repeat(64), shape: { kind: 'rect', w: 192 } });
      const whole = await vision.fit(order([await embed(first), await embed(second)], 1));
      for (const [i, score] of fitted.leftOutScores.entries()) {
        expect(score).toBeGreaterThan(0);
        expect(score).not.toBe(whole.leftOutScores[i]);
      }
    });

    it('gives as many leave-one-out scores as are asked for', async () => {
      const three = [await embed(first), await embed(second), await embed(first)];
      const fitted = await vision.fit({ ...order(three, 0.02), mostLeftOut: 2 });
      expect(fitted.leftOutScores.map((score) => score !== null)).toEqual([true, true, false]);
    });

    it('thins: as in the calling thread, to rows that were given away; not for a caller who has gone', async () => {
      const { embeddings } = await embed(first);
      const expected = await thinRows(normalizeRows(embeddings), 50, plainProducts);
      expect(expected.kept).toHaveLength(50);
      expect(await vision.thin({ ...embeddings, data: embeddings.data.slice() }, 50)).toEqual(expected);
      await expect(vision.thin(embeddings, 50, AbortSignal.abort())).rejects.toMatchObject({ code: 'request_aborted' });
      await expect(vision.thin(embeddings, 0)).rejects.toMatchObject({ code: 'shape_mismatch' });
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
      const all = await fitAs('all', [await embed(bad)], 1);
      const prepared = await vision.prepare(...copyOf(bad));
      const { distances } = await vision.measure(prepared, all.address);
      expect(Math.max(...distances)).toBeLessThan(1e-3);
    });

    it('says where each patch found its nearest when asked to, and not otherwise', async () => {
      const known = await fitAs('known', [await embed(first), await embed(bad)], 1);
      const prepared = await vision.prepare(...copyOf(bad));
      expect((await vision.measure(prepared, known.address)).matches).toBeNull();
      const { matches, distances } = await vision.measure(prepared, known.address, { matches: true });
      const cells = Int32Array.from({ length: distances.length }, (_, cell) => cell);
      expect(matches?.picture).toEqual(new Int32Array(cells.length).fill(1));
      expect(matches?.cell).toEqual(cells);
      expect(matches?.distance).toEqual(distances);
    });

    it('tells of the pictures of a memory: size, place on the grid, brightness, what each scores left out', async () => {
      const { pictures } = await vision.describe(address);
      const { brightness } = await vision.prepare(...copyOf(first));
      const frame = { top: 0, left: 0, height: info.grid.rows, width: info.grid.cols };
      expect(pictures).toMatchObject([
        { name: first.name, size: { height: 384, width: 384 }, frame, brightness },
        { name: second.name },
      ]);
      for (const { leftOutScore } of pictures) expect(leftOutScore).toBeGreaterThan(0);
    });

    describe('with positions', () => {
      const good = partPictures('train/good');
      let aligned: MemoryAddress;
      let trusted: MemoryAddress;
      let weights: readonly number[];

      beforeAll(async () => {
        const embedded: PatchedPicture[] = [];
        for (const picture of good) embedded.push(await embed(picture));
        // Each picture twice: patches find their match in the very same place, so that positions are trusted fully.
        const both = await fitAs('trusted', [...embedded, ...embedded], 0.02);
        const once = await fitAs('aligned', embedded, 0.02);
        aligned = once.address;
        trusted = both.address;
        weights = [once.fitted.positionWeight, both.fitted.positionWeight];
      });

      it('trusts them as far as the pictures allow, and remembers how far', async () => {
        const [few, many] = weights as [number, number];
        // (14 − 4) / 28 at most for 14 pictures, (28 − 4) / 28 for 28 that are alike in pairs.
        expect(few).toBeGreaterThan(0.05);
        expect(few).toBeLessThanOrEqual(10 / 28);
        expect(many).toBeCloseTo(24 / 28, 12);
        expect((await vision.describe(aligned)).positionWeight).toBe(few);
        expect((await vision.describe(trusted)).positionWeight).toBe(many);
      });

      it('measures with the mix of both distances, the same every time', async () => {
        const prepared = await vision.prepare(...copyOf(bad));
        const { distances, matches } = await vision.measure(prepared, aligned, { matches: true });
        expect((await vision.measure(prepared, aligned)).distances).toEqual(distances);
        // With so little weight the matches are the bank's; what is left of the mix is the distance by place.
        const [weight] = weights as [number, number];
        const bank = (matches as PatchMatches).distance;
        const byPlace = distances.map((mixed, cell) => (mixed - (1 - weight) * (bank[cell] as number)) / weight);
        expect(Math.min(...byPlace)).toBeGreaterThan(-1e-5);
        expect(byPlace.some((distance, cell) => Math.abs(distance - (bank[cell] as number)) > 0.01)).toBe(true);
      });

      it('explains by the place where that counts for more: the picture itself, no more than two cells away', async () => {
        const index = 5;
        const prepared = await vision.prepare(...copyOf(good[index] as PartPicture));
        const { matches } = await vision.measure(prepared, trusted, { matches: true });
        const { picture, cell, distance } = matches as PatchMatches;
        const { cols } = info.grid;
        for (const [at, found] of cell.entries()) {
          const [down, right] = [Math.floor(found / cols) - Math.floor(at / cols), (found % cols) - (at % cols)];
          expect(Math.max(Math.abs(down), Math.abs(right))).toBeLessThanOrEqual(2);
          const isKept = Math.floor(at / cols) % 2 === 0 && (at % cols) % 2 === 0;
          if (!isKept) continue;
          expect([picture[at], found]).toEqual([expect.toSatisfy((of) => of % good.length === index), at]);
          expect(distance[at]).toBeLessThan(1e-3);
        }
      });
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
      const draw = (changes: Partial<DrawOrder>) => vision.draw(drawOrder(prepared, measured, changes));
      const plain = await draw({});
      expect(plain).toMatchObject({ regions: [], heatmapPng: null });
      const full = await draw({ threshold: plain.score, heatmap: true });
      expect(full.score).toBe(plain.score);
      expect(full.regions.length).toBeGreaterThan(0);
      expect([...(full.heatmapPng as Uint8Array).subarray(1, 4)]).toEqual([...Buffer.from('PNG')]);
    });

    it.each([
      ['percentile', (map: GrayMap, mask: RoiMask) => imageScore(map, mask, 99)],
      ['top_share', topShareScore],
    ] as const)('hands over the map when asked to, and its %s is the score', async (scoreMode, scoreOf) => {
      const prepared = await vision.prepare(...copyOf(bad));
      const measured = await vision.measure(prepared, address);
      const drawing = (map: boolean) => vision.draw(drawOrder(prepared, measured, { scoreMode, map }));
      const { map, score } = await drawing(true);
      expect(map).toMatchObject(prepared.size);
      expect(scoreOf(map as GrayMap, roiMask({ kind: 'rect', x: 0, y: 0, w: 384, h: 384 }, prepared.size))).toBe(score);
      expect(await drawing(false)).toMatchObject({ map: null, score });
    });

    it('makes thumbnails and reads masks', async () => {
      const jpeg = await vision.thumbnail(...copyOf(bad), 96);
      expect(await sharp(jpeg).metadata()).toMatchObject({ format: 'jpeg', width: 96, height: 96 });
      const path = join(partsFolder, 'ground_truth/scratch/01_mask.png');
      const truth = await vision.mask(new Uint8Array(readFileSync(path)), '01_mask.png');
      const data = await sharp(path).extractChannel(0).raw().toBuffer();
      expect([truth.height, truth.width]).toEqual([384, 384]);
      expect(truth.data.reduce((sum, value) => sum + value)).toBe(data.filter((value) => value > 127).length);
    });

    it('begins no step for a caller who is gone, and takes nothing away from it', async () => {
      const gone = AbortSignal.abort();
      const refusal = { name: 'InspectionError', code: 'request_aborted' };
      const [bytes, name] = copyOf(bad);
      await expect(vision.prepare(bytes, name, gone)).rejects.toMatchObject(refusal);
      expect(bytes.byteLength).toBe(bad.bytes.byteLength);
      const prepared = await vision.prepare(bytes, name);
      // A step that had begun would tell that there is no such memory.
      const absent = { path: join(modelsDir, 'absent.npz'), stamp: '' };
      await expect(vision.measure(prepared, absent, { signal: gone })).rejects.toMatchObject(refusal);
      const there = new AbortController().signal;
      const order = drawOrder(prepared, await vision.measure(prepared, address, { signal: there }));
      await expect(vision.draw(order, gone)).rejects.toMatchObject(refusal);
      expect(order.distances.length).toBe(info.grid.rows * info.grid.cols);
      expect((await vision.draw(order, there)).score).toBeGreaterThan(0);
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
