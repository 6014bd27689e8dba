import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CalibrationSample, calibrateDataset } from '../../src/inspection/calibrate_dataset.ts';
import { type InspectRequest, inspectImage } from '../../src/inspection/inspect_image.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { chord, toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const even = (degrees: number) => toyPicture(degrees, degrees, degrees, degrees);
const uploadOk = (...degrees: readonly number[]) => toy.upload({ pictures: degrees.map(even) });
const uploadNg = (...degrees: readonly number[]) => toy.upload({ label: 'ng', pictures: degrees.map(even) });
/** What an even picture of that direction scores by a memory of 0 degrees. */
const close = (of: number) => expect.closeTo(chord(of), 6);
const scoresOf = (samples: readonly CalibrationSample[]) => samples.map(({ score, scoreFrom }) => [score, scoreFrom]);

/** For calls with other parts than the toy service's. */
const plainRequest = { key, defaultMmPerPx: null, requireNg: false, areaMm2Thr: null, scorePercentile: 100 };

describe('calibrateDataset', () => {
  it('chooses the threshold from the scores of the stored samples, as from posted ones', async () => {
    await toy.fit({ pictures: [even(0)] });
    const { saved: ok } = await uploadOk(2, 4, 6);
    const { saved: ng } = await uploadNg(20, 30);
    const { calibration, samples, errors } = await toy.calibrateDataset();
    const [low, high] = [chord(20), chord(30)];
    const p5 = low + 0.05 * (high - low);
    expect(calibration).toMatchObject({
      status: 'ok',
      threshold: expect.closeTo((chord(6) + p5) / 2, 6),
      n_ok: 3,
      n_ng: 2,
      score_percentile: 100,
      area_mm2_thr: 1,
      ok_scores_from: 'dataset',
      in_force: true,
    });
    expect(samples).toEqual([
      { label: 'ok', filename: ok[0], score: close(2), scoreFrom: 'inspection' },
      { label: 'ok', filename: ok[1], score: close(4), scoreFrom: 'inspection' },
      { label: 'ok', filename: ok[2], score: close(6), scoreFrom: 'inspection' },
      { label: 'ng', filename: ng[0], score: close(20), scoreFrom: 'inspection' },
      { label: 'ng', filename: ng[1], score: close(30), scoreFrom: 'inspection' },
    ]);
    expect(errors).toEqual([]);
    expect((await toy.inspect({ picture: even(6) })).decision).toBe('ok');
    expect((await toy.inspect({ picture: even(30) })).decision).toBe('ng');
  });

  it('takes the rule of the request: percentile, area, promise, review', async () => {
    await toy.fit({ pictures: [even(0)] });
    await uploadOk(2, 4, 6);
    const { calibration } = await toy.calibrateDataset({ scorePercentile: 50, areaMm2Thr: 7, reviewThreshold: 0.01 });
    expect(calibration).toMatchObject({ threshold: close(4), area_mm2_thr: 7, review_threshold: 0.01 });
    await expect(toy.calibrateDataset({ maxOverkill: 0.01 })).rejects.toMatchObject({ code: 'invalid_value' });
    const promised = await toy.calibrateDataset({ maxOverkill: 0.9, confidence: 0.5 });
    expect(promised.calibration.guarantee).toMatchObject({ alpha: 0.9, n: 3 });
  });

  it('scores each sample inside of its own ROI', async () => {
    await toy.fit({ pictures: [even(0)] });
    const corner = { shape_json: '{"kind":"rect","x":0,"y":0,"w":1,"h":1}' };
    await toy.upload({ pictures: [toyPicture(3, 50, 50, 50)], metas: [corner] });
    expect((await toy.calibrateDataset()).samples).toMatchObject([{ score: close(3) }]);
  });

  it('never takes the plain score of a picture that is in the memory, but what it scores without itself', async () => {
    await uploadOk(0, 2, 4, 9);
    await toy.fit({ pictures: null });
    const { leftOut } = await toy.fit({ pictures: null });
    await uploadOk(6);
    const { calibration, samples, warnings } = await toy.calibrateDataset();
    expect(scoresOf(samples)).toEqual([
      ...leftOut.map(({ score }) => [score, 'leave_one_out']),
      [close(2), 'inspection'],
    ]);
    expect(leftOut.map(({ score }) => score)).toEqual([close(2), close(2), close(2), close(5)]);
    expect(calibration.threshold).toBeCloseTo(chord(5), 6);
    expect(warnings).toEqual([]);
    // By the plain scores of the learned ones, nearly all 0, the very next good part would be a bad one.
    expect(Math.max(...samples.map(({ score }) => score ?? 0))).toBe(calibration.p99_ok);
  });

  it('knows a picture by its bytes, so also one that was posted to the fit under another name', async () => {
    await toy.fit({ pictures: [even(0), even(3)].map(({ bytes }) => ({ name: 'posted.png', bytes })) });
    await uploadOk(3);
    expect(scoresOf((await toy.calibrateDataset()).samples)).toEqual([[close(3), 'leave_one_out']]);
  });

  it('does not count a picture of the memory that has no leave-one-out score for its ROI, and says so', async () => {
    await toy.fit({ pictures: [even(0), even(3)] });
    const shape = { kind: 'rect', x: 0, y: 0, w: 1, h: 1 };
    const { saved } = await toy.upload({ pictures: [even(3), even(5)], metas: [{ shape }, { shape }] });
    const { calibration, samples, warnings } = await toy.calibrateDataset();
    expect(samples).toMatchObject([
      { filename: saved[0], score: null, scoreFrom: null },
      { filename: saved[1], score: close(2), scoreFrom: 'inspection' },
    ]);
    expect(calibration.n_ok).toBe(1);
    expect(warnings).toEqual([expect.stringMatching(/^1 samples are in the memory without a leave-one-out score/)]);
  });

  it('says when a bad part was learned as a good one, and calibrates by what it scores without itself', async () => {
    await uploadOk(0, 1, 2, 40);
    await toy.fit({ pictures: null });
    const { saved } = await uploadNg(40);
    const { samples, warnings } = await toy.calibrateDataset();
    expect(samples.at(-1)).toMatchObject({ label: 'ng', score: close(38), scoreFrom: 'leave_one_out' });
    expect(warnings).toEqual([expect.stringContaining(`The NG sample ${saved[0]} is in the memory`)]);
  });

  it('warns where the memory does not say which pictures it was made from', async () => {
    await toy.fit({ pictures: [even(0)] });
    const place = toy.models.ownPlace(key);
    const known = await toy.memories.at(place);
    const anonymous = {
      ...toy.parts,
      memories: { ...toy.memories, at: async () => known && { ...known, memory: { ...known.memory, pictures: [] } } },
    };
    await uploadOk(2);
    const inspect = (request: InspectRequest) => inspectImage(toy.parts, request);
    const { warnings } = await calibrateDataset({ ...anonymous, inspect }, plainRequest);
    expect(warnings).toEqual([expect.stringMatching(/does not say which pictures it was made from/)]);
  });

  it('names the OK samples that look bad, and counts them all the same', async () => {
    await toy.fit({ pictures: [even(0)] });
    const { saved } = await uploadOk(1, 2, 3, 2, 1, 60);
    const { calibration, suspects } = await toy.calibrateDataset();
    expect(suspects).toEqual([saved[5]]);
    expect(calibration).toMatchObject({ n_ok: 6, threshold: close(60) });
  });

  it('lists the samples that it could not score, and goes on with the others', async () => {
    await toy.fit({ pictures: [even(0)] });
    const outside = { shape: { kind: 'rect', x: 90, y: 0, w: 1, h: 1 } };
    const { saved } = await toy.upload({
      pictures: [even(1), even(2), even(3), even(4), even(5)],
      metas: [{}, outside, { shape: 7 }, {}, {}],
    });
    const { saved: bad } = await uploadNg(30);
    const folder = join(toy.models.ownPlace({ ...key, recipeId: 'x' }).folder, '../../default/datasets/cm9sZQ__cm9p');
    writeFileSync(join(folder, 'ok', `${(saved[3] as string).replace('.png', '.json')}`), '{');
    writeFileSync(join(folder, 'ok', saved[4] as string), 'no picture any more');
    const { calibration, samples, errors } = await toy.calibrateDataset();
    expect(calibration).toMatchObject({ n_ok: 1, n_ng: 1 });
    expect(samples.map(({ filename }) => filename)).toEqual([saved[0], bad[0]]);
    expect(errors).toEqual([
      { label: 'ok', filename: saved[1], error: expect.stringMatching(/covers no pixel/) },
      { label: 'ok', filename: saved[2], error: expect.stringMatching(/must be a JSON object/) },
      { label: 'ok', filename: saved[3], error: expect.stringMatching(/is damaged/) },
      { label: 'ok', filename: saved[4], error: expect.stringMatching(/cannot be read/) },
    ]);
  });

  it.each([
    ['a memory', async () => uploadOk(1), {}, 'memory_not_fitted', /memoria no encontrada.*memory not fitted/i],
    ['OK samples', async () => toy.fit(), {}, 'insufficient_ok_samples', /Insufficient OK samples .* 0 are stored/],
    [
      'NG samples',
      async () => {
        await toy.fit({ pictures: [even(0)] });
        await uploadOk(1);
      },
      { requireNg: true },
      'insufficient_ng_samples',
      /Insufficient NG samples .* require_ng false/,
    ],
    [
      'OK samples that can be scored',
      async () => {
        await toy.fit({ pictures: [even(0)] });
        await uploadOk(0);
        await toy.upload({ pictures: [even(1)], metas: [{ shape: 1 }] });
      },
      {},
      'insufficient_ok_samples',
      /2 are stored, of which 1 could not be scored .* and 1 are in the memory/,
    ],
  ])('is refused without %s, and nothing is changed', async (_, prepare, request, code, message) => {
    await prepare();
    const before = toy.files();
    await expect(toy.calibrateDataset(request)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(toy.files()).toEqual(before);
  });

  it('works in the scale of the recipe, else the default of the request, else 0.2', async () => {
    await toy.fit({ pictures: [even(0)], mmPerPx: 0.7 });
    // A recipe without a scale of its own borrows the default one's memory.
    const elsewhere = { ...key, recipeId: 'line2' };
    for (const of of [key, elsewhere]) await toy.upload({ key: of, pictures: [even(1)] });
    const scale = async (of: typeof key, defaultMmPerPx: number | null) =>
      (await toy.calibrateDataset({ key: of, defaultMmPerPx })).calibration.mm_per_px;
    expect(await scale(key, 0.9)).toBe(0.7);
    expect(await scale(elsewhere, 0.9)).toBe(0.9);
    expect(await scale(elsewhere, null)).toBe(0.2);
    expect(await toy.models.readRecipe('line2')).toEqual({});
  });

  it('is not a part of the line: the watch for drift does not see its pictures', async () => {
    await toy.fit({ pictures: [even(0)] });
    await uploadOk(...Array.from({ length: 12 }, (_, i) => i + 1));
    await toy.calibrateDataset();
    await toy.calibrateDataset();
    expect((await toy.describe()).drift).toMatchObject({ state: 'steady', pictures: 0 });
  });

  it('is given up when the memory is replaced meanwhile: a threshold belongs to one', async () => {
    await toy.fit({ pictures: [even(0)] });
    await uploadOk(1, 2, 3);
    toy.vision.beforeMeasure = async () => {
      toy.vision.beforeMeasure = async () => undefined;
      await toy.fit({ pictures: [even(50)] });
    };
    await expect(toy.calibrateDataset()).rejects.toMatchObject({ code: 'not_ready' });
    expect(await toy.models.readCalibration(toy.models.ownPlace(key))).toBeUndefined();
  });

  it('is given up as well when the memory is back by the end: some scores were of another', async () => {
    await toy.fit({ pictures: [even(0)] });
    const { saved } = await uploadOk(1, 2, 3);
    const inspect = async (request: InspectRequest) => {
      const inspection = await inspectImage(toy.parts, request);
      return request.picture.name === saved[1] ? { ...inspection, memoryId: 'another' } : inspection;
    };
    await expect(calibrateDataset({ ...toy.parts, inspect }, plainRequest)).rejects.toMatchObject({
      code: 'not_ready',
    });
  });

  it('writes no threshold beside a memory that came after the last sample', async () => {
    await toy.fit({ pictures: [even(0)] });
    const [before, { memoryId }] = [toy.files(), await toy.inspect()];
    await expect(toy.calibrate({ scoredWith: 'another' })).rejects.toMatchObject({ code: 'not_ready' });
    expect(toy.files()).toEqual(before);
    expect(await toy.calibrate({ scoredWith: memoryId })).toMatchObject({ ok_scores_from: 'dataset' });
  });

  it('ends between two samples when nobody waits for it, and tells how far it is', async () => {
    await toy.fit({ pictures: [even(0)] });
    await uploadOk(1, 2, 3, 4, 5, 6);
    const caller = new AbortController();
    const seen: number[][] = [];
    const calibration = toy.calibrateDataset(
      {},
      {
        signal: caller.signal,
        onProgress: (step, done, total) => {
          expect(step).toBe('samples');
          seen.push([done, total]);
          if (done === 2) caller.abort();
        },
      },
    );
    await expect(calibration).rejects.toMatchObject({ code: 'request_aborted' });
    expect(seen.slice(0, 2)).toEqual([
      [1, 6],
      [2, 6],
    ]);
    expect(seen.length).toBeLessThan(6);
    expect(await toy.models.readCalibration(toy.models.ownPlace(key))).toBeUndefined();
  });
});
