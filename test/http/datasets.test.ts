import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import {
  calibrateDatasetResponse,
  datasetClearedResponse,
  datasetListResponse,
  fitOkResponse,
  inferDatasetResponse,
  inferResponse,
  manifestResponse,
  problemBody,
  reviewResponse,
  sampleDeletedResponse,
  sampleMetaResponse,
  stateResponse,
  uploadResponse,
} from '../../src/http/responses.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { answer, type JsonAnswer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

/** The second generation's endpoints, sentence by sentence of the wire contract. Every test has a role of its own. */

let okng: TestApp;
let role = '';
let count = 0;
beforeAll(async () => {
  okng = await startTestApp();
});
afterAll(() => okng.close());
beforeEach(() => {
  role = `Flansch Ø ${count++}`;
});

const file = (bytes: Uint8Array, name: string) => new File([bytes as Uint8Array<ArrayBuffer>], name);
const asFile = ({ name, bytes }: PartPicture) => file(bytes, name);
const good = partPictures('train/good').map(asFile);
const fresh = partPictures('test/good').map(asFile);
const bad = [...partPictures('test/scratch'), ...partPictures('test/dent')].map(asFile);
const [image] = fresh as [File];
const ids = () => ({ role_id: role, roi_id: 'top' });
const query = (more: Readonly<Record<string, string>> = {}) => new URLSearchParams({ ...ids(), ...more }).toString();
const get = async (path: string, more = {}, headers = {}) =>
  await answer(await okng.app.request(`${path}?${query(more)}`, { headers }));
const remove = async (path: string, more = {}) =>
  await answer(await okng.app.request(`${path}?${query(more)}`, { method: 'DELETE' }));

type Fields = Readonly<Record<string, string | File | readonly File[]>>;

function expectDone<S extends z.ZodType>({ status, body }: JsonAnswer, schema: S): z.output<S> {
  expect(status, JSON.stringify(body).slice(0, 500)).toBe(200);
  return schema.parse(body);
}

function expectRefused({ status, body }: JsonAnswer, expected: number, code: string, text: RegExp = /./): void {
  expect({ status, code: body.code }, JSON.stringify(body)).toEqual({ status: expected, code });
  expect(problemBody.parse(body).error).toMatch(text);
  expect(JSON.stringify(body)).not.toMatch(/at .*\.(ts|js):\d+|node_modules|\/tmp\//);
}

/** Uploads with a list of metas, each a field of its own. */
async function upload(label: string, images: readonly File[], metas: readonly object[] = [], more: Fields = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...ids(), ...more })) form.append(name, value as string);
  for (const picture of images) form.append('images', picture);
  for (const meta of metas) form.append('metas', JSON.stringify(meta));
  return await answer(await okng.app.request(`/datasets/${label}/upload`, { method: 'POST', body: form }));
}

const saved = async (label: string, images: readonly File[], metas: readonly object[] = [], more: Fields = {}) =>
  expectDone(await upload(label, images, metas, more), uploadResponse).saved;

const fitDataset = async (more: Fields = {}) =>
  expectDone(
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', use_dataset: 'true', ...more }),
    fitOkResponse,
  );

const infer = async (more: Fields = {}) =>
  expectDone(
    await postForm(okng, '/infer', { ...ids(), mm_per_px: '0.1', include_heatmap: 'no', image, ...more }),
    inferResponse,
  );

const circle = { kind: 'circle', cx: 191.5, cy: 191.5, r: 120 };

