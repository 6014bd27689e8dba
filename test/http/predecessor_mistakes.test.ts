import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { gridFrame, prepareInput } from '../../src/images/letterbox.ts';
import type { Preprocessing } from '../../src/images/preprocessing.ts';
import { anomalyMap } from '../../src/patchcore/anomaly_map.ts';
import { selectCoreset } from '../../src/patchcore/coreset.ts';
import { createMatrix, type Matrix } from '../../src/patchcore/matrix.ts';
import { readModelMemory } from '../../src/store/model_memory.ts';
import { candidatePlaces } from '../../src/store/places.ts';
import { partPictures } from '../parts.ts';
import { answer, type JsonAnswer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

// What the service before okng got wrong, each under its own name. Other files test the same ground in full; here one case
// each shows that the mistake itself cannot be made.

let okng: TestApp;
const file = ({ name, bytes }: { name: string; bytes: Uint8Array }) =>
  new File([bytes as Uint8Array<ArrayBuffer>], name);
const good = partPictures('train/good').slice(0, 4).map(file);
const [scratched] = partPictures('test/scratch').map(file) as [File, ...File[]];
const model = { role_id: 'flange', roi_id: 'top', mm_per_px: '0.1' };

const letterbox: Preprocessing = {
  height: 448,
  width: 448,
  fit: 'letterbox',
  resample: 'bicubic',
  colorOrder: 'rgb',
  mean: [0, 0, 0],
  std: [1, 1, 1],
};

const fitModel = (fields: object = {}, images = good) => postForm(okng, '/fit_ok', { ...model, ...fields, images });
const infer = (fields: object = {}) => postForm(okng, '/infer', { ...model, ...fields, image: scratched });
const calibrate = (fields: object = {}) =>
  postJson(okng, '/calibrate_ng', { role_id: 'flange', roi_id: 'top', ok_scores: [0.1], mm_per_px: 0.1, ...fields });
const done = ({ status, body }: JsonAnswer) => {
  expect(body.error).toBeUndefined();
  expect(status).toBe(200);
  return body;
};

beforeAll(async () => {
  okng = await startTestApp();
  done(await fitModel());
});

afterAll(() => okng.close());

describe("the predecessor's mistakes", () => {
  it('padding stretched over non-square heatmaps', () => {
    const size = { width: 600, height: 300 };
    const grid = { rows: 32, cols: 32 };
    const { input, placement } = prepareInput({ ...size, data: new Uint8Array(600 * 300 * 3) }, letterbox);
    const frame = gridFrame(placement, input, grid);
    // The only patch that is far from the memory is the one that sees the pixel (500, 40).
    const distances = new Float32Array(grid.rows * grid.cols);
    const row = Math.floor(((placement.top + (40.5 / 300) * placement.height) / 448) * grid.rows);
    const col = Math.floor(((placement.left + (500.5 / 600) * placement.width) / 448) * grid.cols);
    distances[row * grid.cols + col] = 1;
    const { data } = anomalyMap(distances, grid, frame, size, 1);
    const hottest = data.reduce((best, value, i) => (value > (data[best] as number) ? i : best), 0);
    expect(Math.abs((hottest % 600) - 500)).toBeLessThan(12);
    expect(Math.abs(Math.floor(hottest / 600) - 40)).toBeLessThan(12);
  });

  it('memory, index and calibration taken from different places', async () => {
    // The recipe has a calibration of its own but borrows the default recipe's memory: the two do not belong together.
    done(await calibrate({ ok_scores: [0.5] }));
    const borrowed = done(await calibrate({ recipe_id: 'night', ok_scores: [0.0001] }));
    expect(borrowed.in_force).toBe(false);
    expect(done(await infer({ recipe_id: 'night' })).threshold).toBe(0.5);
    const key = { recipeId: 'night', modelKey: 'top', roleId: 'flange', roiId: 'top' };
    const [own] = candidatePlaces(okng.modelsDir, key);
    expect(existsSync(own?.npzPath ?? '')).toBe(false);
  });

  it('config file beating the environment', () => {
    const folder = mkdtempSync(join(tmpdir(), 'okng-config-'));
    const path = join(folder, 'okng.json');
    writeFileSync(path, JSON.stringify({ backend_port: 1234, backend_host: '0.0.0.0' }));
    const config = loadConfig({ BDI_CONFIG: path, BDI_BACKEND_PORT: '4321' });
    rmSync(folder, { recursive: true });
    expect(config).toMatchObject({ port: 4321, host: '0.0.0.0' });
  });

  it('half-written files seen by readers', async () => {
    const [place] = candidatePlaces(okng.modelsDir, {
      recipeId: 'default',
      modelKey: 'top',
      roleId: 'flange',
      roiId: 'top',
    });
    const path = place?.npzPath as string;
    let refitting = true;
    let reads = 0;
    const reading = (async () => {
      while (refitting) {
        // Reading checks every checksum: half a file throws.
        await readModelMemory(path);
        reads++;
      }
    })();
    try {
      for (let i = 0; i < 3; i++) done(await fitModel({}, good.slice(i)));
    } finally {
      refitting = false;
    }
    await reading;
    expect(reads).toBeGreaterThan(10);
  });

  it('ids used raw in paths: files outside the store could be read and deleted', async () => {
    const outside = join(dirname(okng.modelsDir), 'outside.png');
    writeFileSync(outside, 'not yours');
    for (const filename of ['../../../../outside.png', '..%2Foutside.png', outside, 'ok/../../outside.png']) {
      for (const [method, path] of [
        ['GET', '/datasets/file'],
        ['GET', '/datasets/meta'],
        ['DELETE', '/datasets/file'],
      ] as const) {
        const query = new URLSearchParams({ role_id: '../..', roi_id: '..', label: 'ok', filename });
        const response = await okng.app.request(`${path}?${query}`, { method });
        expect(await response.text()).not.toContain('not yours');
      }
    }
    expect(await readFile(outside, 'utf8')).toBe('not yours');
    rmSync(outside);
    done(await fitModel({ role_id: '../../../evil', roi_id: '/etc/passwd' }));
    expect(existsSync(join(dirname(okng.modelsDir), 'evil'))).toBe(false);
  });

  it('bad input answered with 500', async () => {
    const answers = [
      await infer({ mm_per_px: 'wide' }),
      await infer({ shape: '[1, 2' }),
      await postForm(okng, '/infer', { ...model, image: new File(['no picture'], 'x.png') }),
      await postJson(okng, '/calibrate_ng', '{"role_id": '),
      await postJson(okng, '/calibrate_ng', { role_id: 'flange', roi_id: 'top', ok_scores: ['high'] }),
      await answer(await okng.app.request('/state?role_id=flange')),
      await answer(
        await okng.app.request('/fit_ok', { method: 'POST', body: 'x', headers: { 'Content-Type': 'text/plain' } }),
      ),
    ];
    for (const { status, body } of answers) {
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(500);
      expect(body.error).toEqual(expect.stringMatching(/.{20,}/));
    }
  });

  it('a mask outside the picture passed as OK', async () => {
    const { status, body } = await infer({ shape: '{"kind":"circle","cx":5000,"cy":5000,"r":10}' });
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: 'empty_mask' });
    expect(body.decision).toBeUndefined();
  });

  it('one lock around everything: others waited for a fit', async () => {
    let fitted = false;
    const fitting = fitModel({ role_id: 'slow' }, Array.from({ length: 6 }, () => good).flat()).then((response) => {
      fitted = true;
      return done(response);
    });
    const answered = await Promise.all([infer(), infer(), infer(), infer()]);
    expect(fitted, 'four inspections are answered while a fit runs').toBe(false);
    for (const response of answered) done(response);
    await fitting;
  });

  it('19 minutes to fit 50 pictures: one pass over all patches for every pick', async () => {
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    const patches = createMatrix(4000, 8, Float32Array.from({ length: 32_000 }, random));
    let passes = 0;
    const products = async (a: Matrix, b: Matrix) => {
      passes += Math.max(a.rows, b.rows) / patches.rows;
      const dots = new Float32Array(a.rows * b.rows);
      for (let i = 0; i < a.rows; i++) {
        for (let j = 0; j < b.rows; j++) {
          for (let k = 0; k < 8; k++) {
            dots[i * b.rows + j] =
              (dots[i * b.rows + j] as number) + (a.data[i * 8 + k] as number) * (b.data[j * 8 + k] as number);
          }
        }
      }
      return dots;
    };
    const picks = await selectCoreset(patches, 400, products);
    expect(new Set(picks).size).toBe(400);
    expect(passes).toBeLessThan(400 / 8);
  });

  it('a refit that kept the old threshold silently', async () => {
    done(await fitModel());
    done(await calibrate({ ok_scores: [0.2] }));
    expect(done(await infer())).toMatchObject({ threshold: 0.2, decision: expect.any(String) });
    done(await fitModel({}, good.slice(1)));
    expect(done(await infer())).toMatchObject({ threshold: null, decision: null });
    const state = await answer(await okng.app.request('/state?role_id=flange&roi_id=top'));
    expect(state.body).toMatchObject({ memory_fitted: true, calib_present: false });
  });
});
