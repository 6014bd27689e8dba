import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/extractors/fingerprint.ts';
import { createModelStore, type MemoryAddress } from '../../src/store/model_store.ts';
import { inlineVision } from '../../src/workers/inline_vision.ts';
import { threadedVision } from '../../src/workers/threaded_vision.ts';
import type { PreparedPicture } from '../../src/workers/vision.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import type { PatchedPicture } from './all_patches.ts';
import {
  copyOf,
  drawOrder,
  embedPart,
  fitOrder,
  type VisionSettings,
  visionConformance,
  visionSettings,
} from './conformance.ts';

const threaded = (settings: VisionSettings) =>
  threadedVision({ ...settings, networkWorkers: 2, threadsAlone: 2, bankWorkers: 2, pixelWorkers: 2 });

visionConformance('inline', inlineVision);
visionConformance('threaded', threaded);

describe('threads', () => {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-threads-'));
  const picture = partPictures('train/good')[0] as PartPicture;
  let settings: VisionSettings;

  beforeAll(async () => {
    settings = (await visionSettings(modelsDir)).settings;
  });
  afterAll(() => rmSync(modelsDir, { recursive: true, force: true }));

  it('give the same embeddings as the calling thread, to the last bit', async () => {
    const visions = [inlineVision(settings), threaded(settings)];
    const found = [];
    for (const vision of visions) {
      const prepared = await vision.prepare(picture.bytes.slice(), picture.name);
      found.push((await vision.embed(prepared)).embeddings.data);
      await vision.close();
    }
    expect(found[1]).toEqual(found[0]);
  });

  it('fit, measure, explain and draw as the calling thread does, to the last bit, positions and all', async () => {
    const good = partPictures('train/good');
    const [bad] = partPictures('test/dent') as [PartPicture];
    const { info } = await visionSettings(modelsDir);
    const models = createModelStore(modelsDir);
    const key = { recipeId: 'default', modelKey: 'm', roleId: 'r', roiId: 'o' };
    const found = [];
    for (const vision of [inlineVision(settings), threaded(settings)]) {
      const pictures: PatchedPicture[] = [];
      for (const one of good) pictures.push(await embedPart(vision, one));
      const { encoded, ...fitted } = await vision.fit(fitOrder(pictures, 0.02, info));
      const { place } = await (await models.stageEncodedMemory(key, encoded)).commit();
      const address = (await models.address(place)) as MemoryAddress;
      const prepared = await vision.prepare(...copyOf(bad));
      const measured = await vision.measure(prepared, address, { matches: true });
      const order = drawOrder(prepared, measured, { threshold: 0.1, heatmap: true, map: true });
      const { mapMs: _m, regionsMs: _r, encodeMs: _e, ...drawing } = await vision.draw(order);
      const { distances, matches } = measured;
      found.push({ npz: sha256Hex(encoded.npz), ...fitted, distances, matches, ...drawing });
      await vision.close();
    }
    expect(found[0]?.positionWeight).toBeGreaterThan(0.05);
    expect(found[0]?.regions.length).toBeGreaterThan(0);
    expect(found[1]).toEqual(found[0]);
  });

  it('load a bank once, however many networks ask for it', async () => {
    const vision = threaded(settings);
    const { info } = await visionSettings(modelsDir);
    const models = createModelStore(modelsDir);
    const { encoded } = await vision.fit(fitOrder([await embedPart(vision, picture)], 0.1, info));
    const key = { recipeId: 'default', modelKey: 'm', roleId: 'r', roiId: 'once' };
    const { place } = await (await models.stageEncodedMemory(key, encoded)).commit();
    const address = (await models.address(place)) as MemoryAddress;
    const { memoryId } = await vision.describe(address);
    rmSync(address.path);
    const asked = Array.from({ length: 6 }, async () => {
      const prepared = await vision.prepare(...copyOf(picture));
      return (await vision.measure(prepared, address)).memoryId;
    });
    expect(await Promise.all(asked)).toEqual(new Array(6).fill(memoryId));
    await vision.close();
  });

  it('drop what nobody waits for any more before it costs one of them, and let go of its caller at once', async () => {
    const vision = threadedVision({
      ...settings,
      networkWorkers: 1,
      threadsAlone: null,
      bankWorkers: 1,
      pixelWorkers: 1,
    });
    const prepared = await vision.prepare(picture.bytes.slice(), picture.name);
    const caller = new AbortController();
    // The first begins at once and finds no such memory; those that wait behind it would find the same.
    const absent = { path: join(modelsDir, 'absent.npz'), stamp: '' };
    const outcomes: string[] = [];
    const ask = async (signal?: AbortSignal) =>
      await vision.measure(prepared, absent, { signal }).catch((error: { code: string }) => outcomes.push(error.code));
    const asked = [ask(), ...Array.from({ length: 20 }, () => ask(caller.signal)), ask()];
    caller.abort();
    await Promise.all(asked);
    expect(outcomes).toEqual([...new Array(20).fill('request_aborted'), ...new Array(2).fill('memory_not_fitted')]);
    await vision.close();
  });

  it('take the bytes, no copy stays behind, and share the network input', async () => {
    const vision = threaded(settings);
    const bytes = picture.bytes.slice();
    const prepared = await vision.prepare(bytes, picture.name);
    expect(bytes.byteLength).toBe(0);
    expect(prepared.input.data.buffer).toBeInstanceOf(SharedArrayBuffer);
    const input = Float32Array.from(prepared.input.data);
    await vision.embed(prepared);
    expect(Float32Array.from(prepared.input.data), 'the network leaves it as it is').toEqual(input);
    await vision.close();
  });

  it('prepare the next picture where a released one lay, also when one between was refused, and no other', async () => {
    const vision = threaded(settings);
    const prepare = async (part: PartPicture) => await vision.prepare(...copyOf(part));
    const areSame = (a: PreparedPicture, b: PreparedPicture) =>
      Buffer.from(a.input.data.buffer).equals(Buffer.from(b.input.data.buffer));
    const [one, other] = [picture, partPictures('test/dent')[0] as PartPicture];
    const released = await prepare(one);
    const kept = await prepare(one);
    vision.release(released);
    await expect(vision.prepare(Uint8Array.of(1), 'none.png')).rejects.toThrow('none.png');
    const next = await prepare(other);
    expect(areSame(released, next), 'the same memory').toBe(true);
    expect(areSame(kept, next)).toBe(false);
    await prepare(other);
    expect(areSame(kept, await prepare(one)), 'written to by no other').toBe(true);
    await vision.close();
  });

  it('never give the memory of one released picture to two others', async () => {
    const vision = threaded(settings);
    const first = await vision.prepare(...copyOf(picture));
    vision.release(first);
    const second = await vision.prepare(...copyOf(picture));
    vision.release(first);
    vision.release({ ...second });
    const third = await vision.prepare(...copyOf(picture));
    third.input.data.fill(7);
    expect([first, second].map(({ input }) => input.data[0] === 7)).toEqual([false, false]);
    second.input.data.fill(8);
    expect(first.input.data[0], 'which lies where the second does').toBe(8);
    await vision.close();
  });

  it('keep the memory of so many released pictures only as may be under way at once', async () => {
    const vision = threaded(settings);
    const prepared = await Promise.all(Array.from({ length: 8 }, () => vision.prepare(...copyOf(picture))));
    for (const each of prepared) {
      each.input.data.fill(7);
      vision.release(each);
    }
    for (let i = 0; i < 8; i++) await vision.prepare(...copyOf(picture));
    expect(prepared.filter(({ input }) => input.data[0] !== 7)).toHaveLength(2 + 2 + 1);
    await vision.close();
  });

  it('serve many pictures at once as one after the other', async () => {
    const vision = threaded(settings);
    const pictures = partPictures('test/good');
    const embed = async ({ bytes, name }: PartPicture) =>
      (await vision.embed(await vision.prepare(bytes.slice(), name))).embeddings.data;
    const together = await Promise.all(pictures.map(embed));
    for (const [index, one] of pictures.entries()) expect(together[index]).toEqual(await embed(one));
    await vision.close();
  });

  it('take no work after they were closed, and abandon what runs', async () => {
    const vision = threaded(settings);
    const { info } = await visionSettings(modelsDir);
    const embedded = await embedPart(vision, picture);
    const fit = vision.fit({ ...fitOrder(new Array(12).fill(embedded), 0.5, info), positionBytes: 0 });
    const outcome = expect(fit).rejects.toMatchObject({ code: 'shutting_down' });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await vision.close();
    await outcome;
    await expect(vision.prepare(picture.bytes.slice(), picture.name)).rejects.toMatchObject({ code: 'shutting_down' });
  });
});
