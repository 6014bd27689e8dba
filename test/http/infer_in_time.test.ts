import sharp from 'sharp';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { partPictures } from '../parts.ts';
import { answer, type JsonAnswer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

let okng: TestApp;
const file = ({ name, bytes }: { name: string; bytes: Uint8Array }) =>
  new File([bytes as Uint8Array<ArrayBuffer>], name);
const good = partPictures('train/good').slice(0, 4).map(file);
const parts = partPictures('test/scratch').slice(0, 3).map(file);
const model = { role_id: 'flange', roi_id: 'top', mm_per_px: '0.1' };

beforeAll(async () => {
  okng = await startTestApp();
  expect((await postForm(okng, '/fit_ok', { ...model, images: good })).status).toBe(200);
});
afterAll(() => okng.close());

const infer = (image: File | readonly File[], deadline?: string): Promise<JsonAnswer> =>
  postForm(okng, '/infer', { ...model, image }, deadline === undefined ? {} : { 'X-Deadline-Ms': deadline });

it('several pictures are answered by a list, each as it would be alone, in their order', async () => {
  const { status, body } = await infer(parts);
  expect(status).toBe(200);
  const alone = await Promise.all(parts.map(async (part) => (await infer(part)).body));
  const comparable = (answer: object) => ({ ...answer, request_id: '' });
  expect((body as unknown as object[]).map(comparable)).toEqual(alone.map(comparable));
  expect(new Set(alone.map(({ score }) => score)).size).toBe(3);
});

it('one of several that cannot be read is named, and none is answered', async () => {
  const { status, body } = await infer([parts[0] as File, new File(['hello'], 'torn.png')]);
  expect(status).toBe(415);
  expect(body.error).toContain('torn.png');
});

it('of many pictures none is looked at', async () => {
  const { status, body } = await infer(new Array(17).fill(parts[0]));
  expect(status).toBe(400);
  expect(body).toMatchObject({ code: 'too_many_parts', error: expect.stringMatching(/holds 17 files.* at most 16/) });
});

it.each(['0', '-1', '1.5', '1e3', 'soon', '', '3600001'])(
  'a deadline of %j is refused with what it may be',
  async (text) => {
    const { status, body } = await infer(parts[0] as File, text);
    expect(status).toBe(400);
    expect(body.error).toContain('X-Deadline-Ms must be a whole number of milliseconds from 1 to 3600000');
  },
);

it('what cannot be answered by its deadline is refused, and says so; what can is answered', async () => {
  const late = await infer(parts, '1');
  expect(late).toMatchObject({ status: 503, body: { code: 'deadline_missed', recipe_id: 'default' } });
  expect(late.headers.get('retry-after')).toBe('1');
  expect(await infer(parts, '600000')).toMatchObject({ status: 200 });
});

it('of several pictures that are refused as a whole, none counts for the drift', async () => {
  const { role_id, roi_id } = model;
  const okScores = Array.from({ length: 20 }, (_, i) => 10 + i);
  expect(await postJson(okng, '/calibrate_ng', { role_id, roi_id, ok_scores: okScores })).toMatchObject({
    status: 200,
  });
  const watched = async () =>
    (await answer(await okng.app.request(`/state?role_id=${role_id}&roi_id=${roi_id}`))).body.drift;
  const shape = JSON.stringify({ kind: 'rect', x: 100, y: 100, w: 50, h: 50 });
  const inRoi = (image: readonly File[]) => postForm(okng, '/infer', { ...model, shape, image });
  // Comes last, and is refused last: its ROI is empty only once it is drawn.
  const small = await sharp({ create: { width: 50, height: 50, channels: 3, background: 'gray' } })
    .png()
    .toBuffer();
  const several = [...parts, ...good, file({ name: 'small.png', bytes: new Uint8Array(small) })];
  expect(await inRoi(several)).toMatchObject({ status: 400, body: { code: 'empty_mask' } });
  expect(await watched()).toMatchObject({ pictures: 0 });
  expect(await inRoi(several.slice(0, -1))).toMatchObject({ status: 200 });
  expect(await watched()).toMatchObject({ pictures: 7 });
});
