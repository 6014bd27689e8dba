import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import {
  calibrateDatasetResponse,
  datasetClearedResponse,
  datasetListResponse,
  fitOkResponse,
  healthResponse,
  inferDatasetResponse,
  inferResponse,
  manifestResponse,
  sampleDeletedResponse,
  stateResponse,
  uploadResponse,
} from '../../src/http/responses.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import {
  type DotNetClient,
  type DotNetContent,
  type DotNetPart,
  dotNetClient,
  filePart,
  formContent,
  jsonContent,
  jsonPart,
  textPart,
} from './dot_net_client.ts';
import { type OkngProcess, startOkng } from './process.ts';

/**
 * The second generation's GUI, a whole cycle over a real socket, in two recipes at once: one is chosen by the header, as the
 * GUI's default, the other by the field of every request.
 */

const modelsDir = mkdtempSync(join(tmpdir(), 'okng-gui-'));
const role = 'Inspección Ø';
const roi = 'inspection-1';
let okng: OkngProcess;

beforeAll(async () => {
  okng = await startOkng({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded' });
});
afterAll(async () => {
  await okng.kill('SIGTERM');
  rmSync(modelsDir, { recursive: true, force: true });
});

const good = partPictures('train/good').slice(0, 12);
const held = partPictures('test/good');
const bad = [...partPictures('test/scratch').slice(0, 2), ...partPictures('test/dent').slice(0, 2)];

const shapes = {
  none: '',
  rect: '{"kind":"rect","x":20.5,"y":20,"w":340,"h":340}',
  circle: '{"kind":"Circle","cx":191.5,"cy":191.5,"r":1.6E+02}',
  annulus: '{"kind":"annulus","cx":191.5,"cy":191.5,"r":160,"r_inner":4E+01}',
} as const;

/** What the GUI knows of the recipe that it works in. */
interface Gui {
  readonly recipe: string;
  /** As C# writes a double. */
  readonly scale: string;
  readonly client: DotNetClient;
  readonly byField: boolean;
}

const idParts = ({ recipe, byField }: Gui): readonly DotNetPart[] => [
  textPart('role_id', role),
  textPart('roi_id', roi),
  ...(byField ? [textPart('recipe_id', recipe)] : []),
];

const query = ({ recipe, byField }: Gui, more: Readonly<Record<string, string>> = {}) =>
  new URLSearchParams({ role_id: role, roi_id: roi, ...(byField && { recipe_id: recipe }), ...more }).toString();

const json = ({ recipe, byField }: Gui, members: string) =>
  jsonContent(
    `{"role_id":${JSON.stringify(role)},"roi_id":"${roi}",${members}${byField ? `,"recipe_id":"${recipe}"` : ',"recipe_id":null'},"model_key":null}`,
  );

async function ask<S extends z.ZodType>(
  gui: Gui,
  schema: S,
  method: string,
  path: string,
  content?: DotNetContent,
): Promise<z.output<S>> {
  const answer = await gui.client.send(method, path, content);
  expect(answer.status, `${method} ${path}: ${answer.bytes.toString('utf8').slice(0, 500)}`).toBe(200);
  const body = answer.json();
  expect(body.recipe_id).toBe(gui.recipe);
  expect(answer.headers['x-request-id']).toBe(body.request_id);
  return schema.parse(body);
}

const upload = (gui: Gui, label: 'ok' | 'ng', pictures: readonly PartPicture[], metas: readonly string[]) =>
  ask(
    gui,
    uploadResponse,
    'POST',
    `/datasets/${label}/upload`,
    formContent([
      ...idParts(gui),
      ...pictures.map(({ bytes }, i) => filePart('images', `crop_${i}.png`, bytes)),
      ...metas.map((meta) => jsonPart('metas', meta)),
    ]),
  );

const infer = (gui: Gui, picture: PartPicture, shape: string) =>
  ask(
    gui,
    inferResponse,
    'POST',
    '/infer',
    formContent([
      ...idParts(gui),
      textPart('mm_per_px', gui.scale),
      filePart('image', 'x.png', picture.bytes),
      jsonPart('shape', shape),
      textPart('include_heatmap', 'True'),
    ]),
  );

async function cycle(gui: Gui): Promise<void> {
  const state = () => ask(gui, stateResponse, 'GET', `/state?${query(gui)}`);
  const list = () => ask(gui, datasetListResponse, 'GET', `/datasets/list?${query(gui)}`);
  expect((await gui.client.send('OPTIONS', '/datasets/ok/upload')).status).not.toBe(404);
  await ask(gui, healthResponse, 'GET', gui.byField ? `/health?recipe_id=${gui.recipe}` : '/health');
  expect(await state()).toMatchObject({ memory_fitted: false, calib_present: false });

  // 12 OK and 4 NG with metas.
  const metaOf = (i: number) =>
    `{"source":"C:\\\\img\\\\${i}.png","angle":-1.5E-05,"mm_per_px":${gui.scale},"shape_json":${JSON.stringify(shapes.circle)}}`;
  const ok = await upload(
    gui,
    'ok',
    good,
    good.map((_, i) => metaOf(i)),
  );
  const ng = await upload(
    gui,
    'ng',
    bad,
    bad.map((_, i) => metaOf(i)),
  );
  expect([ok.saved.length, ng.saved.length, ok.mm_per_px]).toEqual([12, 4, Number(gui.scale)]);

  // List and download.
  expect((await list()).classes).toMatchObject({
    ok: { count: 12, files: ok.saved },
    ng: { count: 4, files: ng.saved, meta: { [ng.saved[3] as string]: true } },
  });
  for (const [i, filename] of ok.saved.entries()) {
    const file = await gui.client.send('GET', `/datasets/file?${query(gui, { label: 'ok', filename })}`);
    expect(file.bytes.equals(Buffer.from((good[i] as PartPicture).bytes))).toBe(true);
  }
  const meta = await gui.client.send(
    'GET',
    `/datasets/meta?${query(gui, { label: 'ng', filename: ng.saved[2] as string })}`,
  );
  expect(meta.json()).toMatchObject({
    source: 'C:\\img\\2.png',
    angle: -1.5e-5,
    mm_per_px: Number(gui.scale),
    label: 'ng',
    role_id: role,
    recipe_id: gui.recipe,
  });

  // Fit from the dataset, with the ROI of each sample.
  const fit = await ask(
    gui,
    fitOkResponse,
    'POST',
    '/fit_ok',
    formContent([
      ...idParts(gui),
      textPart('mm_per_px', gui.scale),
      textPart('use_dataset', 'True'),
      textPart('memory_fit', 'False'),
    ]),
  );
  expect(fit.n_images).toBe(12);
  expect(fit.n_embeddings).toBeLessThan(12 * 1024);
  expect(await state()).toMatchObject({ memory_fitted: true, calib_present: false });

  // Calibrate with the dataset.
  const members = `"default_mm_per_px":${gui.scale},"score_percentile":99,"area_mm2_thr":0E-05,"require_ng":true`;
  const calibration = await ask(gui, calibrateDatasetResponse, 'POST', '/calibrate_dataset', json(gui, members));
  expect(calibration).toMatchObject({ n_ok: 12, n_ng: 4, errors: [], model_key: roi, score_percentile: 99 });
  expect(calibration.samples.slice(0, 12).map(({ score }) => score)).toEqual(fit.leave_one_out_scores);
  expect(await state()).toMatchObject({ memory_fitted: true, calib_present: true });
  const manifest = await ask(gui, manifestResponse, 'GET', `/manifest?${query(gui)}`);
  expect(manifest).toMatchObject({
    memory: true,
    calib: { threshold: calibration.threshold },
    datasets: { classes: { ok: { count: 12 } } },
  });

  // Infer with each shape; the GUI's crops are BGRA whose alpha repeats the mask.
  const [part] = held as [PartPicture];
  const rgba = await sharp(part.bytes).ensureAlpha(0.5).png().toBuffer();
  for (const shape of Object.values(shapes)) {
    const answer = await infer(gui, { name: 'x.png', bytes: rgba }, shape);
    expect(answer.threshold).toBe(calibration.threshold);
    expect(answer.score).toBe((await infer(gui, part, shape)).score);
    const heatmap = await sharp(Buffer.from(answer.heatmap_png_base64 as string, 'base64')).metadata();
    expect([heatmap.width, heatmap.height]).toEqual([384, 384]);
  }
  for (const picture of held) expect((await infer(gui, picture, shapes.circle)).decision).toBe('ok');
  const scratched = await infer(gui, bad[0] as PartPicture, shapes.circle);
  expect(scratched).toMatchObject({ decision: 'ng', params: { mm_per_px: Number(gui.scale) } });
  const [region] = scratched.regions;
  expect(region?.bbox).toEqual([region?.x, region?.y, region?.w, region?.h]);
  expect(region?.area_mm2).toBeCloseTo((region?.area_px as number) * Number(gui.scale) ** 2, 9);

  // Inspect the whole dataset.
  const inspected = await ask(
    gui,
    inferDatasetResponse,
    'POST',
    '/infer_dataset',
    json(gui, `"labels":["ok","ng"],"include_heatmap":false,"default_mm_per_px":${gui.scale}`),
  );
  expect(inspected).toMatchObject({ n_total: 16, n_errors: 0 });
  expect(inspected.items.map(({ label, decision }) => `${label} ${decision}`)).toEqual([
    ...new Array(12).fill('ok ok'),
    ...new Array(4).fill('ng ng'),
  ]);
  expect(inspected.items[12]).toMatchObject({ score: scratched.score, n_regions: scratched.regions.length });

  // Delete one, clear the rest; the model stays.
  const [first = ''] = ok.saved;
  const deletion = `/datasets/file?${query(gui, { label: 'ok', filename: first })}`;
  expect(await ask(gui, sampleDeletedResponse, 'DELETE', deletion)).toMatchObject({ deleted: true, filename: first });
  expect((await gui.client.send('GET', deletion)).status).toBe(404);
  const clear = (label: string) =>
    ask(gui, datasetClearedResponse, 'DELETE', `/datasets/clear?${query(gui, { label })}`);
  expect((await clear('ok')).cleared).toBe(11);
  expect((await clear('ng')).cleared).toBe(4);
  expect((await list()).classes).toMatchObject({ ok: { count: 0 }, ng: { count: 0 } });
  expect(await state()).toMatchObject({ memory_fitted: true, calib_present: true });
  expect((await infer(gui, bad[0] as PartPicture, shapes.circle)).score).toBe(scratched.score);
}

describe('the GUI of the second generation', () => {
  it('walks its whole cycle in two recipes at once, with the header and with the field', async () => {
    const clients = [dotNetClient(okng.url, { 'X-Recipe-Id': 'Line-A' }), dotNetClient(okng.url, {})] as const;
    await Promise.all([
      cycle({ recipe: 'line-a', scale: '1E-05', client: clients[0], byField: false }),
      cycle({ recipe: 'line-b', scale: '0.25', client: clients[1], byField: true }),
    ]);
    // Neither of them has touched the default recipe.
    const plain = { recipe: 'default', scale: '1', client: clients[1], byField: false };
    expect(await ask(plain, stateResponse, 'GET', `/state?${query(plain)}`)).toMatchObject({
      memory_fitted: false,
      mm_per_px: null,
    });
    for (const client of clients) client.close();
  });
});
