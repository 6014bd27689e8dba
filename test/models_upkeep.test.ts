import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { backUpFolder, restoreFolder } from '../src/models_upkeep.ts';
import { createDatasetStore } from '../src/store/dataset_store.ts';
import { readModelMemory } from '../src/store/model_memory.ts';
import { createModelStore, inspectIndex } from '../src/store/model_store.ts';
import { sha256Hex } from '../src/store/sha256.ts';
import { runCli } from './command_line/run_cli.ts';
import { answer, postForm, postJson, startTestApp, type TestApp } from './http/test_app.ts';
import { partPictures } from './parts.ts';
import { filesBelow } from './store/predecessor_files.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-upkeep-'));
const good = partPictures('train/good').map(({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name));
const [image] = partPictures('test/scratch').map(
  ({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name),
);
const models = [
  { role_id: 'Flansch Ø', roi_id: 'top', recipe_id: 'default' },
  { role_id: 'Flansch Ø', roi_id: 'top', recipe_id: 'line2', model_key: 'ROI 1' },
];
const busy = { role_id: 'busy', roi_id: 'top', recipe_id: 'line2' };

let okng: TestApp;
beforeAll(async () => {
  okng = await startTestApp({ BDI_WORKERS: '2' });
  for (const [turn, model] of models.entries()) {
    for (const images of [good.slice(0, 3), good.slice(2, 5), good.slice(turn, 4 + turn)]) {
      await done(postForm(okng, '/fit_ok', { ...model, mm_per_px: '0.1', images }));
    }
    await done(postJson(okng, '/calibrate_ng', { ...model, ok_scores: [0.1, 0.2 + turn / 10], ng_scores: [0.6] }));
    await done(postForm(okng, '/datasets/ok/upload', { ...model, images: good.slice(0, 2 + turn) }));
  }
});
afterAll(async () => {
  await okng.close();
  rmSync(folder, { recursive: true, force: true });
});

async function done(request: Promise<{ readonly status: number; readonly body: Record<string, unknown> }>) {
  const { status, body } = await request;
  expect(status, JSON.stringify(body).slice(0, 300)).toBe(200);
  return body;
}

/** What a service tells of the models above, without what differs from request to request. */
async function answersOf(app: TestApp) {
  const answers: unknown[] = [];
  for (const model of models) {
    const query = new URLSearchParams(model).toString();
    const get = async (path: string) => (await answer(await app.app.request(`${path}?${query}`))).body;
    const fields = { ...model, mm_per_px: '0.1', image: image as File, include_heatmap: 'no' };
    const inferred = await done(postForm(app, '/infer', fields));
    const [manifest, list] = [await get('/manifest'), await get('/datasets/list')];
    const names = ((list.classes as { ok: { files: string[] } }).ok.files ?? []) as string[];
    const pictures: string[] = [];
    for (const filename of names) {
      const of = new URLSearchParams({ ...model, label: 'ok', filename }).toString();
      const picture = await app.app.request(`/datasets/file?${of}`);
      pictures.push(await sha256Hex(new Uint8Array(await picture.arrayBuffer())));
    }
    const generations = await get(`/models/${encodeURIComponent(model.role_id)}/${model.roi_id}/generations`);
    answers.push({ inferred, manifest, list, pictures, generations });
  }
  return JSON.parse(
    JSON.stringify(answers, (key, value) =>
      ['request_id', 'timings', 'processing_ms', 'npz_stamp', 'duration_ms', 'timing_ms'].includes(key)
        ? undefined
        : value,
    ),
  );
}

/** Infers with, fits, calibrates and fills the dataset of one model until it is told to stop. */
function keepBusy() {
  let stopped = false;
  const counts = { fits: 0, uploads: 0, inferences: 0, calibrations: 0 };
  const again = async (count: keyof typeof counts, work: () => Promise<unknown>) => {
    while (!stopped) {
      await work();
      counts[count]++;
    }
  };
  let turn = 0;
  const running = Promise.all([
    again('fits', async () => {
      const start = turn++ % 4;
      const images = good.slice(start, start + 2);
      await done(postForm(okng, '/fit_ok', { ...busy, mm_per_px: '0.1', images }));
    }),
    again('calibrations', () => postJson(okng, '/calibrate_ng', { ...busy, ok_scores: [0.1, 0.3], ng_scores: [0.6] })),
    again('uploads', async () => {
      const { saved } = await done(postForm(okng, '/datasets/ok/upload', { ...busy, images: good.slice(0, 3) }));
      const [filename = ''] = saved as string[];
      const of = new URLSearchParams({ ...busy, label: 'ok', filename }).toString();
      await okng.app.request(`/datasets/file?${of}`, { method: 'DELETE' });
    }),
    again('inferences', () => postForm(okng, '/infer', { ...models[0], mm_per_px: '0.1', image: image as File })),
  ]);
  return {
    counts,
    stop: async () => {
      stopped = true;
      await running;
    },
  };
}

/** Every model and sample of a folder belongs together as the stores say. */
async function expectWhole(modelsDir: string): Promise<void> {
  const store = createModelStore(modelsDir);
  const listed = await store.list();
  for (const { place } of listed) {
    const memory = await readModelMemory(place.npzPath);
    expect(['good', 'was_missing']).toContain(await inspectIndex(place, memory));
    const kept = await store.generations.list(place);
    const live = kept.find((one) => one.live);
    expect(live?.memory_id).toBe(memory.memoryId);
    for (const { generation, npz_sha256, memory_id, calibration } of kept) {
      expect([undefined, null, memory_id]).toContain(calibration?.memory_id);
      const { path } = await store.generations.addressOf(place, generation);
      const files = filesBelow(join(path, '..'));
      expect(await sha256Hex(Buffer.from(files['memory.npz'] ?? '', 'base64'))).toBe(npz_sha256);
    }
  }
  const datasets = createDatasetStore(modelsDir);
  for (const { role_id, roi_id, recipe_id } of [...models, busy]) {
    const key = { recipeId: recipe_id, roleId: role_id, roiId: roi_id };
    for (const { name, hasMeta } of (await datasets.list(key)).ok) {
      expect(hasMeta).toBe(true);
      const { bytes, meta } = await datasets.readSample(key, 'ok', name);
      expect(meta).toMatchObject({ okng: { sha256: await sha256Hex(bytes) } });
    }
  }
}

describe('backup and restore', () => {
  it('bring every answer back, made beside a service that fits, uploads and infers', async () => {
    const before = await answersOf(okng);
    expect(before.map(({ pictures }: { pictures: unknown[] }) => pictures.length)).toEqual([2, 3]);
    const load = keepBusy();
    await expect.poll(() => load.counts.fits, { timeout: 30_000 }).toBeGreaterThan(0);
    const config = { modelsDir: okng.modelsDir };
    const archives = [0, 1, 2].map((turn) => join(folder, `busy_${turn}.tar`));
    for (const to of archives) await backUpFolder(config, { to, replace: false, withExtractors: false });
    const other = join(folder, 'other_process.tar');
    const run = await runCli(['backup', other, '--models-dir', okng.modelsDir, '--json']);
    expect([run.code, run.stderr.match(/okng: .*/)]).toEqual([0, null]);
    await load.stop();
    expect(Object.values(load.counts).every((count) => count > 0)).toBe(true);

    for (const [turn, from] of [...archives, other].entries()) {
      const modelsDir = join(folder, `restored_${turn}`);
      await restoreFolder({ modelsDir }, { from, dryRun: false });
      await expectWhole(modelsDir);
    }
    const doctor = await runCli(['doctor', '--deep', '--models-dir', join(folder, 'restored_3')], {
      EXTRACTOR: 'embedded',
    });
    expect([doctor.code, doctor.stdout]).toEqual([0, expect.stringMatching(/^ok {7}.*; calibrated\.$/m)]);
    const restored = await startTestApp({ BDI_MODELS_DIR: join(folder, 'restored_3') });
    try {
      expect(await answersOf(restored)).toEqual(before);
    } finally {
      await restored.close();
    }
  });
});
