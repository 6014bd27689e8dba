import { rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rollBack } from '../../src/inspection/manage_models.ts';
import { predecessorNpz, writeFiles } from '../store/predecessor_files.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { chord, toyExtractor, toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

/** A memory of one direction: the score of a picture tells which memory was asked. */
const learn = (degrees: number) => toy.fit({ pictures: [toyPicture(degrees, degrees, degrees, degrees)] });
const calibrate = (threshold: number) => toy.calibrate({ okScores: [threshold], ngScores: [] });
const inspect = () => toy.inspect({ picture: toyPicture(0, 0, 0, 0) });
const place = () => toy.models.ownPlace(key);
const damageLive = () => writeFileSync(place().npzPath, 'torn');

describe('rollBack', () => {
  it('brings memory, number and threshold back together, in both directions', async () => {
    for (const [degrees, threshold] of [
      [10, 0.1],
      [20, 0.2],
    ] as const) {
      await learn(degrees);
      await calibrate(threshold);
    }
    for (const [generation, before] of [
      [1, 2],
      [2, 1],
      [2, 2],
    ] as const) {
      expect(await toy.manage.rollBack(generation)).toMatchObject({
        model_generation: generation,
        previous_model_generation: before,
        threshold: generation / 10,
      });
      const answer = await inspect();
      expect(answer).toMatchObject({ generation, threshold: generation / 10, calibrationStale: false });
      expect(answer.score).toBeCloseTo(chord(10 * generation), 5);
      expect(await toy.describe()).toMatchObject({ generation, calibrationState: 'valid' });
    }
    await toy.memories.idle();
    expect(await toy.vision.repairIndex(place())).toBe('good');
  });

  it('leaves the next fit a number of its own', async () => {
    await learn(10);
    await learn(20);
    await toy.manage.rollBack(1);
    await learn(30);
    expect(await inspect()).toMatchObject({ generation: 3 });
    expect((await toy.manage.generations()).map((one) => one.model_generation)).toEqual([3, 2, 1]);
  });

  it('brings a model back whose memory was removed', async () => {
    await learn(10);
    await calibrate(0.5);
    rmSync(place().npzPath);
    await expect(inspect()).rejects.toMatchObject({ code: 'memory_not_fitted' });
    expect(await toy.manage.rollBack(1)).toMatchObject({ model_generation: 1, previous_model_generation: null });
    expect(await inspect()).toMatchObject({ generation: 1, threshold: 0.5 });
  });

  it('refuses what could not answer, and changes nothing', async () => {
    await learn(10);
    await learn(20);
    const before = toy.files();
    const extractor = { ...toyExtractor, fingerprint: 'e'.repeat(64) };
    await expect(rollBack({ ...toy.parts, extractor }, key, 1)).rejects.toMatchObject({ code: 'extractor_mismatch' });
    await expect(toy.manage.rollBack(7)).rejects.toMatchObject({ code: 'not_found' });
    expect(toy.files()).toEqual(before);
    writeFileSync(join(place().folder, 'generations', place().base, '1', 'memory.npz'), 'torn');
    await expect(toy.manage.rollBack(1)).rejects.toMatchObject({ code: 'damaged_file' });
    expect(await inspect()).toMatchObject({ generation: 2 });
  });

  it('never reaches into the model that a recipe borrows', async () => {
    await learn(10);
    await learn(20);
    const borrower = { ...key, recipeId: 'line2' };
    expect(await toy.manage.generations(borrower)).toEqual([]);
    await expect(toy.manage.rollBack(1, borrower)).rejects.toMatchObject({ code: 'not_found' });
    expect(await inspect()).toMatchObject({ generation: 2 });
  });
});

describe('after a refit', () => {
  it('nobody is judged by the old threshold, and every answer says that there is one', async () => {
    await learn(10);
    await calibrate(0.1);
    expect(await inspect()).toMatchObject({ generation: 1, threshold: 0.1, calibrationStale: false });
    expect((await learn(20)).calibration).toBe('stale');
    expect(await inspect()).toMatchObject({ generation: 2, threshold: null, decision: null, calibrationStale: true });
    expect(await toy.describe()).toMatchObject({ calibration: null, calibrationState: 'stale' });
  });

  it('the old threshold goes on judging where that is wished, and every answer says so', async () => {
    await toy.remove();
    toy = toyService({ keepCalibration: true });
    await learn(10);
    await calibrate(0.1);
    await learn(20);
    expect(await inspect()).toMatchObject({ generation: 2, threshold: 0.1, decision: 'ng', calibrationStale: true });
    expect(await toy.describe()).toMatchObject({ calibration: { threshold: 0.1 }, calibrationState: 'stale' });
    // Its scores are no reference for this memory's.
    expect((await toy.describe()).drift.state).toBe('not_watched');
    const scoreRule = { ...toy.parts.scoreRule, percentile: 50 };
    expect((await toy.with({ scoreRule }).inspect()).threshold).toBeNull();
    await calibrate(0.2);
    expect(await inspect()).toMatchObject({ threshold: 0.2, calibrationStale: false });
  });

  it('an inspection that began before is answered by the new memory entirely, though its bank is the same', async () => {
    await toy.remove();
    toy = toyService({ keepGenerations: 1 });
    await learn(10);
    await calibrate(0.1);
    const { measure } = toy.vision;
    let replaced = false;
    toy.vision.measure = async (...given) => {
      const measured = await measure(...given);
      if (!replaced) {
        replaced = true;
        expect((await learn(10)).calibration).toBe('kept');
        await calibrate(0.2);
        await learn(10);
        await calibrate(0.3);
      }
      return measured;
    };
    expect(await inspect()).toMatchObject({ generation: 3, threshold: 0.3 });
    expect(toy.vision.calls.measure).toBe(2);
  });

  it('a calibration names the generation it was made for', async () => {
    expect(await toy.calibrate()).toMatchObject({ model_generation: null });
    await learn(10);
    await learn(20);
    expect(await toy.calibrate()).toMatchObject({ model_generation: 2 });
    expect(await toy.models.readCalibration(place())).toMatchObject({ model_generation: 2 });
  });
});

