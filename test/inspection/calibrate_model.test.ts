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
    expect(await toy.models.readCalibration(place)).toEqual({ ...answer, recipe_id: 'default' });
  });

  it('works before a memory exists and counts for the first one only', async () => {
    expect((await toy.calibrate({ okScores: [3], ngScores: [] })).memory_id).toBeNull();
    await toy.fit();
    expect((await toy.inspect()).threshold).toBe(3);
    await toy.fit({ pictures: [toyPicture(9, 8, 7, 6)] });
    expect((await toy.inspect()).threshold).toBeNull();
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
});
