import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auroc } from '../../src/evaluation/auroc.ts';
import { calibrateNgResponse, fitOkResponse, healthResponse, inferResponse } from '../../src/http/responses.ts';
import { defectKinds, type PartPicture, partPictures, partsFolder, partsMmPerPx } from '../parts.ts';
import {
  type CalibrateAnswer,
  type Fields,
  type FitAnswer,
  get,
  type InferAnswer,
  postForm,
  postJson,
} from './client.ts';
import { type OkngProcess, startOkng } from './process.ts';

/**
 * The main job over a real socket with a real process and the parts of this repository: fit, calibrate, tell good from
 * bad, survive SIGKILL in the middle of a refit, and answer as before.
 */

const modelsDir = mkdtempSync(join(tmpdir(), 'okng-e2e-'));
const model = { role_id: 'flange', roi_id: 'top', mm_per_px: String(partsMmPerPx) };
let okng: OkngProcess;

beforeAll(async () => {
  okng = await startOkng({ BDI_MODELS_DIR: modelsDir });
});

afterAll(async () => {
  await okng.kill('SIGTERM');
  rmSync(modelsDir, { recursive: true, force: true });
});

async function infer(folder: string, fields: Fields = {}): Promise<readonly InferAnswer[]> {
  const answers: InferAnswer[] = [];
  for (const picture of partPictures(folder)) {
    const { status, body } = await postForm<InferAnswer>(`${okng.url}/infer`, { ...model, ...fields }, [
      { ...picture, field: 'image' },
    ]);
    expect(status, JSON.stringify(body)).toBe(200);
    answers.push(inferResponse.parse(body));
  }
  return answers;
}

const scoresOf = (answers: readonly InferAnswer[]) => answers.map(({ score }) => score);