describe('upload', () => {
  it('stores the bytes as sent, under unique names that sort by time and keep the extension', async () => {
    const jpeg = partPictures('train/good')[0] as PartPicture;
    const png = await sharp(jpeg.bytes).png().toBuffer();
    const bmpNamed = file(jpeg.bytes, 'a photo.JPEG');
    const first = await saved('ok', [file(png, 'ö 1.png'), bmpNamed]);
    const second = await saved('ok', [file(png, 'ö 1.png')]);
    const names = [...first, ...second];
    expect(new Set(names).size).toBe(3);
    expect(names).toEqual([...names].sort());
    expect(names.map((name) => name.slice(name.lastIndexOf('.')))).toEqual(['.png', '.jpeg', '.png']);
    const stored = okng.files();
    const base = `${Buffer.from(role).toString('base64url')}__${Buffer.from('top').toString('base64url')}`;
    const content = stored[`models/recipes/default/datasets/${base}/ok/${first[0]}`] as string;
    expect(Buffer.from(content, 'base64').equals(png)).toBe(true);
    expect(stored).toHaveProperty([`models/recipes/default/datasets/${base}/ok/${first[0]?.replace('.png', '.json')}`]);
  });

  it('completes the metas: the client’s own values win', async () => {
    const metas = [{ note: 'línea', label: 'mine', nested: { a: [1] } }, {}];
    const [one = '', two = ''] = await saved('ng', good.slice(0, 2), metas, { recipe_id: 'Line-1 ' });
    const of = async (filename: string) =>
      expectDone(await get('/datasets/meta', { label: 'ng', filename, recipe_id: 'line-1' }), sampleMetaResponse);
    const defaults = { ...ids(), recipe_id: 'line-1', created_at_utc: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) };
    expect(await of(one)).toMatchObject({
      ...defaults,
      filename: one,
      label: 'mine',
      note: 'línea',
      nested: { a: [1] },
    });
    expect(await of(two)).toMatchObject({ ...defaults, filename: two, label: 'ng' });
  });

  it('takes one list for all metas, repeated fields, empty ones, and images[]', async () => {
    const listed = await postForm(okng, '/datasets/ok/upload', {
      ...ids(),
      'images[]': good.slice(0, 2),
      metas: '[{"n":1},{"n":2}]',
    });
    const { saved: names } = expectDone(listed, uploadResponse);
    expect((await get('/datasets/meta', { label: 'ok', filename: names[1] })).body).toMatchObject({ n: 2 });
    const empty = await postForm(okng, '/datasets/ok/upload', { ...ids(), images: good.slice(0, 2), metas: '' });
    expectDone(empty, uploadResponse);
  });

  it.each<readonly [string, Fields, number, string, RegExp]>([
    ['no image', {}, 422, 'missing_field', /images is missing/],
    ['an image that is text', { images: file(Buffer.from('text'), 'a.png') }, 415, 'unsupported_media_type', /a\.png/],
    [
      'a torn image',
      {
        images: [
          good[0] as File,
          file(Buffer.from(partPictures('train/good')[1]?.bytes.subarray(0, 900) ?? []), 'torn.jpg'),
        ],
      },
      400,
      'unreadable_image',
      /torn\.jpg/,
    ],
    [
      'more metas than images',
      { images: good.slice(0, 1), metas: '[{},{}]' },
      400,
      'invalid_value',
      /2 metas came with 1 images/,
    ],
    [
      'fewer metas than images',
      { images: good.slice(0, 2), metas: '{"n":1}' },
      400,
      'invalid_value',
      /1 metas came with 2 images/,
    ],
    ['a meta that is no JSON', { images: good.slice(0, 1), metas: '{' }, 400, 'invalid_json', /metas\[0\]/],
    [
      'a meta with a scale that is none',
      { images: good.slice(0, 1), metas: '{"mm_per_px":-1}' },
      400,
      'invalid_value',
      /mm_per_px/,
    ],
    ['an empty role', { role_id: '', images: good.slice(0, 1) }, 400, 'invalid_value', /role_id/],
    ['a recipe that cannot be', { recipe_id: 'last', images: good.slice(0, 1) }, 400, 'invalid_value', /reserved/],
  ])('refuses %s and stores nothing', async (_, fields, status, code, text) => {
    const before = okng.files();
    expectRefused(await postForm(okng, '/datasets/ok/upload', { ...ids(), ...fields }), status, code, text);
    expect(okng.files()).toEqual(before);
  });

  it('counts a scale in a meta for the recipe: the first sets it, another is a conflict and stores nothing', async () => {
    const recipe = { recipe_id: 'scaled' };
    await saved('ok', good.slice(0, 1), [{ note: 'no scale' }], recipe);
    expect((await get('/state', recipe)).body.mm_per_px).toBeNull();
    const first = expectDone(await upload('ok', good.slice(0, 1), [{ mm_per_px: 1e-5 }], recipe), uploadResponse);
    expect(first.mm_per_px).toBe(1e-5);
    const before = okng.files();
    expectRefused(await upload('ng', good.slice(0, 1), [{ mm_per_px: 2e-5 }], recipe), 409, 'mm_per_px_conflict');
    const two = [{ mm_per_px: 1e-5 }, { mm_per_px: 3e-5 }];
    expectRefused(await upload('ng', good.slice(0, 2), two, recipe), 409, 'mm_per_px_conflict');
    expect(okng.files()).toEqual(before);
    const fit = { ...ids(), ...recipe, images: good.slice(0, 1) };
    expectRefused(await postForm(okng, '/fit_ok', { ...fit, mm_per_px: '0.1' }), 409, 'mm_per_px_conflict');
    expectDone(await postForm(okng, '/fit_ok', { ...fit, mm_per_px: '1E-05' }), fitOkResponse);
    // A failed upload sets nothing.
    const torn = file(Buffer.from('text'), 'a.png');
    expectRefused(
      await upload('ok', [torn], [{ mm_per_px: 5 }], { recipe_id: 'unscaled' }),
      415,
      'unsupported_media_type',
    );
    expect((await get('/state', { recipe_id: 'unscaled' })).body.mm_per_px).toBeNull();
  });

  it('reports exact and near duplicates, also of the other class', async () => {
    const picture = partPictures('train/good')[0] as PartPicture;
    const [first] = await saved('ok', [asFile(picture)]);
    const smaller = await sharp(picture.bytes).resize(200).jpeg({ quality: 60 }).toBuffer();
    const body = expectDone(
      await upload('ng', [asFile(picture), file(smaller, 'small.jpg'), good[5] as File]),
      uploadResponse,
    );
    const [again, small] = body.saved;
    expect(body.duplicates).toEqual([
      {
        filename: again,
        exact: [{ label: 'ok', filename: first }],
        near: [{ label: 'ng', filename: small }],
      },
      {
        filename: small,
        exact: [],
        near: [
          { label: 'ok', filename: first },
          { label: 'ng', filename: again },
        ],
      },
    ]);
    const list = expectDone(await get('/datasets/list'), datasetListResponse);
    expect(list.duplicates.map(({ kind, samples }) => [kind, samples.length])).toEqual([
      ['exact', 2],
      ['near', 3],
    ]);
  });
});

