import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  generationListResponse,
  inferResponse,
  modelListResponse,
  readinessResponse,
  rollbackResponse,
  stateResponse,
} from '../../src/http/responses.ts';
import { partPictures } from '../parts.ts';
import { answer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

const ids = { role_id: 'flange/2', roi_id: 'top ä' };
const path = `/models/${encodeURIComponent(ids.role_id)}/${encodeURIComponent(ids.roi_id)}`;
const picture = ({ name, bytes }: { name: string; bytes: Uint8Array }) =>
  new File([bytes as Uint8Array<ArrayBuffer>], name);
const good = partPictures('train/good').map(picture);
const probe = good[0] as File;

let okng: TestApp;
beforeEach(async () => {
  okng = await startTestApp({ BDI_KEEP_GENERATIONS: '100', BDI_QUEUE_LIMIT: '64', BDI_WORKERS: '2' });
});
afterEach(() => okng.close());

const learn = (images: readonly File[]) => postForm(okng, '/fit_ok', { ...ids, mm_per_px: '0.1', images });
const calibrate = (threshold: number) => postJson(okng, '/calibrate_ng', { ...ids, ok_scores: [threshold] });
const get = async (url: string) => (await answer(await okng.app.request(url))).body;
const inspect = async () => {
  const fields = { ...ids, mm_per_px: '0.1', image: probe, include_heatmap: 'false' };
  return inferResponse.parse((await postForm(okng, '/infer', fields)).body);
};
const state = async () => stateResponse.parse(await get(`/state?${new URLSearchParams(ids)}`));
const generations = async () => generationListResponse.parse(await get(`${path}/generations`)).generations;
const rollBack = (generation: unknown) => postJson(okng, `${path}/rollback`, { generation });

describe('/models', () => {
  it('lists models and generations, and rolls back and forth', async () => {
    expect(modelListResponse.parse(await get('/models')).models).toEqual([]);
    expect(await generations()).toEqual([]);
    await learn(good.slice(0, 2));
    await calibrate(0.25);
    const first = await inspect();
    expect(first).toMatchObject({ model_generation: 1, threshold: 0.25, calib_stale: false });
    await learn(good.slice(2, 4));
    expect(await inspect()).toMatchObject({ model_generation: 2, threshold: null, decision: null, calib_stale: true });
    expect(await state()).toMatchObject({ model_generation: 2, calib_present: false, calib_stale: true });
    const { models } = modelListResponse.parse(await get('/models'));
    expect(models).toMatchObject([
      {
        ...ids,
        recipe_id: 'default',
        model_generation: 2,
        rows: 41,
        n_images: 2,
        calib_present: false,
        calib_stale: true,
        problem: null,
      },
    ]);
    expect(await generations()).toMatchObject([
      { model_generation: 2, live: true, made_by: 'fit', threshold: null },
      { model_generation: 1, live: false, made_by: 'fit', threshold: 0.25 },
    ]);

    const { body } = await rollBack(1);
    expect(rollbackResponse.parse(body)).toMatchObject({
      model_generation: 1,
      previous_model_generation: 2,
      threshold: 0.25,
    });
    const { request_id: _, ...again } = await inspect();
    expect(first).toMatchObject(again);
    expect(await state()).toMatchObject({ model_generation: 1, calib_present: true, calib_stale: false });
  });

  it.each([
    [{}, 422, 'missing_field'],
    [{ generation: 'one' }, 422, 'invalid_type'],
    [{ generation: 1.5 }, 422, 'invalid_type'],
    [{ generation: 0 }, 400, 'invalid_value'],
    [{ generation: 1 }, 404, 'not_found'],
    [{ generation: null }, 422, 'missing_field'],
    [{ model_generation: 0 }, 400, 'invalid_value'],
    [{ model_generation: 1 }, 404, 'not_found'],
    [{ generation: 1, model_generation: 1 }, 404, 'not_found'],
    [{ generation: 1, model_generation: 2 }, 400, 'invalid_value'],
    [{ generation: 1, recipe_id: '../x' }, 400, 'invalid_value'],
    ['{', 400, 'invalid_json'],
  ])('refuses a rollback %j', async (request, status, code) => {
    const refused = await postJson(okng, `${path}/rollback`, request);
    expect([refused.status, refused.body.code]).toEqual([status, code]);
  });

  it('takes the number under the name that it has in answers, and says when two numbers differ', async () => {
    await learn(good.slice(0, 2));
    await learn(good.slice(2, 4));
    const { body } = await postJson(okng, `${path}/rollback`, { model_generation: 1 });
    expect(rollbackResponse.parse(body)).toMatchObject({ model_generation: 1, previous_model_generation: 2 });
    const both = await postJson(okng, `${path}/rollback`, { generation: 2, model_generation: 1 });
    expect(both.body.error).toMatch(/generation is 2 and model_generation is 1/);
  });
});

it('goes on with the generation before when a memory is damaged, and /readyz says so', async () => {
  await okng.service.warm();
  await learn(good.slice(0, 2));
  await calibrate(0.25);
  await learn(good.slice(2, 4));
  const [model] = modelListResponse.parse(await get('/models')).models;
  const npz = join(okng.modelsDir, model?.file ?? '');
  expect(await get('/readyz')).toMatchObject({ status: 'ready', problems: [] });
  writeFileSync(npz, 'torn');
  expect(await inspect()).toMatchObject({ model_generation: 1, threshold: 0.25 });
  const ready = await okng.app.request('/readyz');
  expect(ready.status).toBe(200);
  const { status, problems } = readinessResponse.parse(await ready.json());
  expect(status).toBe('ready');
  expect(problems).toEqual([expect.stringMatching(/was damaged and was set aside; its generation 1 answers/)]);
});

it('answers each of sixteen clients with one generation entirely while two others fit and calibrate the same model', async () => {
  const sets = [good.slice(0, 2), good.slice(2, 4)] as const;
  // What each memory says of the probe, told by models that nobody changes.
  const known = new Map<string, { score: number; in_memory: boolean | null }>();
  for (const images of sets) {
    expect((await learn(images)).status).toBe(200);
    const { score, in_memory } = await inspect();
    known.set((await state()).memory_id as string, { score, in_memory });
  }
  expect(known.size).toBe(2);

  let busy = true;
  const fits: number[] = [];
  const fitting = sets.map(async (images, client) => {
    for (let round = 0; round < 8; round++) {
      const { status, body } = await learn(images);
      fits.push(status);
      if (status === 409) expect(body.code).toBe('fit_in_progress');
      const { body: calibrated } = await calibrate(1 + client + round / 100);
      expect(['ok', undefined]).toContain(calibrated.status);
    }
  });
  const answers: Awaited<ReturnType<typeof inspect>>[] = [];
  const inspecting = Array.from({ length: 16 }, async () => {
    while (busy) answers.push(await inspect());
  });
  await Promise.all(fitting);
  busy = false;
  await Promise.all(inspecting);

  const all = new Map((await generations()).map((one) => [one.model_generation, one]));
  expect(all.size).toBe(2 + fits.filter((status) => status === 200).length);
  for (const { model_generation, score, in_memory, threshold, decision } of answers) {
    const memory = known.get(all.get(model_generation)?.memory_id ?? '');
    expect({ score, in_memory }, `generation ${model_generation}`).toEqual(memory);
    expect(decision).toBe(threshold === null ? null : 'ok');
  }
  // A threshold is its generation's: told for no other one.
  const thresholds = new Map<number, Set<number>>();
  for (const { model_generation, threshold } of answers) {
    if (threshold === null) continue;
    const told = thresholds.get(threshold) ?? new Set();
    thresholds.set(threshold, told.add(model_generation));
  }
  const memoryOf = (generation: number) => all.get(generation)?.memory_id;
  for (const [threshold, told] of thresholds)
    expect(new Set([...told].map(memoryOf)).size, `threshold ${threshold} of ${[...told]}`).toBe(1);
  expect(new Set(answers.map(({ model_generation }) => model_generation)).size).toBeGreaterThan(3);
  expect(thresholds.size).toBeGreaterThan(3);
});
