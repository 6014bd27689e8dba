import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, createClient, type Job, OkngError } from '../../src/client/client.ts';
import { startTestApp, type TestApp } from '../http/test_app.ts';
import { type PartPicture, partPictures, partsMmPerPx } from '../parts.ts';

/** The client against the whole service. */

let okng: TestApp;
let client: Client;
const clientWith = (options: { readonly recipe?: string } = {}) =>
  createClient({ url: 'http://okng', fetch: async (url, init) => await okng.app.request(url, init), ...options });

beforeAll(async () => {
  okng = await startTestApp({ BDI_MIN_OK_SAMPLES: '3' });
  client = clientWith();
});
afterAll(() => okng.close());

const model = { role_id: 'flange', roi_id: 'Ö/top?' };
const fields = { ...model, mm_per_px: partsMmPerPx };
const good = partPictures('train/good').slice(0, 4);
const [other] = partPictures('test/good') as [PartPicture];
const [bad] = partPictures('test/scratch') as [PartPicture];

async function refusalOf(asked: Promise<unknown>): Promise<OkngError> {
  const error = await asked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(OkngError);
  return error as OkngError;
}

it('fits, calibrates, inspects and tells the state of a model', async () => {
  const fitted = await client.fit({ ...fields, images: good, score_mode: 'top_share', positions: false });
  expect(fitted).toMatchObject({ n_images: 4, score_mode: 'top_share', position_weight: 0, model_key: model.roi_id });
  const plain = await client.infer({ ...fields, image: other });
  expect(plain).toMatchObject({ decision: null, threshold: null, in_memory: false });
  expect(plain.heatmap_png_base64).toMatch(/^iVBOR/);
  const calibration = await client.calibrateNg({ ...model, ok_scores: [plain.score], ng_scores: null });
  expect(calibration.threshold).toBe(plain.score);
  const judged = await client.infer({
    ...fields,
    image: new File([bad.bytes as Uint8Array<ArrayBuffer>], bad.name),
    shape: { kind: 'circle', cx: 192, cy: 192, r: 150 },
    include_heatmap: false,
    explain: true,
  });
  expect(judged).toMatchObject({ decision: 'ng', heatmap_png_base64: null });
  expect(judged.explanations).not.toEqual([]);
  expect(await client.state(model)).toMatchObject({ memory_fitted: true, calib_present: true });
  expect(await client.manifest(model)).toMatchObject({ memory: true, calib: { threshold: calibration.threshold } });
  expect(await client.modelHealth(model)).toMatchObject({ role_id: 'flange', roi_id: 'Ö/top?', calibration: 'valid' });
});

it('knows a picture of the memory again, by its bytes', async () => {
  const [learned] = good as [PartPicture];
  expect((await client.infer({ ...fields, image: { ...learned, name: 'renamed.jpg' } })).in_memory).toBe(true);
  const shifted = new Blob([learned.bytes as Uint8Array<ArrayBuffer>, new Uint8Array([0])]);
  expect((await client.infer({ ...fields, image: { name: learned.name, bytes: shifted } })).in_memory).toBe(false);
});

