import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  healthResponse,
  inferResponse,
  manifestResponse,
  problemBody,
  stateResponse,
} from '../../src/http/responses.ts';
import { runCli } from '../command_line/run_cli.ts';
import { hasShared, sharedFile } from '../npy.ts';
import { pythonWith } from '../store/python_with.ts';
import { type Fields, type FitAnswer, get, type InferAnswer, postForm, postJson } from './client.ts';
import { writePredecessorVit } from './predecessor_vit.ts';
import { type OkngProcess, startOkng } from './process.ts';

/**
 * From a published weights file to a verdict, with real processes: `okng model add`, the service, a fit, and the reference
 * implementation's scores and regions. The weights are random; names and shapes are the published ones.
 */

const shapes = {
  none: '',
  rect: '{"kind":"rect","x":100,"y":50,"w":120,"h":200}',
  circle: '{"kind":"circle","cx":224,"cy":224,"r":100}',
  annulus: '{"kind":"annulus","cx":224,"cy":224,"r":200,"r_inner":120}',
} as const;
/** The reference's circles have an anti-aliased rim: other pixels, so another percentile. */
const scoreTolerance = { none: 1e-3, rect: 1e-3, circle: 5e-3, annulus: 2e-2 } as const;
type ShapeName = keyof typeof shapes;

interface GoldenRun {
  readonly threshold: number;
  readonly score: number;
  readonly regions: readonly { readonly bbox: readonly number[]; readonly area_px: number }[];
}

const golden = hasShared
  ? (JSON.parse(readFileSync(sharedFile('golden/golden.json'), 'utf8')) as {
      readonly images: Readonly<Record<string, { readonly runs: Readonly<Record<ShapeName, GoldenRun>> }>>;
    })
  : null;
const python = pythonWith('numpy, faiss');
const runOf = (picture: string, shape: ShapeName) => golden?.images[picture]?.runs[shape] as GoldenRun;

