import { rmSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { predecessorNpz, writeFiles } from '../store/predecessor_files.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyExtractor, toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

/** What an inspection by the key says of the same two questions. */
async function asInspected(of = key) {
  try {
    const mmPerPx = (await toy.describe(of)).mmPerPx ?? 1;
    return { fitted: true, calibrated: (await toy.inspect({ key: of, mmPerPx })).threshold !== null };
  } catch (error) {
    expect(error).toMatchObject({ code: 'memory_not_fitted' });
    return { fitted: false, calibrated: false };
  }
}

async function described(of = key) {
  const { memory, calibration } = await toy.describe(of);
  return { fitted: memory !== null, calibrated: memory !== null && calibration !== null };
}

describe('describeModel', () => {
  it('agrees with an inspection through the life of a model', async () => {
    const states: unknown[] = [];
    const look = async () => {
      expect(await described()).toEqual(await asInspected());
      states.push((await toy.describe()).calibrationState);
    };
    await look();
    await toy.calibrate();
    await look();
    await toy.fit();
    await look();
    await toy.fit({ pictures: [toyPicture(5, 5, 5, 5)] });
    await look();
    await toy.calibrate();
    await look();
    expect(states).toEqual(['none', 'waiting', 'valid', 'stale', 'valid']);
  });

  it('tells the waiting calibration, and not one of a memory that is gone', async () => {
    const { threshold } = await toy.calibrate();
    expect((await toy.describe()).calibration).toMatchObject({ threshold });
    await toy.fit();
    await toy.calibrate();
    const place = toy.models.ownPlace(key);
    rmSync(place.npzPath);
    expect(await toy.describe()).toMatchObject({ memory: null, calibration: null, calibrationState: 'stale' });
    expect(await described()).toEqual(await asInspected());
  });

  it('agrees for a recipe that borrows the default one’s model, and says that it borrows', async () => {
    const elsewhere = { ...key, recipeId: 'line2' };
    await toy.fit();
    await toy.calibrate();
    expect(await described(elsewhere)).toEqual(await asInspected(elsewhere));
    expect(await toy.describe(elsewhere)).toMatchObject({ borrowed: true, mmPerPx: null, calibrationState: 'valid' });
    expect(await toy.describe()).toMatchObject({ borrowed: false, mmPerPx: 1 });
    await toy.fit({ key: elsewhere, mmPerPx: 2 });
    expect(await described(elsewhere)).toEqual(await asInspected(elsewhere));
    expect(await toy.describe(elsewhere)).toMatchObject({ borrowed: false, mmPerPx: 2, calibrationState: 'none' });
  });

  it('says why an inspection would be refused although there is a memory', async () => {
    await toy.fit();
    await toy.calibrate();
    const { describeModel } = await import('../../src/inspection/describe_model.ts');
    const extractor = { ...toyExtractor, fingerprint: 'e'.repeat(64), name: 'other' };
    const { memory, refusal, calibration } = await describeModel({ ...toy.parts, extractor }, key);
    expect(memory).not.toBeNull();
    expect(refusal).toMatch(/made with the extractor toy .* the service runs other/);
    expect(calibration).toBeNull();
    await expect(toy.with({ extractor }).inspect()).rejects.toMatchObject({
      code: 'extractor_mismatch',
      message: refusal,
    });
    expect((await toy.describe()).refusal).toBeNull();
  });

  it('compares a memory of unknown origin by its shape, as an inspection does', async () => {
    const { npzPath, folder } = toy.models.ownPlace(key);
    const onItsGrid = { ...toyExtractor, grid: { rows: 2, cols: 3 } };
    const { describeModel } = await import('../../src/inspection/describe_model.ts');
    for (const [cols, extractor, words] of [
      [2, onItsGrid, null],
      [2, toyExtractor, /2 × 3 grid.*on 2 × 2/],
      [1152, onItsGrid, /1152 numbers per patch.*okng model add/],
    ] as const) {
      writeFiles(folder, { [basename(npzPath)]: predecessorNpz(0, cols) });
      const { memory, refusal } = await describeModel({ ...toy.parts, extractor }, key);
      expect(memory).toMatchObject({ fingerprint: null, cols });
      if (words === null) {
        expect(refusal).toBeNull();
        continue;
      }
      expect(refusal).toMatch(words);
      await expect(toy.with({ extractor }).inspect()).rejects.toMatchObject({
        code: 'extractor_mismatch',
        message: refusal,
      });
    }
    expect(toy.vision.calls.prepare).toBeUndefined();
  });

  it('fails where an inspection fails: for a file that is damaged', async () => {
    await toy.fit();
    const { calibrationPath, npzPath } = toy.models.ownPlace(key);
    writeFileSync(calibrationPath, '{');
    await expect(toy.describe()).rejects.toMatchObject({ code: 'damaged_file' });
    await expect(toy.inspect()).rejects.toMatchObject({ code: 'damaged_file' });
    // In place: the generation's copy is the same file.
    writeFileSync(npzPath, '{');
    await expect(toy.describe()).rejects.toMatchObject({ code: 'damaged_file' });
  });
});