describe('list, file, meta, thumbnail, delete and clear', () => {
  it('list what is stored, class by class, and nothing of another role, ROI or recipe', async () => {
    expect(expectDone(await get('/datasets/list'), datasetListResponse)).toMatchObject({
      ...ids(),
      classes: { ok: { count: 0, files: [] } },
    });
    const ok = await saved('ok', good.slice(0, 3));
    const ng = await saved('ng', bad.slice(0, 1));
    await saved('ok', good.slice(3, 4), [], { roi_id: 'other' });
    await saved('ok', good.slice(3, 4), [], { recipe_id: 'line-1' });
    const list = expectDone(await get('/datasets/list'), datasetListResponse);
    expect(list.classes).toEqual({
      ok: { count: 3, files: ok, meta: Object.fromEntries(ok.map((name) => [name, true])) },
      ng: { count: 1, files: ng, meta: { [ng[0] as string]: true } },
    });
    expect(list.duplicates).toEqual([]);
    expect((await get('/datasets/list', {}, { 'X-Recipe-Id': 'line-1' })).body).toMatchObject({
      recipe_id: 'line-1',
      classes: { ok: { count: 1 } },
    });
  });

  it('give the bytes of a sample with the type that they are', async () => {
    const picture = partPictures('train/good')[3] as PartPicture;
    const [filename = ''] = await saved('ok', [file(picture.bytes, 'named.png')]);
    const response = await okng.app.request(`/datasets/file?${query({ label: 'ok', filename })}`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('image/jpeg');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('x-request-id')).toBeTruthy();
    expect(Buffer.from(await response.arrayBuffer()).equals(Buffer.from(picture.bytes))).toBe(true);
  });

  it('give a small picture of a sample', async () => {
    const [filename = ''] = await saved('ng', bad.slice(0, 1));
    const side = async (more: object) => {
      const response = await okng.app.request(`/datasets/thumbnail?${query({ label: 'ng', filename, ...more })}`);
      expect([response.status, response.headers.get('content-type')]).toEqual([200, 'image/jpeg']);
      return (await sharp(Buffer.from(await response.arrayBuffer())).metadata()).width;
    };
    expect(await side({})).toBe(160);
    expect(await side({ max_side: '64' })).toBe(64);
    for (const max_side of ['0', '9999', 'x'])
      expectRefused(
        await get('/datasets/thumbnail', { label: 'ng', filename, max_side }),
        400,
        'invalid_value',
        /max_side/,
      );
  });

  it('delete a sample with its meta, and say whether there was one', async () => {
    const [one = '', two = ''] = await saved('ok', good.slice(0, 2));
    const deletion = async (filename: string) =>
      expectDone(await remove('/datasets/file', { label: 'ok', filename }), sampleDeletedResponse);
    expect(await deletion(one)).toMatchObject({ deleted: true, filename: one, label: 'ok' });
    expect(await deletion(one)).toMatchObject({ deleted: false, filename: one });
    expect(await deletion('../../../../secret.png')).toMatchObject({ deleted: false });
    expect((await get('/datasets/list')).body).toMatchObject({ classes: { ok: { files: [two] } } });
    expectRefused(await get('/datasets/file', { label: 'ok', filename: one }), 404, 'not_found', /hold no file/);
    expectRefused(await get('/datasets/meta', { label: 'ok', filename: one }), 404, 'not_found');
    expect(Object.keys(okng.files()).some((name) => name.endsWith(one.replace('.jpg', '.json')))).toBe(false);
  });

  it('clear one class and leave the other, and other recipes', async () => {
    await saved('ok', good.slice(0, 3));
    await saved('ng', bad.slice(0, 2));
    await saved('ok', good.slice(0, 1), [], { recipe_id: 'line-1' });
    const cleared = async () => expectDone(await remove('/datasets/clear', { label: 'ok' }), datasetClearedResponse);
    expect(await cleared()).toMatchObject({ cleared: 3, label: 'ok' });
    expect(await cleared()).toMatchObject({ cleared: 0, label: 'ok' });
    expect((await get('/datasets/list')).body).toMatchObject({ classes: { ok: { count: 0 }, ng: { count: 2 } } });
    expect((await get('/datasets/list', { recipe_id: 'line-1' })).body).toMatchObject({
      classes: { ok: { count: 1 } },
    });
  });

  it.each([
    ['a bad label', { label: 'good', filename: 'a.png' }, 400, 'invalid_value', /label must be ok or ng; it is "good"/],
    ['a label in capitals', { label: 'OK', filename: 'a.png' }, 400, 'invalid_value', /label must be/],
    ['no label', { filename: 'a.png' }, 422, 'missing_field', /label is missing/],
    ['no filename', { label: 'ok' }, 422, 'missing_field', /filename is missing/],
    [
      'a recipe that cannot be',
      { label: 'ok', filename: 'a.png', recipe_id: '../x' },
      400,
      'invalid_value',
      /recipe_id/,
    ],
    ['an unknown file', { label: 'ok', filename: 'a.png' }, 404, 'not_found', /hold no file "a\.png"/],
    ['a file elsewhere', { label: 'ok', filename: '../ng/a.png' }, 404, 'not_found', /hold no file/],
  ])('refuse %s', async (_, more, status, code, text) => {
    expectRefused(await get('/datasets/file', more), status, code, text);
    expectRefused(await get('/datasets/meta', more), status, code, text);
    expectRefused(await get('/datasets/thumbnail', more), status, code, text);
    if (status !== 404) expectRefused(await remove('/datasets/file', more), status, code, text);
  });

  it('refuse a bad label to clear, and a query without a role', async () => {
    expectRefused(await remove('/datasets/clear', { label: 'all' }), 400, 'invalid_value', /label must be/);
    expectRefused(await remove('/datasets/clear'), 422, 'missing_field', /label is missing/);
    expectRefused(await answer(await okng.app.request('/datasets/list?roi_id=top')), 422, 'missing_field', /role_id/);
  });
});