describe.skipIf(!hasShared)('the reference pictures through an added ViT-S/14 (needs ../shared)', () => {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-golden-'));
  const model = { role_id: 'golden', roi_id: 'whole', mm_per_px: '0.2' };
  let okng: OkngProcess;

  beforeAll(async () => {
    const weights = sharedFile('golden/weights.safetensors');
    const added = await runCli(['model', 'add', weights, '--precision', 'fp32', '--models-dir', modelsDir]);
    expect(added.code, added.stderr).toBe(0);
    okng = await startOkng({ BDI_MODELS_DIR: modelsDir, CORESET_RATE: '0.05' });
  }, 120_000);

  afterAll(async () => {
    await okng.kill('SIGTERM');
    rmSync(modelsDir, { recursive: true, force: true });
  });

  const picture = (name: string, field: string) => ({
    field,
    name: `${name}.png`,
    bytes: readFileSync(sharedFile(`golden/${name}.png`)),
  });
  const infer = async (name: string, shape: ShapeName, of: Fields = model) => {
    const { status, body } = await postForm<InferAnswer>(`${okng.url}/infer`, { ...of, shape: shapes[shape] }, [
      picture(name, 'image'),
    ]);
    expect(status, JSON.stringify(body)).toBe(200);
    return inferResponse.parse(body);
  };

  it('serves with the added model by itself', async () => {
    expect(healthResponse.parse((await get(`${okng.url}/health`)).body).model).toMatch(/^vit_small_patch14_dinov2/);
  });

  it('fits the reference memory: 154 of 3072 patches', async () => {
    const good = ['ok0', 'ok1', 'ok2'].map((name) => picture(name, 'images'));
    const { status, body } = await postForm<FitAnswer>(`${okng.url}/fit_ok`, model, good);
    expect(status, JSON.stringify(body)).toBe(200);
    expect(body).toMatchObject({ n_embeddings: 3072, coreset_size: 154, token_shape: [32, 32] });
  });

  it.each(['ok0', 'test_ok', 'test_ng'])('gives %s its scores', async (name) => {
    for (const shape of Object.keys(shapes) as ShapeName[]) {
      const { score } = await infer(name, shape);
      const expected = runOf(name, shape).score;
      expect(Math.abs(score - expected) / expected, `${shape}: ${score}, not ${expected}`).toBeLessThan(
        scoreTolerance[shape],
      );
    }
  });

  it.each(['none', 'rect'] as const)('finds the regions of the bad picture inside %s to a pixel', async (shape) => {
    const { threshold, regions } = runOf('test_ng', shape);
    // One OK score at the threshold itself: the percentile rule then gives just it.
    const calibrated = await postJson(`${okng.url}/calibrate_ng`, {
      ...model,
      mm_per_px: 0.2,
      area_mm2_thr: 1,
      ok_scores: [threshold],
    });
    expect(calibrated.status).toBe(200);
    const found = await infer('test_ng', shape);
    expect(found).toMatchObject({ decision: 'ng', threshold });
    expect(found.regions.length).toBe(regions.length);
    for (const [index, { bbox, area_px: area }] of regions.entries()) {
      const region = found.regions[index];
      for (const [side, value] of bbox.entries())
        expect(Math.abs((region?.bbox[side] ?? Number.NaN) - value)).toBeLessThanOrEqual(1);
      expect(Math.abs((region?.area_px ?? Number.NaN) - area)).toBeLessThanOrEqual(0.02 * area + 2);
    }
  });

  describe.skipIf(python === undefined)("a memory of the predecessor's, taken over by okng import", () => {
    const gold = { ...model, recipe_id: 'gold' };
    const query = 'role_id=golden&roi_id=whole&recipe_id=gold';
    const folder = mkdtempSync(join(tmpdir(), 'okng-predecessor-'));

    beforeAll(async () => {
      await writePredecessorVit(join(folder, 'models'), python ?? '');
      const imported = await runCli(['import', join(folder, 'models'), '--json', '--models-dir', modelsDir]);
      expect(imported.code, imported.stderr).toBe(0);
      expect(JSON.parse(imported.stdout)).toMatchObject({
        scales: [{ recipe_id: 'gold', mm_per_px: 0.2, outcome: 'new' }],
        models: [
          {
            role_id: 'golden',
            roi_id: 'whole',
            outcome: 'new',
            memory: {
              rows: 154,
              width: 1152,
              grid: [32, 32],
              origin: 'unknown',
              index: 'good',
              calibrated: true,
              extractors: [expect.stringMatching(/^vit_small_patch14_dinov2/)],
            },
          },
        ],
      });
    }, 60_000);
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    it.each(['ok0', 'test_ok', 'test_ng'])('gives %s its scores', async (name) => {
      for (const shape of Object.keys(shapes) as ShapeName[]) {
        const { score, params } = await infer(name, shape, gold);
        const expected = runOf(name, shape).score;
        expect(Math.abs(score - expected) / expected, `${shape}: ${score}, not ${expected}`).toBeLessThan(
          scoreTolerance[shape],
        );
        expect(params).toMatchObject({ memory_origin: 'unknown', extractor: expect.stringMatching(/^vit_small/) });
      }
    });

    it('judges by the calibration that came along', async () => {
      const { threshold } = runOf('test_ng', 'none');
      expect(await infer('test_ng', 'none', gold)).toMatchObject({ threshold, decision: 'ng' });
      expect(await infer('ok0', 'none', gold)).toMatchObject({ threshold, decision: 'ok' });
    });

    it('is marked as of unknown origin, a memory fitted here is not', async () => {
      const state = stateResponse.parse((await get(`${okng.url}/state?${query}`)).body);
      expect(state).toMatchObject({
        memory_fitted: true,
        calib_present: true,
        memory_origin: 'unknown',
        refusal: null,
      });
      const manifest = manifestResponse.parse((await get(`${okng.url}/manifest?${query}`)).body);
      expect(manifest).toMatchObject({ memory_origin: 'unknown', extractor: null, mm_per_px: 0.2 });
      expect((await infer('ok0', 'none')).params.memory_origin).toBe('okng');
    });

    it('is refused without its extractor, with the words that help', async () => {
      const embedded = await startOkng({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded' });
      try {
        const { status, body } = await postForm(`${embedded.url}/infer`, gold, [picture('ok0', 'image')]);
        const { code, error } = problemBody.parse(body);
        expect([status, code]).toEqual([409, 'extractor_mismatch']);
        expect(error).toMatch(/holds 1152 numbers per patch .* embedded_filter_bank.*okng model add/);
        const state = stateResponse.parse((await get(`${embedded.url}/state?${query}`)).body);
        expect(state).toMatchObject({ memory_origin: 'unknown', refusal: error, calib_present: false });
      } finally {
        await embedded.kill('SIGTERM');
      }
    });
  });
});
