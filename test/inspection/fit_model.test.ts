import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FitReport } from '../../src/inspection/fit_model.ts';
import { withoutGenerations } from '../store/predecessor_files.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { chord, toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const unreadable = { name: 'torn.png', bytes: new Uint8Array(3) };

describe('fitModel', () => {
  it('keeps every patch, counts them, and sets the scale of the recipe', async () => {
    const report = await toy.fit({ pictures: [toyPicture(0, 30, 60, 90), toyPicture(1, 31, 61, 91)], mmPerPx: 0.5 });
    expect(report).toMatchObject({
      pictures: 2,
      embeddings: 8,
      coresetSize: 8,
      coresetRateApplied: 1,
      mmPerPx: 0.5,
      calibration: 'none',
    });
    expect(await toy.models.readRecipe('default')).toEqual({ mm_per_px: 0.5 });
  });

  it('counts the fits of a place', async () => {
    const generation = async () => (await toy.models.readMemory(toy.models.ownPlace(key))).metadata.generation;
    await toy.fit();
    expect(await generation()).toBe(1);
    await toy.fit();
    expect(await generation()).toBe(2);
  });

  it('replaces a memory that cannot be read any more', async () => {
    await toy.fit();
    writeFileSync(toy.models.ownPlace(key).npzPath, 'not a zip');
    await toy.fit();
    expect((await toy.inspect()).decision).toBeNull();
  });

  it('is done although the calibration beside it cannot be read, and says so', async () => {
    await toy.fit();
    writeFileSync(toy.models.ownPlace(key).calibrationPath, '{');
    expect((await toy.fit()).calibration).toBe('damaged');
    await toy.calibrate();
    expect((await toy.inspect()).decision).toBe('ok');
  });

  it('keeps a calibration when the same pictures give the same memory', async () => {
    await toy.fit();
    await toy.calibrate();
    expect((await toy.fit()).calibration).toBe('kept');
  });

  it.each([
    ['no pictures', { pictures: [] }, 'no_images'],
    ['a picture that cannot be read', { pictures: [toyPicture(1, 2, 3, 4), unreadable] }, 'unreadable_image'],
    ['another scale', { mmPerPx: 3 }, 'mm_per_px_conflict'],
  ])('refuses %s and changes nothing', async (_, request, code) => {
    await toy.fit();
    const before = toy.files();
    await expect(toy.fit(request)).rejects.toMatchObject({ code });
    expect(toy.files()).toEqual(before);
    await toy.fit();
  });

  it('sets no scale when it fails', async () => {
    await expect(toy.fit({ pictures: [unreadable] })).rejects.toMatchObject({ code: 'unreadable_image' });
    expect(toy.files()).toEqual({});
  });

  it('lets one fit of a model run, others beside it', async () => {
    const running = toy.fit();
    await expect(toy.fit()).rejects.toMatchObject({ code: 'fit_in_progress' });
    await toy.fit({ key: { ...key, roiId: 'another', modelKey: 'another' } });
    await running;
  });

  it('lets only one of two first fits with different scales win', async () => {
    const other = { ...key, roiId: 'another', modelKey: 'another' };
    const outcomes = await Promise.allSettled([toy.fit({ mmPerPx: 1 }), toy.fit({ key: other, mmPerPx: 2 })]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const lost = outcomes.find((outcome) => outcome.status === 'rejected');
    expect(lost?.reason).toMatchObject({ code: 'mm_per_px_conflict' });
    expect(Object.keys(withoutGenerations(toy.files())).filter((name) => name.endsWith('.npz'))).toHaveLength(1);
  });

  it('is abandoned between two pictures at shutdown and leaves the old model', async () => {
    await toy.fit();
    const before = toy.files();
    toy.vision.beforeEmbed = async () => toy.stop.abort();
    const fit = toy.fit({ pictures: [toyPicture(1, 2, 3, 4), toyPicture(5, 6, 7, 8)] });
    await expect(fit).rejects.toMatchObject({ code: 'shutting_down' });
    expect(toy.files()).toEqual(before);
  });

  it.each([
    ['between two pictures', true],
    ['in the coreset', false],
  ])('is given up %s when nobody waits for it any more', async (_, keepAll) => {
    await toy.fit();
    const before = toy.files();
    const caller = new AbortController();
    toy.vision.beforeEmbed = async () => caller.abort();
    const pictures = keepAll ? [toyPicture(1, 2, 3, 4), toyPicture(5, 6, 7, 8)] : [toyPicture(1, 2, 3, 4)];
    const fit = toy.fit({ keepAll, pictures }, { signal: caller.signal });
    await expect(fit).rejects.toMatchObject({ code: 'request_aborted' });
    expect(toy.files()).toEqual(before);
    toy.vision.beforeEmbed = async () => undefined;
    await toy.fit();
  });

  it('is abandoned in the coreset at shutdown and leaves the old model', async () => {
    await toy.fit();
    const before = toy.files();
    toy.vision.beforeEmbed = async () => toy.stop.abort();
    await expect(toy.fit({ keepAll: false })).rejects.toMatchObject({ code: 'shutting_down' });
    expect(toy.files()).toEqual(before);
  });
});

it('refuses more pictures than its patches may take memory for, before it looks at one', async () => {
  // Four patches of two numbers: 32 bytes a picture.
  const small = toyService({ fitBytes: 64 });
  const fitOf = (count: number) => small.fit({ pictures: pictures(count), keepAll: false });
  const pictures = (count: number) => Array.from({ length: count }, (_, i) => toyPicture(i, 30, 60, 90));
  await fitOf(2);
  const before = small.files();
  const embedded = small.vision.calls.embed;
  await expect(fitOf(3)).rejects.toMatchObject({
    code: 'invalid_value',
    message: expect.stringMatching(/^3 pictures .* BDI_FIT_MIB allows 1: enough for 2 pictures/),
  });
  expect([small.files(), small.vision.calls.embed]).toEqual([before, embedded]);
  await small.remove();
});

it('counts a memory of every patch four times: with what is laid out for its files', async () => {
  const roomy = toyService({ fitBytes: 2 * 32 * 4 });
  const pictures = (count: number) => Array.from({ length: count }, (_, i) => toyPicture(i, 30, 60, 90));
  await roomy.fit({ pictures: pictures(2), keepAll: true });
  await expect(roomy.fit({ pictures: pictures(3), keepAll: true })).rejects.toMatchObject({
    code: 'invalid_value',
    message: expect.stringMatching(/enough for 2 pictures\. .* fit without memory_fit/),
  });
  await roomy.remove();
});

describe('a fit of more pictures than it holds patches of', () => {
  // Room for 64 patches, and so for 16 pictures.
  let small: ToyService;
  beforeEach(() => {
    small = toyService({ fitPatches: 64 });
  });
  afterEach(() => small.remove());
  const pictures = (count: number) =>
    Array.from({ length: count }, (_, i) => toyPicture(i, i + 0.3 * i, 100 + i, 150 + (i % 7)));

  it('holds all of 16, and says nothing of thinning', async () => {
    expect(await small.fit({ pictures: pictures(16) })).toMatchObject({
      embeddings: 64,
      coresetSize: 64,
      thinned: null,
    });
    expect((await small.models.readMemory(small.models.ownPlace(key))).metadata.thinned).toBeUndefined();
    expect(small.vision.calls.thin).toBeUndefined();
  });

  it('thins them, counts every patch, and says how well the others are stood for', async () => {
    const report = await small.fit({ pictures: pictures(60), keepAll: false });
    const thinned = { patchesSeen: 240, patchesKept: expect.any(Number), radius: expect.any(Number) };
    // The half of all patches is more than there are left, so that all of those stay.
    expect(report).toMatchObject({ pictures: 60, embeddings: 240, thinned });
    const { patchesKept: kept, radius } = report.thinned as NonNullable<FitReport['thinned']>;
    expect(kept).toBeLessThanOrEqual(64);
    expect(report).toMatchObject({ coresetSize: kept, coresetRateApplied: kept / 240 });
    const { metadata, bank, sources } = await small.models.readMemory(small.models.ownPlace(key));
    expect(metadata).toMatchObject({ n_embeddings: 240, coreset_size: kept });
    expect(metadata.thinned).toEqual({ patches_seen: 240, patches_kept: kept, radius });
    // Every patch lies within the radius of a row of the memory.
    const kept2 = new Set(Array.from(sources?.cell ?? [], (cell, i) => 4 * (sources?.picture[i] as number) + cell));
    expect(kept2.size).toBe(bank.rows);
    for (const picture of pictures(60)) {
      for (const degrees of picture.bytes) {
        const angle = (degrees * Math.PI) / 180;
        const [x, y] = [Math.cos(angle), Math.sin(angle)];
        const distances = Array.from({ length: bank.rows }, (_, row) =>
          Math.hypot(x - (bank.data[2 * row] as number), y - (bank.data[2 * row + 1] as number)),
        );
        expect(Math.min(...distances)).toBeLessThanOrEqual(radius + 1e-6);
      }
    }
  });

  it('holds every patch for a memory of every patch', async () => {
    expect(await small.fit({ pictures: pictures(60), keepAll: true })).toMatchObject({
      coresetSize: 240,
      coresetRateApplied: 1,
      thinned: null,
    });
  });

  it('scores the pictures that were kept whole as if they had not been learned', async () => {
    const { leftOut } = await small.fit({ pictures: pictures(60), keepAll: false });
    const scored = leftOut.flatMap(({ score }, i) => (score === null ? [] : [i]));
    expect(scored).toEqual([0, 15, 30, 45]);
  });

  it('tells of the thinning, and goes on to tell of pictures', async () => {
    const phases: string[] = [];
    await small.fit({ pictures: pictures(60), keepAll: false }, { onProgress: (phase) => phases.push(phase) });
    const changes = phases.filter((phase, i) => phase !== phases[i - 1]);
    expect(changes.slice(0, 3)).toEqual(['pictures', 'thinning', 'pictures']);
  });

  it('lets others have their turn before it copies what it thins', async () => {
    let turned = false;
    small.vision.beforeEmbed = async () => {
      turned = false;
      setImmediate(() => {
        turned = true;
      });
    };
    const { thin } = small.vision;
    const turnedBefore: boolean[] = [];
    small.vision.thin = (...group) => {
      turnedBefore.push(turned);
      return thin(...group);
    };
    await small.fit({ pictures: pictures(60), keepAll: false });
    expect(new Set(turnedBefore)).toEqual(new Set([true]));
  });

  it.each([
    ['nobody waits for it any more', 'request_aborted'],
    ['the service shuts down', 'shutting_down'],
  ])('ends while it thins when %s, and changes nothing', async (_, code) => {
    await small.fit();
    const before = small.files();
    const caller = new AbortController();
    const onProgress = (phase: string) => {
      if (phase !== 'thinning') return;
      if (code === 'shutting_down') small.stop.abort();
      else caller.abort();
    };
    const fit = small.fit({ pictures: pictures(60), keepAll: false }, { signal: caller.signal, onProgress });
    await expect(fit).rejects.toMatchObject({ code });
    expect(small.vision.calls.thin).toBe(1);
    expect(small.files()).toEqual(before);
  });

  it('is refused only when what is held is more than memory allows', async () => {
    const held = { fitPatches: 64, fitBytes: 64 * 8 };
    const enough = toyService(held);
    await enough.fit({ pictures: pictures(60), keepAll: false });
    await enough.remove();
    const little = toyService({ ...held, fitBytes: 64 * 8 - 1 });
    await expect(little.fit({ pictures: pictures(60), keepAll: false })).rejects.toMatchObject({
      code: 'invalid_value',
      message: expect.stringMatching(/^60 pictures .* enough for 15 pictures\. .* lower BDI_FIT_PATCHES \(64\)/),
    });
    await little.remove();
  });
});

describe('fitModel from the dataset', () => {
  const pictures = [toyPicture(0, 30, 60, 90), toyPicture(1, 31, 61, 91), toyPicture(2, 32, 62, 92)];
  const copies = () => pictures.map(({ name, bytes }) => ({ name, bytes: bytes.slice() }));
  const memory = () => toy.models.readMemory(toy.models.ownPlace(key));
  /** Of the picture's four patches, only the upper left one has a say there. */
  const corner = { kind: 'rect', x: 0, y: 0, w: 1, h: 1 };

  it('learns the stored OK samples as if they had been posted, and nothing of the NG ones', async () => {
    await toy.fit({ pictures: copies() });
    const posted = await memory();
    const { saved } = await toy.upload({ pictures: copies() });
    await toy.upload({ label: 'ng', pictures: [toyPicture(100, 100, 100, 100)] });
    const report = await toy.fit({ pictures: null });
    expect(report).toMatchObject({ pictures: 3, embeddings: 12 });
    expect(report.leftOut.map(({ name }) => name)).toEqual(saved);
    expect((await memory()).memoryId).toBe(posted.memoryId);
  });

  it('refuses too few of them, in the words of the contract, and changes nothing', async () => {
    await toy.upload({ pictures: copies().slice(0, 2) });
    const before = toy.files();
    await expect(toy.fit({ pictures: null })).rejects.toMatchObject({
      code: 'insufficient_ok_samples',
      message: expect.stringMatching(/^Insufficient OK samples: 2 are stored .* needs 3/),
    });
    expect(toy.files()).toEqual(before);
  });

  it('remembers which pictures it learned, by their bytes, and inside which ROI', async () => {
    await toy.upload({ pictures: copies(), metas: [{ shape: corner }, {}, {}] });
    await toy.fit({ pictures: null });
    const [first, second] = (await memory()).metadata.pictures ?? [];
    expect(first).toMatchObject({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/), shape: corner });
    expect(second).toMatchObject({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(second).not.toHaveProperty('shape');
    expect(second?.sha256).not.toBe(first?.sha256);
  });

  it('keeps the patches outside of each sample’s own ROI out of the memory', async () => {
    await toy.upload({ pictures: copies(), metas: [{ shape_json: JSON.stringify(corner) }, {}, { shape: corner }] });
    expect(await toy.fit({ pictures: null })).toMatchObject({ embeddings: 1 + 4 + 1, coresetSize: 6 });
    const { sources } = await memory();
    expect([...(sources?.cell ?? [])]).toEqual([0, 0, 1, 2, 3, 0]);
    expect([...(sources?.picture ?? [])]).toEqual([0, 1, 1, 1, 1, 2]);
  });

  it('takes the ROI of the request where a sample has none', async () => {
    await toy.upload({ pictures: copies(), metas: [{ shape: { kind: 'rect' } }, {}, {}] });
    const shape = { kind: 'rect', numbers: { x: 0, y: 0, w: 1, h: 1 } };
    expect((await toy.fit({ pictures: null, shape })).embeddings).toBe(4 + 1 + 1);
  });

  it.each([
    ['a ROI outside of the picture', { shape: { kind: 'rect', x: 99, y: 0, w: 1, h: 1 } }, 'empty_mask'],
    ['a ROI that is none', { shape: [] }, 'invalid_shape'],
  ])('fails as a whole for %s, by the name of the sample', async (_, meta, code) => {
    const { saved } = await toy.upload({ pictures: copies(), metas: [{}, meta, {}] });
    const before = toy.files();
    const fit = toy.fit({ pictures: null });
    await expect(fit).rejects.toMatchObject({ code, message: expect.stringContaining(saved[1] as string) });
    expect(toy.files()).toEqual(before);
  });
});

describe('fitModel with a ROI', () => {
  const shape = { kind: 'rect', numbers: { x: 0, y: 0, w: 1, h: 16 } };
  const three = () => [toyPicture(0, 100, 60, 100), toyPicture(3, 20, 60, 60), toyPicture(4, 70, 61, 0)];

  it('keeps the patches outside of it out of the memory, so that a defect there is one of any size', async () => {
    expect(await toy.fit({ pictures: three(), shape })).toMatchObject({ embeddings: 6, coresetSize: 6 });
    const strange = toyPicture(0, 45, 60, 45);
    expect((await toy.inspect({ picture: strange, shape })).score).toBeCloseTo(0, 6);
    // The whole picture shows what the memory has never seen: 45 is 15 degrees from its nearest, 60.
    expect((await toy.inspect({ picture: toyPicture(0, 45, 60, 45) })).score).toBeGreaterThan(chord(14));
  });

  it('scores each picture inside of it as if it had not been learned', async () => {
    const { leftOut } = await toy.fit({ pictures: three(), shape });
    const expected = [chord(3), chord(1), chord(1)];
    for (const [i, { score }] of leftOut.entries()) expect(score).toBeCloseTo(expected[i] as number, 5);
  });

  it('is the same memory as before for the whole picture, by any name', async () => {
    const idOf = async (request: object) => {
      await toy.fit({ pictures: three(), ...request });
      return (await toy.models.readMemory(toy.models.ownPlace(key))).memoryId;
    };
    const plain = await idOf({});
    expect(await idOf({ shape: { kind: '', numbers: {} } })).toBe(plain);
    expect(await idOf({ shape: { kind: 'rect', numbers: {} } })).toBe(plain);
    expect(await idOf({ shape })).not.toBe(plain);
  });

  it('that covers no pixel of a picture fails before the next is looked at, by name', async () => {
    const before = toy.files();
    const outside = { kind: 'circle', numbers: { cx: 500, cy: 0, r: 3 } };
    const fit = toy.fit({ pictures: three(), shape: outside });
    await expect(fit).rejects.toMatchObject({
      code: 'empty_mask',
      message: expect.stringContaining('0_100_60_100.toy'),
    });
    expect(toy.vision.calls.embed).toBeUndefined();
    expect(toy.files()).toEqual(before);
  });
});
