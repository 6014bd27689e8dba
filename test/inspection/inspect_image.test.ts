import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, type ToyService, toyService } from './toy_service.ts';
import { chord, toyExtractor, toyPicture } from './toy_vision.ts';

/**
 * The memory holds the directions 0, 30, 60 and 90 degrees; a patch at 100 degrees is 10 degrees from its nearest. With
 * a 2 × 2 grid on 16 × 16 pixels the corner pixels of the map have the patch's own value, blurred or not.
 */
let toy: ToyService;
beforeEach(async () => {
  toy = toyService();
});
afterEach(() => toy.remove());

describe('inspectImage', () => {
  it('scores the farthest patch, under the percentile 100', async () => {
    await toy.fit();
    const same = await toy.inspect({ picture: toyPicture(0, 30, 60, 90) });
    expect(same.score).toBeCloseTo(0, 3);
    const { score, grid, params } = await toy.inspect();
    expect(score).toBeCloseTo(chord(10), 6);
    expect(grid).toEqual({ rows: 2, cols: 2 });
    expect(params).toEqual({
      extractor: 'toy',
      memory_origin: 'okng',
      input_size: 8,
      patch_size: 4,
      coreset_rate: 1,
      coreset_rate_applied: 1,
      k: 1,
      score_mode: 'percentile',
      score_percentile: 100,
      position_weight: 0,
      blur_sigma: 1,
      mm_per_px: 1,
    });
  });

  it('judges by the calibration of this memory: NG from the threshold on', async () => {
    await toy.fit();
    const { score } = await toy.inspect();
    await toy.calibrate({ okScores: [score], ngScores: [] });
    expect(await toy.inspect()).toMatchObject({ threshold: score, decision: 'ng' });
    expect(await toy.inspect({ picture: toyPicture(0, 30, 60, 95) })).toMatchObject({ decision: 'ok', regions: [] });
  });

  it('has no verdict after a refit: a threshold belongs to one memory', async () => {
    await toy.fit();
    await toy.calibrate();
    const report = await toy.fit({ pictures: [toyPicture(0, 30, 60, 91)] });
    expect(report.calibration).toBe('stale');
    expect(await toy.inspect()).toMatchObject({ threshold: null, decision: null, regions: [] });
  });

  it('has no verdict under another score rule', async () => {
    await toy.fit();
    await toy.calibrate();
    const other = toy.with({ scoreRule: { k: 1, mode: 'percentile', percentile: 50, sigmaPx: 1 } });
    expect((await other.inspect()).threshold).toBeNull();
  });

  it('takes memory and calibration of one moment when a fit comes in between', async () => {
    await toy.fit();
    await toy.calibrate({ okScores: [5], ngScores: [] });
    let times = 0;
    toy.vision.beforeMeasure = async () => {
      if (times++ === 0) await toy.fit({ pictures: [toyPicture(0, 30, 60, 100)] });
    };
    // The new memory knows 100 degrees and has no calibration; an answer of the old one would be OK by threshold 5.
    const inspection = await toy.inspect();
    expect(inspection.score).toBeCloseTo(0, 3);
    expect(inspection.decision).toBeNull();
    expect(times).toBe(2);
  });

  it('asks the memory that is there when a fit comes while the picture is prepared', async () => {
    await toy.fit();
    await toy.calibrate({ okScores: [5], ngScores: [] });
    const { prepare } = toy.vision;
    toy.vision.prepare = async (...picture) => {
      toy.vision.prepare = prepare;
      await toy.fit({ pictures: [toyPicture(0, 30, 60, 100)] });
      return await prepare(...picture);
    };
    const inspection = await toy.inspect();
    expect(inspection.score).toBeCloseTo(0, 3);
    expect(inspection).toMatchObject({ decision: null, generation: 2 });
  });

  it('gives up, with a sentence, when the model is replaced without end', async () => {
    await toy.fit();
    let turn = 0;
    toy.vision.beforeMeasure = async () => {
      await toy.fit({ pictures: [toyPicture(0, 30, 60, 100 + turn++)] });
    };
    await expect(toy.inspect()).rejects.toMatchObject({
      code: 'not_ready',
      message: expect.stringContaining('try again'),
    });
  });

  it('gives back what a picture lay in, also when it could not be measured', async () => {
    await toy.fit();
    const before = toy.vision.calls.release ?? 0;
    await toy.inspect();
    toy.vision.beforeMeasure = () => Promise.reject(new Error('lost'));
    await expect(toy.inspect()).rejects.toThrow('lost');
    expect(toy.vision.calls.release).toBe(before + 2);
    expect(toy.vision.calls.release, 'those of the fit as well').toBe(toy.vision.calls.prepare);
  });

  it('refuses a memory of another extractor and says what to do', async () => {
    await toy.fit();
    const other = toy.with({ extractor: { ...toyExtractor, name: 'new', fingerprint: 'e'.repeat(64) } });
    await expect(other.inspect()).rejects.toMatchObject({
      code: 'extractor_mismatch',
      message: expect.stringMatching(/made with the extractor toy .* runs new .*fit this role and ROI again/),
    });
  });

  it('looks for the memory and the scale before it decodes', async () => {
    await expect(toy.inspect()).rejects.toMatchObject({ code: 'memory_not_fitted' });
    await toy.fit();
    await expect(toy.inspect({ mmPerPx: 2 })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    const unknown = { ...key, roleId: 'unknown' };
    await expect(toy.inspect({ mmPerPx: 2, key: unknown })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    expect(toy.vision.calls.prepare).toBe(1);
  });

  describe('for a caller who is gone', () => {
    const gone = { code: 'request_aborted' };

    it('begins nothing', async () => {
      await toy.fit();
      const { prepare } = toy.vision.calls;
      await expect(toy.inspect({}, AbortSignal.abort())).rejects.toMatchObject(gone);
      expect(toy.vision.calls).toMatchObject({ prepare });
      expect(toy.vision.calls.measure).toBeUndefined();
    });

    it('takes no further step, and follows no drift', async () => {
      await toy.fit();
      await toy.calibrate({ okScores: Array.from({ length: 12 }, (_, i) => 1 + i), ngScores: [] });
      const caller = new AbortController();
      toy.vision.beforeMeasure = async () => caller.abort();
      await expect(toy.inspect({}, caller.signal)).rejects.toMatchObject(gone);
      expect(toy.vision.calls).toMatchObject({ measure: 1 });
      expect(toy.vision.calls.draw).toBeUndefined();
      expect((await toy.describe()).drift).toMatchObject({ state: 'steady', pictures: 0 });
      expect((await toy.inspect({}, new AbortController().signal)).decision).toBe('ok');
    });
  });

  it('does not judge by a calibration that cannot be read', async () => {
    await toy.fit();
    await toy.calibrate();
    const { calibrationPath, folder, base } = toy.models.ownPlace(key);
    writeFileSync(calibrationPath, '{"threshold":');
    // The generation's own is the one that counts, and still good.
    expect((await toy.inspect()).threshold).not.toBeNull();
    writeFileSync(join(folder, 'generations', base, '1', 'generation.json'), '{"threshold":');
    await expect(toy.inspect()).rejects.toMatchObject({ code: 'damaged_file' });
  });

  it("borrows the default recipe's memory, but not with a calibration of its own", async () => {
    await toy.fit();
    await toy.calibrate({ okScores: [7], ngScores: [] });
    const borrower = { ...key, recipeId: 'other' };
    expect(await toy.inspect({ key: borrower })).toMatchObject({ threshold: 7, decision: 'ok' });
    await toy.calibrate({ key: borrower, okScores: [0.001], ngScores: [] });
    expect(await toy.inspect({ key: borrower })).toMatchObject({ threshold: 7, decision: 'ok' });
  });
});