describe('fit_ok with use_dataset', () => {
  it('fits from the stored OK samples, each inside of its own ROI', async () => {
    const few = await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', use_dataset: '1' });
    expectRefused(few, 400, 'insufficient_ok_samples', /Insufficient OK samples: 0 are stored/);
    await saved('ok', good.slice(0, 9));
    const nine = await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', use_dataset: 'Yes' });
    expectRefused(nine, 400, 'insufficient_ok_samples', /Insufficient OK samples: 9 .* needs 10/);
    await saved('ok', good.slice(9, 10), [{ shape: circle }]);
    const fit = await fitDataset();
    expect(fit.n_images).toBe(10);
    expect(fit.n_embeddings).toBeLessThan(10 * 1024);
    expect(fit.n_embeddings).toBeGreaterThan(9 * 1024);
    expect(fit.coreset_size).toBe(Math.ceil(fit.n_embeddings * 0.02));
    expect(fit.leave_one_out_scores.every((score) => score !== null && score > 0)).toBe(true);
  });

  it('keeps the patches outside of a posted ROI out of the memory as well', async () => {
    const fit = { ...ids(), mm_per_px: '0.1', images: good.slice(0, 2) };
    const whole = expectDone(await postForm(okng, '/fit_ok', fit), fitOkResponse);
    const inside = expectDone(
      await postForm(okng, '/fit_ok', { ...fit, shape: JSON.stringify(circle) }),
      fitOkResponse,
    );
    expect(whole.n_embeddings).toBe(2048);
    // A circle of 240 pixels on cells of 12: 314 cells of its own, and the ring that is mixed into its rim.
    expect(inside.n_embeddings / 2).toBeGreaterThan(314);
    expect(inside.n_embeddings / 2).toBeLessThan(450);
    const outside = { ...fit, shape: '{"kind":"rect","x":900,"y":0,"w":5,"h":5}' };
    expectRefused(await postForm(okng, '/fit_ok', outside), 400, 'empty_mask', new RegExp((good[0] as File).name));
  });
});

