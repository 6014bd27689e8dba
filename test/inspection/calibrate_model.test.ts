import { copyFileSync, mkdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

describe('calibrateModel', () => {
  it('stores what it answers, bound to the memory', async () => {
    await toy.fit();
    const answer = await toy.calibrate({ okScores: [10, 11, 13], ngScores: [22], scorePercentile: 99 });
    expect(answer).toMatchObject({ threshold: 17.48, ok_mean: 34 / 3, ng_mean: 22, p99_ok: 12.96, p5_ng: 22 });
    const place = toy.models.ownPlace(key);
    expect(answer.memory_id).toBe((await toy.models.readMemory(place)).memoryId);
    const { in_force: inForce, ...stored } = answer;
    expect(inForce).toBe(true);
    expect(await toy.models.readCalibration(place)).toEqual({
      ...stored,
      recipe_id: 'default',
      ok_scores: [10, 11, 13],
    });
  });

  it('works before a memory exists and counts for the first one only', async () => {
    expect((await toy.calibrate({ okScores: [3], ngScores: [] })).memory_id).toBeNull();
    await toy.fit();
    expect((await toy.inspect()).threshold).toBe(3);
    await toy.fit({ pictures: [toyPicture(9, 8, 7, 6)] });
    expect((await toy.inspect()).threshold).toBeNull();
  });

  it('is not in force for a memory that is only borrowed, and stale after a fit of its own', async () => {
    await toy.fit();
    const borrower = { ...key, recipeId: 'other' };
    expect(await toy.calibrate({ key: borrower, okScores: [9], ngScores: [] })).toMatchObject({ in_force: false });
    expect((await toy.inspect({ key: borrower })).threshold).toBeNull();
    expect((await toy.fit({ key: borrower, pictures: [toyPicture(9, 8, 7, 6)] })).calibration).toBe('stale');
    expect((await toy.inspect({ key: borrower })).threshold).toBeNull();
  });

  it("never changes another model's verdicts: another model_key, or a name that two roles share", async () => {
    await toy.fit();
    await toy.calibrate({ okScores: [0.001], ngScores: [] });
    expect(await toy.inspect()).toMatchObject({ threshold: 0.001, decision: 'ng' });
    const other = { ...key, modelKey: 'other' };
    expect(await toy.calibrate({ key: other, okScores: [7], ngScores: [] })).toMatchObject({ in_force: false });
    expect(await toy.inspect()).toMatchObject({ threshold: 0.001, decision: 'ng' });

    const { npzPath, folder } = toy.models.ownPlace(key);
    copyFileSync(npzPath, join(folder, 'a_b_r.npz'));
    const one = { ...key, roleId: 'a b', roiId: 'r', modelKey: 'r' };
    await toy.calibrate({ key: one, okScores: [5], ngScores: [] });
    expect((await toy.inspect({ key: { ...one, roleId: 'a_b' } })).threshold).toBeNull();
  });

  it('is in force beside a memory of the same key in the recipes folder of default', async () => {
    await toy.fit();
    const { npzPath } = toy.models.ownPlace(key);
    const elsewhere = toy.models.ownPlace({ ...key, modelKey: 'elsewhere' });
    const folder = join(dirname(elsewhere.folder), basename(elsewhere.folder).replace('elsewhere', 'roi'));
    mkdirSync(folder, { recursive: true });
    renameSync(npzPath, join(folder, basename(npzPath)));
    expect(await toy.calibrate({ okScores: [3], ngScores: [] })).toMatchObject({ in_force: true });
    expect((await toy.inspect()).threshold).toBe(3);
  });

  it('is in force beside a memory in the folder that the predecessor named with the key as it is', async () => {
    const spaced = { ...key, recipeId: 'line2', modelKey: 'ROI 1' };
    await toy.fit({ key: spaced });
    const { folder } = toy.models.ownPlace(spaced);
    renameSync(folder, join(dirname(folder), 'ROI 1'));
    expect(await toy.calibrate({ key: spaced, okScores: [3], ngScores: [] })).toMatchObject({ in_force: true });
    expect((await toy.inspect({ key: spaced })).threshold).toBe(3);
    expect(Object.keys(toy.files()).filter((name) => name.endsWith('_calib.json'))).toEqual([
      expect.stringMatching(/^recipes\/line2\/ROI 1\//),
    ]);
    // So is what follows: numbers count on, the generation before can be brought back.
    await toy.fit({ key: spaced, pictures: [toyPicture(5, 35, 65, 95)] });
    expect(await toy.inspect({ key: spaced })).toMatchObject({
      generation: 2,
      threshold: null,
      calibrationStale: true,
    });
    expect(await toy.describe(spaced)).toMatchObject({ borrowed: false, generation: 2 });
    expect((await toy.manage.list()).map(({ file }) => file)).toEqual([expect.stringContaining('/ROI 1/')]);
    expect((await toy.manage.generations(spaced)).map((one) => one.model_generation)).toEqual([2, 1]);
    await toy.manage.rollBack(1, spaced);
    expect(await toy.inspect({ key: spaced })).toMatchObject({ generation: 1, threshold: 3 });
    // Of the recipe that borrows it, nothing comes there.
    const borrower = { ...spaced, recipeId: 'line3' };
    const lent = { ...spaced, recipeId: 'default' };
    await toy.fit({ key: lent });
    const other = toy.models.ownPlace(lent).folder;
    renameSync(other, join(dirname(other), 'ROI 1'));
    expect(await toy.calibrate({ key: borrower, okScores: [9], ngScores: [] })).toMatchObject({ in_force: false });
    expect((await toy.inspect({ key: borrower })).threshold).toBeNull();
  });

  it("takes the recipe's scale, else the contract's 0.2; sets none", async () => {
    expect((await toy.calibrate()).mm_per_px).toBe(0.2);
    await toy.fit({ mmPerPx: 0.7 });
    expect((await toy.calibrate()).mm_per_px).toBe(0.7);
  });

  it('refuses another scale than the recipe has and writes nothing', async () => {
    await toy.fit();
    const before = toy.files();
    await expect(toy.calibrate({ mmPerPx: 9 })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    expect(toy.files()).toEqual(before);
  });

  describe('with a promise', () => {
    const scores = (count: number) => Array.from({ length: count }, (_, i) => (i + 1) / count);

    it('puts the threshold just above the k-th smallest score and says what it promises', async () => {
      const answer = await toy.calibrate({ okScores: scores(59), ngScores: [2, 3], maxOverkill: 0.05 });
      expect(answer.guarantee).toEqual({
        alpha: 0.05,
        delta: 0.05,
        n: 59,
        k: 59,
        // No miss in two bad parts: 1 − 0.05^(1/2).
        escape_upper_bound: expect.closeTo(1 - Math.sqrt(0.05), 9),
      });
      expect(answer.threshold).toBeGreaterThan(1);
      expect(answer.threshold).toBeCloseTo(1, 12);
      expect((await toy.calibrate({ okScores: scores(59), ngScores: [], maxOverkill: 0.05 })).guarantee).toMatchObject({
        escape_upper_bound: null,
      });
    });

    it('says how many scores it takes when there are too few, and writes nothing', async () => {
      const before = toy.files();
      await expect(toy.calibrate({ okScores: scores(58), maxOverkill: 0.05 })).rejects.toMatchObject({
        code: 'invalid_value',
        message: expect.stringMatching(/58 OK scores .* 0\.05 with confidence 0\.95: that takes 59/),
      });
      await expect(toy.calibrate({ okScores: scores(100), maxOverkill: 0.01 })).rejects.toThrow(/that takes 299/);
      expect(toy.files()).toEqual(before);
    });

    it('keeps every digit of the threshold on its way through the file', async () => {
      await toy.fit();
      const { score } = await toy.inspect();
      const { threshold } = await toy.calibrate({ okScores: new Array(59).fill(score), maxOverkill: 0.05 });
      // The part whose score chose the threshold is good; the next number up is the first that is not.
      expect(threshold).toBeGreaterThan(score);
      expect(await toy.inspect()).toMatchObject({ threshold, decision: 'ok' });
    });
  });

  describe('without OK scores', () => {
    const many = () => Array.from({ length: 6 }, (_, i) => toyPicture(i, 30 + i, 60 + i, 90 + i));

    it("starts from the fit's leave-one-out scores", async () => {
      const { leftOut } = await toy.fit({ pictures: many() });
      const answer = await toy.calibrate({ okScores: null, ngScores: [] });
      expect(answer).toMatchObject({ n_ok: 6, ok_scores_from: 'leave_one_out' });
      expect(answer.threshold).toBeCloseTo(Math.max(...leftOut.map(({ score }) => score as number)), 12);
      expect(answer.threshold).toBeGreaterThan(0);
    });

    it('leaves out pictures that look bad to the others: one of them would lift the threshold over its like', async () => {
      const odd = toyPicture(3, 33, 63, 200);
      const { leftOut, suspects } = await toy.fit({ pictures: [...many(), odd] });
      const scoreOf = (name: string) => leftOut.find((one) => one.name === name)?.score as number;
      expect(suspects).toEqual([{ name: odd.name, score: scoreOf(odd.name) }]);
      const answer = await toy.calibrate({ okScores: null, ngScores: [] });
      const others = leftOut.filter(({ name }) => name !== odd.name).map(({ score }) => score as number);
      expect(answer).toMatchObject({ n_ok: 6, ok_scores_from: 'leave_one_out' });
      expect(answer.threshold).toBeCloseTo(Math.max(...others), 12);
      expect(answer.threshold).toBeLessThan(scoreOf(odd.name) / 2);
      const { ok_scores: kept } = (await toy.models.readCalibration(toy.models.ownPlace(key))) ?? {};
      expect(kept).toEqual([...others].sort((a, b) => a - b));
      // Posted scores are the caller's own choice: none is left out.
      expect(await toy.calibrate({ okScores: [...others, scoreOf(odd.name)], ngScores: [] })).toMatchObject({
        n_ok: 7,
        threshold: scoreOf(odd.name),
      });
    });

    it('counts those left out for no promise', async () => {
      await toy.fit({ pictures: [...many(), toyPicture(3, 33, 63, 200)] });
      // 1 − 0.6^6 = 0.953 keeps the promise with six scores; seven are not there.
      const promised = await toy.calibrate({ okScores: null, ngScores: [], maxOverkill: 0.4 });
      expect(promised.guarantee).toMatchObject({ n: 6, k: 6 });
    });

    it('says what is missing when there is no memory, or one of a single picture', async () => {
      await expect(toy.calibrate({ okScores: null })).rejects.toMatchObject({ code: 'missing_field' });
      await toy.fit();
      await expect(toy.calibrate({ okScores: null })).rejects.toThrow(/fitted from one picture/);
    });
  });

  describe('with a second threshold', () => {
    it('sends scores between the two to review; decision keeps its two values', async () => {
      await toy.fit();
      const { score } = await toy.inspect();
      await toy.calibrate({ okScores: [2 * score], ngScores: [], reviewThreshold: score });
      expect(await toy.inspect()).toMatchObject({ decision: 'ok', verdict: 'review' });
      expect(await toy.inspect({ picture: toyPicture(0, 30, 60, 91) })).toMatchObject({
        decision: 'ok',
        verdict: 'ok',
      });
      expect(await toy.inspect({ picture: toyPicture(0, 30, 60, 180) })).toMatchObject({
        decision: 'ng',
        verdict: 'ng',
      });
    });

    it('refuses one above the threshold', async () => {
      await expect(toy.calibrate({ okScores: [1], ngScores: [], reviewThreshold: 1.1 })).rejects.toThrow(
        /review_threshold is 1.1, above the threshold 1 /,
      );
    });
  });

  it('lets scores be asked how unusual they are', async () => {
    await toy.fit();
    const { score } = await toy.inspect();
    await toy.calibrate({ okScores: [score / 2, score, score * 2, score * 3], ngScores: [] });
    expect((await toy.inspect({ scorePValue: true })).scorePValue).toBe((1 + 3) / 5);
    expect((await toy.inspect()).scorePValue).toBeNull();
  });
});
