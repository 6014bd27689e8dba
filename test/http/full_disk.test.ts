import { afterAll, beforeAll, expect, it } from 'vitest';
import { problemBody, readinessResponse } from '../../src/http/responses.ts';
import { partPictures } from '../parts.ts';
import { answer, type JsonAnswer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

/** Below the floor of BDI_MIN_FREE_MIB: what would write is refused, what reads or makes room goes on. */

const mib = 1024 * 1024;
const model = { role_id: 'flange', roi_id: 'top' };
const query = 'role_id=flange&roi_id=top';
const pictures = partPictures('train/good').map(
  ({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name),
);
const image = pictures[9] as File;
const scale = { mm_per_px: '0.1' };

let free = 1000 * mib;
let okng: TestApp;
let stored: readonly string[];

beforeAll(async () => {
  okng = await startTestApp({ BDI_MIN_FREE_MIB: '100' }, { freeBytes: async () => free });
  expect((await postForm(okng, '/fit_ok', { ...model, ...scale, images: pictures.slice(0, 3) })).status).toBe(200);
  const upload = await postForm(okng, '/datasets/ok/upload', { ...model, images: pictures.slice(0, 2) });
  stored = upload.body.saved as string[];
  await okng.service.warm();
  free = 99 * mib;
});

afterAll(() => okng.close());

const get = async (path: string) => answer(await okng.app.request(path));
const send = async (method: string, path: string, body?: string) =>
  answer(await okng.app.request(path, { method, ...(body !== undefined && { body }) }));

it.each<readonly [string, () => Promise<JsonAnswer>]>([
  ['/fit_ok', () => postForm(okng, '/fit_ok', { ...model, ...scale, images: pictures.slice(0, 2) })],
  [
    '/fit_ok as a job',
    () => postForm(okng, '/fit_ok', { ...model, ...scale, images: image }, { Prefer: 'respond-async' }),
  ],
  ['/calibrate_ng', () => postJson(okng, '/calibrate_ng', { ...model, ok_scores: [1, 2, 3] })],
  ['/datasets/ok/upload', () => postForm(okng, '/datasets/ok/upload', { ...model, images: image })],
  ['/calibrate_dataset', () => postJson(okng, '/calibrate_dataset', { ...model, require_ng: false })],
  ['PUT /recipes', () => send('PUT', '/recipes/line2', '{"mm_per_px":0.2}')],
])('%s is refused with 507, and nothing is written', async (_, ask) => {
  const before = okng.files();
  const { status, body } = await ask();
  expect(status).toBe(507);
  expect(problemBody.parse(body).code).toBe('storage_full');
  expect(body.error).toMatch(/99 MiB left and must keep 100/);
  expect(okng.files()).toEqual(before);
});

it('/infer and everything that reads goes on', async () => {
  expect((await postForm(okng, '/infer', { ...model, ...scale, image })).status).toBe(200);
  expect((await postJson(okng, '/infer_dataset', model)).status).toBe(200);
  for (const path of [
    `/state?${query}`,
    `/manifest?${query}`,
    `/datasets/list?${query}`,
    '/recipes',
    '/jobs',
    '/health',
  ])
    expect((await get(path)).status, path).toBe(200);
});

it('/readyz tells, and keeps the service on the line', async () => {
  const { status, body } = await get('/readyz');
  expect(status).toBe(200);
  expect(readinessResponse.parse(body)).toMatchObject({ status: 'ready', problems: [expect.stringMatching(/99 MiB/)] });
});

it('room can be made, and then everything goes on', async () => {
  const removed = await send('DELETE', `/datasets/file?${query}&label=ok&filename=${stored[0]}`);
  expect(removed.body.deleted).toBe(true);
  expect((await send('DELETE', `/datasets/clear?${query}&label=ok`)).body.cleared).toBe(1);
  free = 100 * mib;
  expect((await postForm(okng, '/datasets/ok/upload', { ...model, images: image })).status).toBe(200);
  expect((await get('/readyz')).body.problems).toEqual([]);
});

it('a repeated request is one job, also while the disk is asked', async () => {
  const headers = { Prefer: 'respond-async', 'Idempotency-Key': 'order 7' };
  const ask = () => postForm(okng, '/fit_ok', { ...model, ...scale, images: pictures.slice(0, 2) }, headers);
  const answers = await Promise.all([ask(), ask(), ask()]);
  expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
  const withoutJob = await postForm(
    okng,
    '/fit_ok',
    { ...model, ...scale, images: pictures.slice(0, 2) },
    { 'Idempotency-Key': 'order 7' },
  );
  expect(withoutJob.status).toBe(202);
});