describe('a damaged memory', () => {
  it('is set aside, the one before it answers, and it is told until the model is fitted again', async () => {
    await learn(10);
    await calibrate(0.1);
    await learn(20);
    damageLive();
    const answers = await Promise.all([inspect(), inspect(), toy.describe()]);
    expect(answers).toMatchObject([{ generation: 1, threshold: 0.1 }, { generation: 1 }, { generation: 1 }]);
    expect(toy.damageEvents).toEqual([1]);
    expect(toy.memories.problems()).toMatchObject([
      expect.stringMatching(/cm9p\.npz' was damaged.*generation 1 answers/),
    ]);
    expect(Object.keys(toy.files()).filter((name) => name.includes('damaged-2-'))).toHaveLength(2);
    await learn(30);
    expect(await inspect()).toMatchObject({ generation: 3 });
    expect(toy.memories.problems()).toEqual([]);
  });

  it('stays where it is when there is no good one, and is looked for once', async () => {
    await learn(10);
    damageLive();
    const before = toy.files();
    for (let i = 0; i < 3; i++) await expect(inspect()).rejects.toMatchObject({ code: 'damaged_file' });
    expect(toy.files()).toEqual(before);
    expect(toy.damageEvents).toEqual([null]);
    expect(toy.memories.problems()).toMatchObject([expect.stringContaining('no earlier generation of it is good')]);
    await learn(20);
    await inspect();
    expect(toy.memories.problems()).toEqual([]);
  });

  it('is not what a disk that cannot be read makes of it', async () => {
    await learn(10);
    await learn(20);
    const before = toy.files();
    const { describe: real } = toy.vision;
    const { InspectionError } = await import('../../src/errors.ts');
    toy.vision.describe = async () => {
      throw new InspectionError('storage_unavailable', 'EIO');
    };
    await expect(inspect()).rejects.toMatchObject({ code: 'storage_unavailable' });
    toy.vision.describe = real;
    expect(await inspect()).toMatchObject({ generation: 2 });
    expect(toy.files()).toEqual(before);
  });

  it('is found out when only a search reads it again', async () => {
    await learn(10);
    await learn(20);
    await inspect();
    const { InspectionError } = await import('../../src/errors.ts');
    const { measure } = toy.vision;
    toy.vision.measure = async () => {
      throw new InspectionError('damaged_file', 'torn');
    };
    await expect(inspect()).rejects.toMatchObject({ code: 'damaged_file' });
    toy.vision.measure = measure;
    damageLive();
    expect(await inspect()).toMatchObject({ generation: 1 });
  });
});

describe('listModels', () => {
  it('tells every model: fitted here, found, damaged', async () => {
    await learn(10);
    await calibrate(0.3);
    const { folder } = place();
    const other = toy.models.ownPlace({ ...key, roiId: 'other', modelKey: 'other' });
    const torn = toy.models.ownPlace({ ...key, recipeId: 'line2', modelKey: 'k' });
    writeFiles(folder, { [basename(other.npzPath)]: predecessorNpz(0) });
    writeFiles(torn.folder, { [basename(torn.npzPath)]: 'torn' });
    const models = await toy.manage.list();
    const by = (roi: string, recipe: string) => models.find((one) => one.roi_id === roi && one.recipe_id === recipe);
    expect(models).toHaveLength(3);
    expect(by('roi', 'default')).toMatchObject({
      file: 'cm9sZQ__cm9p.npz',
      model_generation: 1,
      memory_origin: 'okng',
      rows: 4,
      width: 2,
      fitted_at_utc: '2026-01-02T03:04:05.000Z',
      threshold: 0.3,
      calib_stale: false,
      problem: null,
    });
    expect(by('other', 'default')).toMatchObject({
      model_generation: 1,
      memory_origin: 'unknown',
      calib_present: false,
    });
    expect(by('roi', 'line2')).toMatchObject({ memory_id: null, problem: expect.stringContaining('damaged') });
  });
});