describe('state and manifest', () => {
  const both = async (more = {}) => {
    const state = expectDone(await get('/state', more), stateResponse);
    const manifest = expectDone(await get('/manifest', more), manifestResponse);
    expect(manifest.memory).toBe(state.memory_fitted);
    return { state, manifest };
  };

  it('agree with what /infer does, from nothing to a calibrated model and a refit', async () => {
    const calibrate = () => postJson(okng, '/calibrate_ng', { ...ids(), ok_scores: [0.1, 0.2] });
    const seen: unknown[] = [];
    const look = async () => {
      const { state, manifest } = await both();
      const inferred = await postForm(okng, '/infer', { ...ids(), mm_per_px: '0.1', include_heatmap: 'no', image });
      if (inferred.status === 200) expect(inferred.body.threshold !== null).toBe(state.calib_present);
      else expectRefused(inferred, 400, 'memory_not_fitted');
      expect(state.memory_fitted).toBe(inferred.status === 200);
      expect(manifest.calib?.threshold ?? null).toBe(state.calib_present ? 0.1 + 0.1 * 0.99 : null);
      seen.push([state.memory_fitted, state.calib_present, state.calibration]);
    };
    await look();
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 2) });
    await look();
    await calibrate();
    await look();
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(2, 4) });
    await look();
    expect(seen).toEqual([
      [false, false, 'none'],
      [true, false, 'none'],
      [true, true, 'valid'],
      [true, false, 'stale'],
    ]);
  });

  it('name the model, its key and its dataset', async () => {
    const ok = await saved('ok', good.slice(0, 2), [], { recipe_id: 'line-1' });
    const more = { recipe_id: 'LINE-1', model_key: 'night' };
    const { state, manifest } = await both(more);
    expect(state).toMatchObject({
      status: 'ok',
      ...ids(),
      model_key: 'night',
      recipe_id: 'line-1',
      memory_fitted: false,
    });
    expect(manifest).toMatchObject({
      ...ids(),
      model_key: 'night',
      memory: false,
      calib: null,
      datasets: { ...ids(), classes: { ok: { count: 2, files: ok } } },
    });
    expect((await both()).state).toMatchObject({ model_key: 'top', recipe_id: 'default' });
  });

  it('tell the calibration before any memory, which waits for the first', async () => {
    await postJson(okng, '/calibrate_ng', { ...ids(), ok_scores: [0.1, 0.2] });
    const { state } = await both();
    expect(state).toMatchObject({ memory_fitted: false, calib_present: true, calibration: 'waiting' });
  });

  it('refuse what names no model', async () => {
    for (const path of ['/state', '/manifest']) {
      expectRefused(await answer(await okng.app.request(`${path}?role_id=a`)), 422, 'missing_field', /roi_id/);
      expectRefused(await get(path, { recipe_id: 'a b' }), 400, 'invalid_value');
    }
  });
});

