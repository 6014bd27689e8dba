import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

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
    expect(Object.keys(toy.files()).filter((name) => name.endsWith('.npz'))).toHaveLength(1);
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
