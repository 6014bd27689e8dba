import sharp from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  calibrateNgResponse,
  fitOkResponse,
  inferResponse,
  modelHealthResponse,
  stateResponse,
} from '../../src/http/responses.ts';
import { defectKinds, type PartPicture, partPictures, partsMmPerPx } from '../parts.ts';
import { answer, type JsonAnswer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

/** What goes beyond the contract's rule: positions, suspects, promises, review, p-values, reasons, drift. */

let okng: TestApp;
const model = { role_id: 'flange', roi_id: 'top/π', mm_per_px: String(partsMmPerPx) };
const file = ({ name, bytes }: PartPicture) => new File([bytes as Uint8Array<ArrayBuffer>], name);
const good = partPictures('train/good').map(file);
const [scratch] = partPictures('test/scratch').map(file) as [File];

const infer = async (picture: File, fields: Record<string, string> = {}) => {
  const { status, body } = await postForm(okng, '/infer', {
    ...model,
    include_heatmap: 'false',
    ...fields,
    image: picture,
  });
  expect(status, JSON.stringify(body)).toBe(200);
  return inferResponse.parse(body);
};
const calibrate = (fields: Record<string, unknown>) =>
  postJson(okng, '/calibrate_ng', { role_id: model.role_id, roi_id: model.roi_id, ...fields });
const health = async (path = 'flange/top%2F%CF%80') => answer(await okng.app.request(`/models/${path}/health`));

let fitted: JsonAnswer;
beforeAll(async () => {
  okng = await startTestApp();
  fitted = await postForm(okng, '/fit_ok', { ...model, images: good });
});
afterAll(() => okng.close());

describe('a fit', () => {
  it('says how far it trusts positions, and what each picture would score outside the memory', () => {
    const body = fitOkResponse.parse(fitted.body);
    expect(body.position_weight).toBeGreaterThan(0.05);
    expect(body.leave_one_out_scores).toHaveLength(good.length);
    expect(body.leave_one_out_scores.every((score) => score !== null && score > 0)).toBe(true);
    expect(body.suspect_images).toEqual([]);
  });

  it('names a bad picture among the good ones', async () => {
    const [{ bytes }] = partPictures('test/missing_hole') as [PartPicture];
    const hole = file({ name: 'hole.jpg', bytes });
    const { body } = await postForm(okng, '/fit_ok', { ...model, model_key: 'mixed', images: [...good, hole] });
    // Worst first; a good one may be named as well.
    const { suspect_images: suspects } = fitOkResponse.parse(body);
    expect(suspects[0]?.name).toBe('hole.jpg');
    // And none of them chooses the threshold.
    const { body: calibration } = await calibrate({
      model_key: 'mixed',
      use_leave_one_out: true,
      score_percentile: 100,
    });
    expect(calibration).toMatchObject({ n_ok: good.length + 1 - suspects.length });
    expect(calibration.threshold).toBeLessThan(Math.min(...suspects.map(({ score }) => score)));
  });

  it('can be told the score mode, and to leave positions alone', async () => {
    const fields = { ...model, model_key: 'plain', score_mode: 'TOP_SHARE', positions: 'false' };
    const { body } = await postForm(okng, '/fit_ok', { ...fields, images: good });
    expect(body).toMatchObject({ score_mode: 'top_share', position_weight: 0 });
    const { params } = await infer(scratch, { model_key: 'plain' });
    expect(params).toMatchObject({ score_mode: 'top_share', position_weight: 0 });
    const refused = await postForm(okng, '/fit_ok', { ...model, score_mode: 'mean', images: good });
    expect(refused).toMatchObject({ status: 400, body: { error: expect.stringContaining('percentile, top_share') } });
  });
});

describe('/calibrate_ng', () => {
  it('promises an overkill, or says how many scores that takes', async () => {
    const okScores = Array.from({ length: 60 }, (_, i) => 0.1 + i / 1000);
    const { body } = await calibrate({ ok_scores: okScores, ng_scores: [0.3, 0.4], max_overkill: 0.05 });
    expect(calibrateNgResponse.parse(body).guarantee).toMatchObject({ alpha: 0.05, delta: 0.05, n: 60 });
    const few = await calibrate({ ok_scores: okScores, max_overkill: 0.01 });
    expect(few).toMatchObject({ status: 400, body: { error: expect.stringContaining('that takes 299') } });
  });

  it.each([
    [{ ok_scores: [1], max_overkill: 0 }, /max_overkill must be above 0 and below 1; it is 0/],
    [{ ok_scores: [1], max_overkill: 0.1, confidence: 1 }, /confidence must be above 0 and below 1/],
    [{ ok_scores: [1], review_threshold: 2 }, /review_threshold is 2, above the threshold 1/],
  ])('refuses %j', async (fields, sentence) => {
    const { status, body } = await calibrate(fields);
    expect(status).toBe(400);
    expect(body.error).toMatch(sentence);
  });

  it('still needs ok_scores, unless told to use the leave-one-out scores', async () => {
    expect(await calibrate({})).toMatchObject({ status: 422, body: { code: 'missing_field' } });
    expect(await calibrate({ use_leave_one_out: false })).toMatchObject({ status: 422 });
    const { body } = await calibrate({ use_leave_one_out: true });
    expect(calibrateNgResponse.parse(body)).toMatchObject({ ok_scores_from: 'leave_one_out', n_ok: good.length });
  });
});

describe('/infer', () => {
  it('sends a score between two thresholds to review', async () => {
    const { score } = await infer(scratch);
    await calibrate({ ok_scores: [score * 2], review_threshold: score / 2 });
    expect(await infer(scratch)).toMatchObject({ decision: 'ok', verdict: 'review' });
  });

  it('gives a p-value and reasons when asked to, and not otherwise', async () => {
    await calibrate({ use_leave_one_out: true });
    const asked = await infer(scratch, { explain: 'true', score_p_value: '1' });
    expect(asked.score_p_value).toBeCloseTo(1 / (good.length + 1), 9);
    const [reason] = asked.explanations ?? [];
    expect(good.map(({ name }) => name)).toContain(reason?.nearest.picture);
    const [largest] = asked.regions;
    // The farthest patch of the largest region touches it.
    expect(reason?.region).toBe(0);
    expect(reason?.patch.x).toBeLessThan((largest?.x ?? 0) + (largest?.w ?? 0));
    const plain = await infer(scratch);
    expect([plain.explanations, plain.score_p_value]).toEqual([undefined, undefined]);
  });
});

describe('a model', () => {
  it('tells its health, by ids as they are', async () => {
    const { status, body } = await health();
    expect(status).toBe(200);
    expect(modelHealthResponse.parse(body)).toMatchObject({
      role_id: 'flange',
      roi_id: 'top/π',
      memory_fitted: true,
      calibration: 'valid',
    });
    expect((await health('nobody/nothing')).body).toMatchObject({ memory_fitted: false, calibration: 'none' });
    expect((await health('flange/%20')).status).toBe(400);
  });

  describe('that watches the light', () => {
    // Three sets that have no picture in common: fitted from, calibrated with, watched.
    const calibrated = partPictures('calibration/good');
    const watched = partPictures('test/good');
    const relit = (light: number) =>
      Promise.all(
        watched.map(async ({ name, bytes }) => {
          const png = await sharp(bytes).linear(light, 0).png({ compressionLevel: 1 }).toBuffer();
          return file({ name, bytes: new Uint8Array(png) });
        }),
      );
    const drift = async () => modelHealthResponse.parse((await health()).body).drift;
    const follow = async (pictures: readonly File[], most: number) => {
      let seen = 0;
      while (seen < most && (await drift()).state !== 'drifted')
        await infer(pictures[seen++ % pictures.length] as File);
      return seen;
    };

    beforeEach(async () => {
      const okScores: number[] = [];
      for (const picture of calibrated) okScores.push((await infer(file(picture))).score);
      const ngScores: number[] = [];
      for (const kind of defectKinds())
        for (const picture of partPictures(`calibration/${kind}`)) ngScores.push((await infer(file(picture))).score);
      expect((await calibrate({ ok_scores: okScores, ng_scores: ngScores })).status).toBe(200);
      expect(await drift()).toMatchObject({ state: 'steady', pictures: 0 });
      await follow(watched.map(file), watched.length);
      expect(await drift()).toMatchObject({ state: 'steady', pictures: watched.length });
    });

    it.each([1.1, 0.9])('notices within 200 pictures that it has become × %d', async (light) => {
      const seen = await follow(await relit(light), 200);
      const { state, by, direction, since } = await drift();
      console.log(`× ${light}: noticed by ${by} after ${seen} pictures`);
      expect(state).toBe('drifted');
      if (by === 'brightness') expect(direction).toBe(light > 1 ? 'higher' : 'lower');
      const asked = await answer(await okng.app.request('/state?role_id=flange&roi_id=top%2F%CF%80'));
      expect(stateResponse.parse(asked.body).drift).toEqual(await drift());
      // It says when that was, give or take the few pictures that could as well be from before.
      expect(Math.abs((since as number) - watched.length)).toBeLessThanOrEqual(3);
    });

    it('is steady over as many pictures as it takes to notice a change, and more, when nothing changes', async () => {
      await follow(watched.map(file), 48);
      expect(await drift()).toMatchObject({ state: 'steady', by: null, since: null, pictures: 48 + watched.length });
    });
  });
});