describe('calibrate_dataset', () => {
  const calibrate = (more = {}) => postJson(okng, '/calibrate_dataset', { ...ids(), default_mm_per_px: 0.1, ...more });

  it('scores every stored sample and chooses the threshold as calibrate_ng does', async () => {
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good });
    const shapes = [{ shape: circle }, { shape_json: JSON.stringify(circle) }, {}];
    const ok = await saved('ok', fresh.slice(0, 3), shapes);
    const ng = await saved('ng', bad.slice(0, 2));
    const body = expectDone(await calibrate({ score_percentile: 90, area_mm2_thr: 0.5 }), calibrateDatasetResponse);
    expect(body).toMatchObject({
      status: 'ok',
      score_percentile: 90,
      area_mm2_thr: 0.5,
      n_ok: 3,
      n_ng: 2,
      ...ids(),
      model_key: 'top',
      errors: [],
      in_force: true,
    });
    const scoreOf = async (picture: File, shape: object | null) =>
      (await infer({ image: picture, ...(shape !== null && { shape: JSON.stringify(shape) }) })).score;
    const expected = [
      await scoreOf(fresh[0] as File, circle),
      await scoreOf(fresh[1] as File, circle),
      await scoreOf(fresh[2] as File, null),
      await scoreOf(bad[0] as File, null),
      await scoreOf(bad[1] as File, null),
    ];
    expect(body.samples.map(({ score }) => score)).toEqual(expected);
    expect(body.samples.map(({ filename }) => filename)).toEqual([...ok, ...ng]);
    const again = await postJson(okng, '/calibrate_ng', {
      ...ids(),
      ok_scores: expected.slice(0, 3),
      ng_scores: expected.slice(3),
      score_percentile: 90,
    });
    expect(again.body.threshold).toBe(body.threshold);
    expect((await infer({ image: bad[0] as File })).decision).toBe('ng');
  });

  it('is written to disk as it is answered', async () => {
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 3) });
    await saved('ok', fresh.slice(0, 1));
    const body = expectDone(await calibrate({ require_ng: false }), calibrateDatasetResponse);
    const base = `${Buffer.from(role).toString('base64url')}__${Buffer.from('top').toString('base64url')}`;
    const written = okng.files()[`models/${base}_calib.json`] as string;
    // Stored is what a later answer needs: the threshold, how it was chosen, and for which memory.
    const { request_id: _, in_force: _f, samples: _s, suspects: _p, errors: _e, warnings: _w, ...kept } = body;
    expect(JSON.parse(Buffer.from(written, 'base64').toString())).toMatchObject(kept);
    expect(kept.memory_id).toMatch(/^[0-9a-f]{64}$/);
  });

  it('never calibrates by the plain score of a learned picture', async () => {
    await saved('ok', good.slice(0, 12));
    const fit = await fitDataset();
    await saved('ok', fresh.slice(0, 1));
    await saved('ng', bad.slice(0, 2));
    const body = expectDone(await calibrate(), calibrateDatasetResponse);
    expect(body.n_ok).toBe(13);
    expect(body.samples.slice(0, 12).map(({ score }) => score)).toEqual(fit.leave_one_out_scores);
    expect(body.samples.map(({ score_from: from }) => from)).toEqual([
      ...new Array(12).fill('leave_one_out'),
      ...new Array(3).fill('inspection'),
    ]);
    expect(body.threshold).toBeGreaterThan(Math.max(...(fit.leave_one_out_scores as number[])) * 0.99);
    for (const picture of fresh) expect((await infer({ image: picture })).decision).toBe('ok');
  });

  it('lists in errors what it could not score', async () => {
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 3) });
    const outside = { shape: { kind: 'circle', cx: 9000, cy: 0, r: 3 } };
    const [fine, torn, empty] = await saved('ok', fresh.slice(0, 3), [{}, {}, outside]);
    const base = `${Buffer.from(role).toString('base64url')}__${Buffer.from('top').toString('base64url')}`;
    writeFileSync(join(okng.modelsDir, 'recipes/default/datasets', base, 'ok', torn as string), 'torn');
    const body = expectDone(await calibrate({ require_ng: false }), calibrateDatasetResponse);
    expect(body.samples.map(({ filename }) => filename)).toEqual([fine]);
    expect(body.errors).toEqual([
      { label: 'ok', filename: torn, error: expect.stringMatching(/is not a picture/) },
      { label: 'ok', filename: empty, error: expect.stringMatching(/covers no pixel/) },
    ]);
    expect(body).toMatchObject({ n_ok: 1, n_ng: 0 });
  });

  it('is refused without memory, without OK samples, and without NG samples unless they are not required', async () => {
    await saved('ng', bad.slice(0, 1));
    expectRefused(await calibrate(), 400, 'memory_not_fitted', /memoria no encontrada.*memory not fitted/i);
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 3) });
    expectRefused(await calibrate(), 400, 'insufficient_ok_samples', /Insufficient OK samples/);
    await saved('ok', fresh.slice(0, 2));
    await remove('/datasets/clear', { label: 'ng' });
    expectRefused(await calibrate(), 400, 'insufficient_ng_samples', /Insufficient NG samples/);
    expectRefused(await calibrate({ require_ng: true }), 400, 'insufficient_ng_samples');
    expect((await get('/state')).body.calib_present).toBe(false);
    expect(expectDone(await calibrate({ require_ng: false }), calibrateDatasetResponse)).toMatchObject({
      n_ok: 2,
      n_ng: 0,
      ng_mean: 0,
    });
    expect((await get('/state')).body.calib_present).toBe(true);
  });

  it('takes null for what may be absent, and promises as calibrate_ng does', async () => {
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 3) });
    await saved('ok', fresh);
    await saved('ng', bad.slice(0, 1));
    const nothing = {
      default_mm_per_px: null,
      score_percentile: null,
      area_mm2_thr: null,
      require_ng: null,
      model_key: null,
    };
    expect(expectDone(await calibrate(nothing), calibrateDatasetResponse)).toMatchObject({
      score_percentile: 99,
      area_mm2_thr: 1,
    });
    const promised = await calibrate({ max_overkill: 0.5, confidence: 0.9 });
    expect(expectDone(promised, calibrateDatasetResponse).guarantee).toMatchObject({
      alpha: 0.5,
      delta: 0.1,
      n: fresh.length,
    });
    expectRefused(await calibrate({ max_overkill: 0.01 }), 400, 'invalid_value', /cannot promise/);
    expectRefused(await calibrate({ review_threshold: 99 }), 400, 'invalid_value', /review_threshold/);
  });

  it.each([
    ['a percentile beyond 100', { score_percentile: 101 }, 400, 'invalid_value', /score_percentile/],
    ['a scale of 0', { default_mm_per_px: 0 }, 400, 'invalid_value', /mm_per_px/],
    ['require_ng that is no boolean', { require_ng: 'maybe' }, 422, 'invalid_type', /require_ng/],
    ['no role', { role_id: undefined }, 422, 'missing_field', /role_id/],
  ])('refuses %s', async (_, more, status, code, text) => {
    expectRefused(await calibrate(more), status, code, text);
  });
});

