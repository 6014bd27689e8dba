import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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
  // Four patches of two numbers, held twice: 64 bytes a picture.
  const small = toyService({ fitBytes: 128 });
  const pictures = (count: number) => Array.from({ length: count }, (_, i) => toyPicture(i, 30, 60, 90));
  await small.fit({ pictures: pictures(2) });
  const before = small.files();
  const embedded = small.vision.calls.embed;
  await expect(small.fit({ pictures: pictures(3) })).rejects.toMatchObject({
    code: 'invalid_value',
    message: expect.stringMatching(/^3 pictures .* BDI_FIT_MIB allows 1: enough for 2 pictures/),
  });
  expect([small.files(), small.vision.calls.embed]).toEqual([before, embedded]);
  await small.remove();
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
