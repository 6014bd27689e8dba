import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  recipeChangedResponse,
  recipeDeletedResponse,
  recipeListResponse,
  recipeResponse,
} from '../../src/http/responses.ts';
import { partPictures } from '../parts.ts';
import { answer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

let okng: TestApp;
const good = partPictures('train/good').map(({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name));
const ids = { role_id: 'flange', roi_id: 'top' };
const fitOk = (more: Readonly<Record<string, string>>) =>
  postForm(okng, '/fit_ok', { ...ids, mm_per_px: '0.1', images: good.slice(0, 1), ...more });
const ask = async (method: string, path: string, body?: object) =>
  await answer(await okng.app.request(path, { method, ...(body !== undefined && { body: JSON.stringify(body) }) }));

beforeAll(async () => {
  okng = await startTestApp();
  expect((await fitOk({})).status).toBe(200);
  expect((await fitOk({ recipe_id: 'line-1', mm_per_px: '0.2', model_key: 'night' })).status).toBe(200);
  const upload = { ...ids, recipe_id: 'line-1', images: good.slice(0, 2) };
  expect((await postForm(okng, '/datasets/ok/upload', upload)).status).toBe(200);
});
afterAll(() => okng.close());

describe('/recipes', () => {
  it('lists the recipes with their scale, models and datasets', async () => {
    const { status, body } = await ask('GET', '/recipes');
    expect(status).toBe(200);
    const model = { ...ids, has_calibration: false };
    expect(recipeListResponse.parse(body).recipes).toEqual([
      { recipe_id: 'default', mm_per_px: 0.1, models: [{ ...model, model_key: 'top' }], datasets: [] },
      {
        recipe_id: 'line-1',
        mm_per_px: 0.2,
        models: [{ ...model, model_key: 'night' }],
        datasets: [{ ...ids, n_ok: 2, n_ng: 0 }],
      },
    ]);
  });

  it('tells one, by any spelling of its name, and 404 for others', async () => {
    const { status, body } = await ask('GET', '/recipes/LINE-1');
    expect(status).toBe(200);
    expect(recipeResponse.parse(body)).toMatchObject({ recipe_id: 'line-1', mm_per_px: 0.2 });
    expect((await ask('GET', '/recipes/absent')).body).toMatchObject({
      status: 404,
      code: 'not_found',
      recipe_id: 'absent',
    });
    for (const id of ['last', 'a%20b', '..%2Fx'])
      expect((await ask('GET', `/recipes/${id}`)).body).toMatchObject({ status: 400, code: 'invalid_value' });
  });

  it('corrects a scale on purpose; what is said by the way is still a conflict', async () => {
    expect((await fitOk({ recipe_id: 'line-1', mm_per_px: '0.3' })).status).toBe(409);
    const { status, body } = await ask('PUT', '/recipes/line-1', { mm_per_px: 0.3 });
    expect(status).toBe(200);
    expect(recipeChangedResponse.parse(body)).toMatchObject({
      recipe_id: 'line-1',
      previous_mm_per_px: 0.2,
      mm_per_px: 0.3,
    });
    expect((await fitOk({ recipe_id: 'line-1', mm_per_px: '0.3' })).status).toBe(200);
    expect(
      (await postJson(okng, '/calibrate_ng', { ...ids, recipe_id: 'line-1', mm_per_px: 0.2, ok_scores: [1] })).status,
    ).toBe(409);
    const fresh = await ask('PUT', '/recipes/line-2', { mm_per_px: 0.5 });
    expect(fresh.body).toMatchObject({ recipe_id: 'line-2', previous_mm_per_px: null, mm_per_px: 0.5 });
    expect((await fitOk({ recipe_id: 'line-2', mm_per_px: '0.4' })).status).toBe(409);
  });

  it.each([
    [{}, 422, 'missing_field'],
    [{ mm_per_px: 0 }, 400, 'invalid_value'],
    [{ mm_per_px: '0.1' }, 422, 'invalid_type'],
    [[], 422, 'invalid_type'],
  ])('takes no other body than a scale: %j', async (body, status, code) => {
    expect((await ask('PUT', '/recipes/line-1', body)).body).toMatchObject({ status, code });
  });

  it('removes one only when told, and never reaches into another', async () => {
    expect((await fitOk({ recipe_id: 'line-3', mm_per_px: '0.7' })).status).toBe(200);
    const before = okng.files();
    const refused = await ask('DELETE', '/recipes/line-3');
    expect(refused.body).toMatchObject({ status: 409, code: 'recipe_in_use', recipe_id: 'line-3' });
    expect((await ask('DELETE', '/recipes/line-3?force=maybe')).status).toBe(422);
    expect(okng.files()).toEqual(before);
    const { status, body } = await ask('DELETE', '/recipes/line-3?force=true');
    expect(status).toBe(200);
    expect(recipeDeletedResponse.parse(body)).toMatchObject({ deleted: true, recipe_id: 'line-3' });
    const others = Object.entries(before).filter(([name]) => !name.startsWith('models/recipes/line-3'));
    expect(okng.files()).toEqual(Object.fromEntries(others));
    expect((await ask('DELETE', '/recipes/line-3?force=true')).status).toBe(404);
    expect((await ask('DELETE', '/recipes/default?force=true')).body).toMatchObject({
      status: 409,
      code: 'recipe_in_use',
    });
    // It begins anew, with another scale if need be.
    expect((await fitOk({ recipe_id: 'line-3', mm_per_px: '0.9' })).status).toBe(200);
  });
});