describe('infer_dataset', () => {
  const inferDataset = (more = {}) => postJson(okng, '/infer_dataset', { ...ids(), default_mm_per_px: 0.1, ...more });

  it('inspects every stored sample as /infer does, with the shape in its meta', async () => {
    await saved('ok', good.slice(0, 10));
    await fitDataset();
    const [held] = await saved('ok', fresh.slice(0, 1), [{ shape: circle }]);
    const [scratched] = await saved('ng', bad.slice(0, 1));
    await postJson(okng, '/calibrate_dataset', ids());
    const body = expectDone(await inferDataset(), inferDatasetResponse);
    expect(body).toMatchObject({ status: 'ok', ...ids(), model_key: 'top', n_total: 12, n_errors: 0 });
    expect(body.items.map(({ in_memory: inMemory }) => inMemory)).toEqual([...new Array(10).fill(true), false, false]);
    const [, ng] = body.items.slice(10);
    const alone = await infer({ image: bad[0] as File });
    expect(body.items[10]).toMatchObject({
      label: 'ok',
      filename: held,
      mm_per_px: 0.1,
      score: (await infer({ image: fresh[0] as File, shape: JSON.stringify(circle) })).score,
      decision: 'ok',
      error: null,
    });
    expect(ng).toMatchObject({ label: 'ng', filename: scratched, decision: 'ng', threshold: alone.threshold });
    expect(ng?.regions).toEqual(alone.regions);
    expect(ng?.n_regions).toBe(alone.regions.length);
    expect(ng).not.toHaveProperty('heatmap_png_base64');
  });

  it('inspects the labels that are asked for, with heatmaps when asked', async () => {
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 2) });
    expect(expectDone(await inferDataset(), inferDatasetResponse)).toMatchObject({
      n_total: 0,
      n_errors: 0,
      items: [],
    });
    await saved('ok', fresh.slice(0, 1));
    await saved('ng', bad.slice(0, 1));
    const labelsOf = async (labels: unknown) =>
      expectDone(await inferDataset({ labels }), inferDatasetResponse).items.map(({ label }) => label);
    expect(await labelsOf(undefined)).toEqual(['ok', 'ng']);
    expect(await labelsOf(null)).toEqual(['ok', 'ng']);
    expect(await labelsOf([])).toEqual(['ok', 'ng']);
    expect(await labelsOf(['ng'])).toEqual(['ng']);
    expectRefused(await inferDataset({ labels: ['bad'] }), 400, 'invalid_value', /label must be ok or ng/);
    expectRefused(await inferDataset({ labels: 'ng' }), 422, 'invalid_type', /labels/);
    const [item] = expectDone(await inferDataset({ include_heatmap: true }), inferDatasetResponse).items;
    const png = Buffer.from(item?.heatmap_png_base64 as string, 'base64');
    expect(await sharp(png).metadata()).toMatchObject({ format: 'png', width: 384, height: 384 });
    expect(item).toMatchObject({ threshold: null, decision: null, regions: [] });
  });

  it('says what is wrong with a sample in its item', async () => {
    await postForm(okng, '/fit_ok', { ...ids(), mm_per_px: '0.1', images: good.slice(0, 2) });
    await saved('ok', fresh.slice(0, 2), [{ shape: 'no JSON' }, {}]);
    const body = expectDone(await inferDataset(), inferDatasetResponse);
    expect(body).toMatchObject({ n_total: 2, n_errors: 1 });
    expect(body.items[0]).toMatchObject({
      score: null,
      decision: null,
      regions: [],
      n_regions: 0,
      error: expect.stringMatching(/not valid JSON/),
    });
    expect(body.items[1]).toMatchObject({ error: null });
  });

  it('is refused without a memory, in the words the GUI knows', async () => {
    await saved('ok', fresh.slice(0, 1));
    expectRefused(await inferDataset(), 400, 'memory_not_fitted', /memoria no encontrada.*memory not fitted/i);
  });
});