describe('a recipe of its own', () => {
  it('stores samples, works on them as jobs, and is removed', async () => {
    const line = clientWith({ recipe: 'line1' });
    const { saved } = await line.datasets.uploadOk({
      ...model,
      images: good,
      metas: good.map((_, i) => ({ mm_per_px: partsMmPerPx, part: i })),
    });
    await line.datasets.uploadNg({ ...model, images: [bad] });
    const { classes } = await line.datasets.list(model);
    expect([classes.ok.files, classes.ng.count]).toEqual([saved, 1]);
    const sample = { ...model, label: 'ok', filename: saved[1] as string } as const;
    const file = await line.datasets.file(sample);
    expect([file.type, new Uint8Array(await file.arrayBuffer())]).toEqual(['image/jpeg', good[1]?.bytes]);
    expect(await line.datasets.meta(sample)).toMatchObject({ part: 1 });
    expect((await line.datasets.thumbnail({ ...sample, max_side: 32 })).size).toBeLessThan(file.size);
    expect((await line.datasets.review(model)).samples).toHaveLength(4);

    const fit = await line.jobs.fit({ ...fields, use_dataset: true });
    const states: Job['state'][] = [];
    const fitted = await fit.result({ onChange: ({ state }) => states.push(state) });
    expect(fitted).toMatchObject({ n_images: 4, recipe_id: 'line1' });
    expect(states.at(-1)).toBe('succeeded');
    const calibration = await (await line.jobs.calibrateDataset({ ...model, score_percentile: 100 })).result();
    expect(calibration).toMatchObject({ n_ok: 4, n_ng: 1, recipe_id: 'line1' });
    const inspected = await (await line.jobs.inferDataset({ ...model, labels: ['ng'] })).result();
    expect(inspected.items).toMatchObject([{ label: 'ng', in_memory: false }]);
    expect(await line.calibrateDataset({ ...model, score_percentile: 100 })).toMatchObject({ n_ok: 4 });
    expect(await line.inferDataset({ ...model, labels: ['ok'] })).toMatchObject({ n_total: 4 });
    const { jobs } = await line.jobs.list({ kind: ['fit_ok', 'infer_dataset'], state: ['succeeded'], limit: 1 });
    expect(jobs).toMatchObject([{ kind: 'infer_dataset' }]);

    expect(await line.datasets.remove(sample)).toMatchObject({ deleted: true });
    expect(await line.datasets.clear({ ...model, label: 'ok' })).toMatchObject({ cleared: 3 });
    expect((await line.recipes.list()).recipes.map(({ recipe_id: id }) => id)).toContain('line1');
    expect(await line.recipes.correct('line1', { mm_per_px: 0.2 })).toMatchObject({ previous_mm_per_px: 0.1 });
    expect(await line.recipes.get('line1')).toMatchObject({ mm_per_px: 0.2 });
    expect(await refusalOf(line.recipes.remove('line1'))).toMatchObject({ code: 'recipe_in_use', status: 409 });
    expect(await line.recipes.remove('line1', { force: true })).toMatchObject({ deleted: true });
  });
});

it('does the same long work once under one key', async () => {
  const twice = { idempotencyKey: 'order 7' };
  const first = await client.jobs.fit({ ...fields, images: good.slice(0, 2) }, twice);
  const second = await client.jobs.fit({ ...fields, images: good.slice(0, 2) }, twice);
  expect(second.id).toBe(first.id);
  await first.result();
});

it('follows a job to its cancellation, and gives its refusal as the request would have', async () => {
  const images = Array.from({ length: 10 }, () => good).flat();
  const job = await client.jobs.fit({ ...fields, images });
  const seen: Job[] = [];
  for await (const now of job.follow()) {
    seen.push(now);
    if (seen.length === 1) expect((await job.cancel()).state).toBe('cancelled');
  }
  expect(seen.at(-1)?.state).toBe('cancelled');
  expect(await refusalOf(job.result())).toMatchObject({ code: 'job_cancelled', status: 409 });
  // To cancel again is no error.
  expect(await client.jobs.cancel(job.id)).toMatchObject({ state: 'cancelled' });
  expect(await refusalOf(client.jobs.get('nothing'))).toMatchObject({ code: 'not_found', status: 404 });
});

it("throws the service's own sentence, code, status and request id", async () => {
  const asked = client.infer({ ...fields, role_id: 'unknown', image: other }, { requestId: 'shift 3' });
  expect(await refusalOf(asked)).toMatchObject({
    code: 'memory_not_fitted',
    status: 400,
    requestId: 'shift 3',
    message: expect.stringMatching(/memory not fitted for role "unknown".*POST \/fit_ok/),
  });
  const scale = await refusalOf(client.infer({ ...fields, mm_per_px: 3, image: other }));
  expect(scale).toMatchObject({ code: 'mm_per_px_conflict', status: 409 });
});

it('is told of health and readiness, also of not being ready', async () => {
  expect(await client.health()).toMatchObject({ status: 'ok', model: 'embedded_filter_bank' });
  expect(await client.livez()).toMatchObject({ status: 'ok' });
  expect(await client.readyz()).toMatchObject({ status: 'not_ready', problems: [expect.stringContaining('loaded')] });
});