describe('the main job', () => {
  it('starts with the embedded extractor when no other is installed', async () => {
    const { body } = await get(`${okng.url}/health`);
    expect(healthResponse.parse(body)).toMatchObject({ status: 'ok', device: 'cpu', model: 'embedded_filter_bank' });
    expect((await get(`${okng.url}/readyz`)).status).toBe(200);
  });

  it('fits the good parts', async () => {
    const pictures = partPictures('train/good').map((picture) => ({ ...picture, field: 'images' }));
    const { status, body } = await postForm<FitAnswer>(`${okng.url}/fit_ok`, model, pictures);
    expect(status, JSON.stringify(body)).toBe(200);
    const fit = fitOkResponse.parse(body);
    expect(fit.n_embeddings).toBe(pictures.length * 1024);
    expect(fit.coreset_size).toBe(Math.ceil(fit.n_embeddings * 0.02));
    expect(fit.coreset_rate_applied).toBe(fit.coreset_size / fit.n_embeddings);
    expect(fit.calibration).toBe('none');
  });

  it('gives scores without a verdict before it is calibrated', async () => {
    const [first] = await infer('calibration/good');
    expect(first).toMatchObject({ threshold: null, decision: null, regions: [] });
    expect(first?.score).toBeGreaterThan(0);
  });

  it('calibrates from scores of parts that are not in the memory', async () => {
    const ok = scoresOf(await infer('calibration/good'));
    const ng: number[] = [];
    for (const kind of readdirSync(join(partsFolder, 'calibration'))) {
      if (kind !== 'good') ng.push(...scoresOf(await infer(`calibration/${kind}`)));
    }
    const { status, body } = await postJson<CalibrateAnswer>(`${okng.url}/calibrate_ng`, {
      ...model,
      mm_per_px: partsMmPerPx,
      ok_scores: ok,
      ng_scores: ng,
    });
    expect(status, JSON.stringify(body)).toBe(200);
    const calibration = calibrateNgResponse.parse(body);
    expect(calibration.threshold).toBeGreaterThan(Math.max(...ok) * 0.99);
    expect(calibration.memory_id).toMatch(/^[0-9a-f]{64}$/);
  });

  it('tells bad parts from good ones, with regions on the true defect', async () => {
    const good = await infer('test/good');
    const bad = new Map<string, readonly InferAnswer[]>();
    for (const kind of defectKinds()) bad.set(kind, await infer(`test/${kind}`));
    const badAnswers = [...bad.values()].flat();

    expect(auroc(scoresOf(good), scoresOf(badAnswers))).toBeGreaterThanOrEqual(0.95);
    expect(good.map(({ decision }) => decision)).toEqual(good.map(() => 'ok'));
    expect(badAnswers.map(({ decision }) => decision)).toEqual(badAnswers.map(() => 'ng'));
    for (const [kind, answers] of bad) {
      const masks = readdirSync(join(partsFolder, 'ground_truth', kind)).sort();
      for (const [index, { regions }] of answers.entries()) {
        const mask = await sharp(join(partsFolder, 'ground_truth', kind, masks[index] as string))
          .raw()
          .toBuffer({ resolveWithObject: true });
        const hit = regions.some(({ x, y, w, h }) => {
          for (let row = y; row < y + h; row++) {
            for (let column = x; column < x + w; column++) {
              if ((mask.data[(row * mask.info.width + column) * mask.info.channels] as number) > 127) return true;
            }
          }
          return false;
        });
        expect(hit, `${kind} ${index}: no region touches the defect`).toBe(true);
      }
    }
  });

  it('draws a heatmap of exactly the picture, 0 outside the ROI', async () => {
    const picture = partPictures('test/good')[0] as PartPicture;
    const shape = JSON.stringify({ kind: 'circle', cx: 100, cy: 120.5, r: 50 });
    const { body } = await postForm<InferAnswer>(`${okng.url}/infer`, { ...model, shape }, [
      { ...picture, field: 'image' },
    ]);
    const png = Buffer.from(body.heatmap_png_base64 as string, 'base64');
    const size = await sharp(picture.bytes).metadata();
    const map = await sharp(png).raw().toBuffer({ resolveWithObject: true });
    expect(map.info).toMatchObject({ width: size.width, height: size.height });
    expect(png[25], 'PNG colour type: gray').toBe(0);
    expect(map.data[0]).toBe(0);
    const inside = map.data[(120 * map.info.width + 100) * map.info.channels] as number;
    expect(map.data.some((value) => value > 0) && Number.isInteger(inside)).toBe(true);
  });

  it('answers exactly as before after SIGKILL in the middle of a second fit and a new start', async () => {
    const everything = { explain: 'true', score_p_value: 'true' };
    const inferAll = async () => [...(await infer('test/good', everything)), ...(await infer('test/dent', everything))];
    const before = await inferAll();
    // The parts lie alike: the answers hang on the positions too, and on where the memory's rows come from.
    const trained = partPictures('train/good').map(({ name }) => name);
    for (const { params, explanations = [], score_p_value: p } of before) {
      expect(params.position_weight).toBeGreaterThan(0.05);
      expect(explanations.length).toBeGreaterThan(0);
      for (const { nearest } of explanations) expect(trained).toContain(nearest.picture);
      expect(p).toBeGreaterThan(0);
    }
    const files = () =>
      readdirSync(modelsDir)
        .filter((name) => !name.startsWith('.tmp-'))
        .map((name) => [name, name.includes('.') ? readFileSync(join(modelsDir, name)).toString('base64') : '']);
    const filesBefore = files();

    const pictures = partPictures('test/scratch').map((picture) => ({ ...picture, field: 'images' }));
    const many = Array.from({ length: 10 }, () => pictures).flat();
    const refit = postForm(`${okng.url}/fit_ok`, { ...model, memory_fit: 'true' }, many).then(
      () => 'answered',
      () => 'cut off',
    );
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await okng.kill('SIGKILL')).toBe('SIGKILL');
    expect(await refit).toBe('cut off');
    expect(files()).toEqual(filesBefore);

    okng = await startOkng({ BDI_MODELS_DIR: modelsDir });
    const after = await inferAll();
    const withoutIds = (answers: readonly InferAnswer[]) => answers.map(({ request_id: _, ...rest }) => rest);
    expect(withoutIds(after)).toEqual(withoutIds(before));
  });

  it('keeps answering while it fits, and /health stays quick', async () => {
    const pictures = Array.from({ length: 4 }, () => partPictures('train/good')).flat();
    let fitting = true;
    const fit = postForm<FitAnswer>(
      `${okng.url}/fit_ok`,
      { ...model, model_key: 'second' },
      pictures.map((picture) => ({ ...picture, field: 'images' })),
    ).finally(() => {
      fitting = false;
    });
    let asked = 0;
    const picture = partPictures('test/good')[0] as PartPicture;
    while (fitting) {
      expect((await get(`${okng.url}/health`)).status).toBe(200);
      const { status } = await postForm(`${okng.url}/infer`, model, [{ ...picture, field: 'image' }]);
      expect(status).toBe(200);
      asked++;
    }
    expect((await fit).status).toBe(200);
    expect(asked).toBeGreaterThan(3);
  });

  it('ends cleanly on SIGTERM', async () => {
    expect(await okng.kill('SIGTERM')).toBe(0);
    expect(okng.log.at(-1)).toMatchObject({ msg: 'stopped', clean: true });
    okng = await startOkng({ BDI_MODELS_DIR: modelsDir });
  });
});