describe('review', () => {
  it('finds the bad picture among the stored good ones before it is learned, and changes nothing', async () => {
    const names = await saved('ok', [...good.slice(0, 6), bad[0] as File, ...good.slice(6, 12)]);
    const before = okng.files();
    const body = expectDone(await postJson(okng, '/datasets/review', ids()), reviewResponse);
    expect(body.samples[0]).toMatchObject({ filename: names[6], suspect: true });
    expect(body.n_suspects).toBe(1);
    expect(body.samples).toHaveLength(13);
    expect(body.errors).toEqual([]);
    expect(okng.files()).toEqual(before);
    expect((await get('/state')).body.memory_fitted).toBe(false);
  });

  it('is refused for fewer than two samples', async () => {
    const review = () => postJson(okng, '/datasets/review', ids());
    expectRefused(await review(), 400, 'insufficient_ok_samples', /Insufficient OK samples/);
    await saved('ok', good.slice(0, 1));
    expectRefused(await review(), 400, 'insufficient_ok_samples', /1 are stored/);
  });
});

describe('every answer', () => {
  it('echoes the request id and the recipe, also in a meta', async () => {
    const [filename = ''] = await saved('ok', good.slice(0, 1), [{ recipe_id: 'mine', request_id: 'theirs' }]);
    const headers = { 'X-Request-Id': 'línea 7', 'X-Recipe-Id': 'default' };
    for (const [path, more] of [
      ['/state', {}],
      ['/manifest', {}],
      ['/datasets/list', {}],
      ['/datasets/meta', { label: 'ok', filename }],
    ] as const) {
      const { body, headers: answered } = await get(path, more, headers);
      expect([answered.get('x-request-id'), body.request_id]).toEqual(['línea 7', 'línea 7']);
      // What the client said of its sample stays its word.
      expect(body.recipe_id).toBe(path === '/datasets/meta' ? 'mine' : 'default');
    }
  });

  it('has a recipe that is checked in the header as well', async () => {
    for (const path of ['/state', '/manifest', '/datasets/list'])
      expectRefused(await get(path, {}, { 'X-Recipe-Id': 'a b' }), 400, 'invalid_value');
  });

  it('is 405 for another method, and OPTIONS tells the right ones', async () => {
    const put = await okng.app.request('/datasets/file', { method: 'PUT' });
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, DELETE, HEAD, OPTIONS']);
  });
});

describe('ids of any kind', () => {
  it('keep datasets apart and reach no path', async () => {
    const strange = { role_id: '../../x', roi_id: 'a\\b/ü' };
    const names = await saved('ok', good.slice(0, 1), [], strange);
    const list = await answer(await okng.app.request(`/datasets/list?${new URLSearchParams(strange)}`));
    expect(list.body).toMatchObject({ classes: { ok: { files: names } } });
    const sha = createHash('sha256')
      .update(partPictures('train/good')[0]?.bytes ?? '')
      .digest('hex');
    const meta = await answer(
      await okng.app.request(
        `/datasets/meta?${new URLSearchParams({ ...strange, label: 'ok', filename: names[0] as string })}`,
      ),
    );
    expect(meta.body).toMatchObject({ ...strange, okng: { sha256: sha } });
    for (const name of Object.keys(okng.files())) expect(name.split('/')).not.toContain('..');
  });
});
