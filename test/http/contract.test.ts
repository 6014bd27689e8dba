import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inferResponse, problemBody } from '../../src/http/responses.ts';
import { partPictures } from '../parts.ts';
import { answer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

/**
 * The wire contract's common rules on the endpoints of both generations, and the finer points of the four core ones;
 * `core.test.ts` has the plain ones. `contract.md` tells where each promise of the contract is tested.
 */

let okng: TestApp;
const model = { role_id: 'flange', roi_id: 'top', mm_per_px: '0.1' };
const ids = { role_id: 'flange', roi_id: 'top' };
const scores = { ...ids, ok_scores: [1] };
const file = (bytes: Uint8Array, name: string) => new File([bytes as Uint8Array<ArrayBuffer>], name);
const good = partPictures('train/good').map(({ name, bytes }) => file(bytes, name));
const [scratched] = partPictures('test/scratch') as [{ name: string; bytes: Uint8Array }];
const image = file(scratched.bytes, scratched.name);
/** A stored sample. */
let filename = '';

beforeAll(async () => {
  okng = await startTestApp();
  expect((await postForm(okng, '/fit_ok', { ...model, images: good.slice(0, 4) })).status).toBe(200);
  const upload = (label: string, picture: File) =>
    postForm(okng, `/datasets/${label}/upload`, { ...ids, images: picture, metas: '{"Angle":-1.5E-05,"note":"ñ"}' });
  const { body } = await upload('ok', good.at(-1) as File);
  [filename] = body.saved as [string];
  expect((await upload('ng', image)).status).toBe(200);
});

afterAll(() => okng.close());

type Ask = (headers: Readonly<Record<string, string>>) => Response | Promise<Response>;

function form(fields: Readonly<Record<string, string | File | readonly File[]>>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    for (const item of Array.isArray(value) ? value : [value]) data.append(name, item as string | File);
  }
  return data;
}

const post =
  (path: string, body: () => FormData | string): Ask =>
  (headers) =>
    okng.app.request(path, { method: 'POST', body: body(), headers });

const query =
  (method: string, path: string, more: () => Readonly<Record<string, string>> = () => ({})): Ask =>
  (headers) =>
    okng.app.request(`${path}?${new URLSearchParams({ ...ids, ...more() })}`, { method, headers });

/** Good and bad requests of every endpoint, and the status each is answered with. */
const answers: readonly (readonly [string, number, Ask])[] = [
  ['/health', 200, (headers) => okng.app.request('/health', { headers })],
  ['/fit_ok', 200, post('/fit_ok', () => form({ ...model, roi_id: 'one', images: good.slice(0, 1) }))],
  ['/calibrate_ng', 200, post('/calibrate_ng', () => JSON.stringify({ ...scores, roi_id: 'one' }))],
  ['/infer', 200, post('/infer', () => form({ ...model, image }))],
  ['/fit_ok without pictures', 400, post('/fit_ok', () => form(model))],
  ['/calibrate_ng without a body', 400, post('/calibrate_ng', () => '')],
  ['/infer without a form', 415, post('/infer', () => '')],
  ['/infer of a text', 415, post('/infer', () => form({ ...model, image: file(Buffer.from('text'), 'a.png') }))],
  ['/infer without a memory', 400, post('/infer', () => form({ ...model, roi_id: 'none', image }))],
  ['/infer at another scale', 409, post('/infer', () => form({ ...model, mm_per_px: '7', image }))],
  ['GET /fit_ok', 405, (headers) => okng.app.request('/fit_ok', { headers })],
  ['/nowhere', 404, (headers) => okng.app.request('/nowhere', { headers })],
  ['/state', 200, query('GET', '/state')],
  ['/state of what is not there', 200, query('GET', '/state', () => ({ roi_id: 'none' }))],
  ['/manifest', 200, query('GET', '/manifest')],
  ['/datasets/ok/upload', 200, post('/datasets/ok/upload', () => form({ ...ids, images: good.slice(8, 9) }))],
  ['/datasets/ng/upload', 200, post('/datasets/ng/upload', () => form({ ...ids, roi_id: 'two', images: image }))],
  ['/datasets/ok/upload without pictures', 422, post('/datasets/ok/upload', () => form(ids))],
  ['/datasets/list', 200, query('GET', '/datasets/list')],
  ['/datasets/meta', 200, query('GET', '/datasets/meta', () => ({ label: 'ok', filename }))],
  ['/datasets/meta of no sample', 404, query('GET', '/datasets/meta', () => ({ label: 'ok', filename: 'a.png' }))],
  ['/datasets/file of a bad label', 400, query('GET', '/datasets/file', () => ({ label: 'bad', filename }))],
  ['DELETE /datasets/file', 200, query('DELETE', '/datasets/file', () => ({ label: 'ok', filename: 'a.png' }))],
  ['/datasets/clear', 200, query('DELETE', '/datasets/clear', () => ({ roi_id: 'none', label: 'ng' }))],
  ['/calibrate_dataset', 200, post('/calibrate_dataset', () => JSON.stringify(ids))],
  ['/calibrate_dataset without a role', 422, post('/calibrate_dataset', () => '{"roi_id":"top"}')],
  ['/infer_dataset', 200, post('/infer_dataset', () => JSON.stringify({ ...ids, include_heatmap: true }))],
  ['/infer_dataset without a memory', 400, post('/infer_dataset', () => JSON.stringify({ ...ids, roi_id: 'none' }))],
];

/** Every key of a JSON value, however deep. Names of samples and what the client said of one are not ours to spell. */
function keysOf(value: unknown): readonly string[] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap(keysOf);
  return Object.entries(value).flatMap(([key, inner]) => [key, ...keysOf(inner)]);
}

const notOurs = (key: string) => key.startsWith(filename.slice(0, 4)) || key === 'Angle';

describe.each(answers)('the answer of %s', (_, expected, ask) => {
  it(`is ${expected}, UTF-8 JSON with snake_case keys, whole numbers written as such, and the request id`, async () => {
    const response = await ask({ 'X-Request-Id': 'línea 7' });
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await response.arrayBuffer());
    expect(response.status, text).toBe(expected);
    expect(response.headers.get('content-type')).toMatch(expected === 200 ? /^application\/json/ : /problem\+json/);
    // Outside of texts: the base64 of a picture may hold any letters.
    expect(text.replace(/"(?:[^"\\]|\\.)*"/g, '""')).not.toMatch(/\d\.0+[,}\]]|NaN|Infinity/);
    const body = JSON.parse(text) as Record<string, unknown>;
    for (const key of keysOf(body).filter((key) => !notOurs(key))) expect(key).toMatch(/^[a-z][a-z0-9_]*$/);
    expect([response.headers.get('x-request-id'), body.request_id]).toEqual(['línea 7', 'línea 7']);
    expect(body.recipe_id).toBe('default');
    if (expected !== 200) expect(problemBody.parse(body)).toMatchObject({ status: expected, detail: body.error });
    // What the GUI takes for "no memory" and "no calibration" stands on status 400 only.
    if (expected !== 400) expect(text).not.toMatch(/memoria no encontrada|memory not fitted|calibration_missing/i);
  });

  it('has an id of its own when none was sent', async () => {
    const { headers, body } = await answer(await ask({}));
    expect(body.request_id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(headers.get('x-request-id')).toBe(body.request_id);
  });
});

describe('the recipe', () => {
  type Fields = Readonly<Record<string, string>>;

  const posted: readonly (readonly [string, (fields: Fields) => FormData | string])[] = [
    ['/calibrate_ng', (fields) => JSON.stringify({ ...scores, ...fields })],
    ['/infer', (fields) => form({ ...model, ...fields, include_heatmap: 'false', image })],
    ['/fit_ok', (fields) => form({ ...model, ...fields, images: good.slice(0, 1) })],
    ['/datasets/ok/upload', (fields) => form({ ...ids, ...fields, roi_id: 'recipes', images: good.slice(0, 1) })],
    ['/datasets/ng/upload', (fields) => form({ ...ids, ...fields, roi_id: 'recipes', images: image })],
    ['/calibrate_dataset', (fields) => JSON.stringify({ ...ids, ...fields })],
    ['/infer_dataset', (fields) => JSON.stringify({ ...ids, ...fields })],
  ];

  it.each(posted)(
    'of %s is the one in the payload, else in the query, else in the header, else default',
    async (path, bodyOf) => {
      const recipeOf = async (query: string, fields: Fields, headers: Fields) => {
        const request = { method: 'POST', body: bodyOf(fields), headers };
        const { status, body } = await answer(await okng.app.request(`${path}${query}`, request));
        // A recipe's dataset is its own: one without samples is told under its name.
        if (body.code !== 'insufficient_ok_samples') expect(status, JSON.stringify(body)).toBe(200);
        return body.recipe_id;
      };
      const header = { 'X-Recipe-Id': ' Line-C' };
      expect(await recipeOf('?recipe_id=line-b', { recipe_id: 'LINE-A ' }, header)).toBe('line-a');
      expect(await recipeOf('?recipe_id=line-b', {}, header)).toBe('line-b');
      expect(await recipeOf('', { recipe_id: '' }, header)).toBe('line-c');
      expect(await recipeOf('', {}, {})).toBe('default');
    },
  );

  it.each([
    ['GET', '/health'],
    ['GET', '/state'],
    ['GET', '/manifest'],
    ['GET', '/datasets/list'],
    ['DELETE', '/datasets/file'],
    ['DELETE', '/datasets/clear'],
  ])('of %s %s is the one in the query, else in the header, else default', async (method, path) => {
    const recipeOf = async (more: Fields, headers: Fields) => {
      const asked = new URLSearchParams({ ...ids, roi_id: 'none', label: 'ng', filename: 'a.png', ...more });
      const { status, body } = await answer(await okng.app.request(`${path}?${asked}`, { method, headers }));
      expect(status, JSON.stringify(body)).toBe(200);
      return body.recipe_id;
    };
    expect(await recipeOf({ recipe_id: ' LINE-B' }, { 'X-Recipe-Id': 'line-c' })).toBe('line-b');
    expect(await recipeOf({ recipe_id: '' }, { 'X-Recipe-Id': 'Line-C ' })).toBe('line-c');
    expect(await recipeOf({}, {})).toBe('default');
  });

  it('in the header is checked on every endpoint', async () => {
    const before = okng.files();
    for (const [name, , ask] of answers.filter(([, expected]) => expected === 200)) {
      for (const recipe of ['a b', 'LAST', '-a', 'a'.repeat(65)]) {
        const { status, body } = await answer(await ask({ 'X-Recipe-Id': recipe }));
        expect({ name, status, code: body.code }).toEqual({ name, status: 400, code: 'invalid_value' });
      }
    }
    expect(okng.files()).toEqual(before);
  });
});

describe('ids', () => {
  it('are case-sensitive', async () => {
    for (const other of [{ role_id: 'Flange' }, { roi_id: 'Top' }]) {
      const { status, body } = await postForm(okng, '/infer', { ...model, ...other, image });
      expect({ status, code: body.code }).toEqual({ status: 400, code: 'memory_not_fitted' });
    }
  });

  it('are never a part of a path as they are: what looks like one is stored inside the models folder', async () => {
    const own = await startTestApp();
    const ids = { ...model, role_id: '../../a/b', roi_id: '..\\c', model_key: '../../d' };
    expect((await postForm(own, '/fit_ok', { ...ids, recipe_id: 'line1', images: good.slice(0, 1) })).status).toBe(200);
    expect((await postForm(own, '/fit_ok', { ...ids, model_key: '', images: good.slice(0, 1) })).status).toBe(200);
    expect((await postJson(own, '/calibrate_ng', { ...scores, role_id: '../up', mm_per_px: 0.1 })).status).toBe(200);
    const names = Object.keys(own.files());
    expect(names.length).toBeGreaterThan(6);
    for (const name of names) {
      expect(name === 'models' || name.startsWith('models/')).toBe(true);
      expect(name).toMatch(/^[A-Za-z0-9_\-/.=~]+$/);
      expect(name.split('/')).not.toContain('..');
    }
    const base = `${Buffer.from('../../a/b').toString('base64url')}__${Buffer.from('..\\c').toString('base64url')}`;
    expect(names).toEqual(expect.arrayContaining([`models/${base}.npz`, `models/${base}_index.faiss`]));
    expect((await postForm(own, '/infer', { ...ids, recipe_id: 'line1', image })).status).toBe(200);
    await own.close();
  });

  it('keep fitted models of one ROI apart by model_key', async () => {
    const other = { ...model, model_key: 'second' };
    const before = await postForm(okng, '/infer', { ...model, image });
    expect(before.status).toBe(200);
    await postForm(okng, '/fit_ok', { ...other, images: good.slice(8, 10) });
    const first = await postForm(okng, '/infer', { ...model, image });
    const second = await postForm(okng, '/infer', { ...other, image });
    expect(first.body.score).toBe(before.body.score);
    expect(second.body.score).not.toBe(first.body.score);
    // Without a model_key the ROI's name is the key.
    const named = await postForm(okng, '/infer', { ...model, model_key: 'top', image });
    expect(named.body).toMatchObject({ score: first.body.score, model_key: 'top' });
  });
});

describe('mm_per_px', () => {
  it('is one value per recipe, but for a millionth', async () => {
    const near = await postForm(okng, '/infer', { ...model, mm_per_px: String(0.1 * (1 + 5e-7)), image });
    expect(near.status).toBe(200);
    for (const scale of [0.1 * (1 + 3e-6), 0.1 * (1 - 3e-6)]) {
      const infer = await postForm(okng, '/infer', { ...model, mm_per_px: String(scale), image });
      const fit = await postForm(okng, '/fit_ok', { ...model, mm_per_px: String(scale), images: good.slice(0, 1) });
      const calibrate = await postJson(okng, '/calibrate_ng', { ...scores, mm_per_px: scale });
      for (const { status, body } of [infer, fit, calibrate])
        expect({ status, code: body.code }).toEqual({ status: 409, code: 'mm_per_px_conflict' });
    }
  });

  it('is set by the first fit that succeeds, and by nothing else', async () => {
    const own = await startTestApp();
    const torn = file(scratched.bytes.subarray(0, 500), 'torn.jpg');
    const fitAt = (mmPerPx: string, pictures: readonly File[]) =>
      postForm(own, '/fit_ok', { ...model, mm_per_px: mmPerPx, images: pictures });
    expect((await fitAt('0.7', [good[0] as File, torn])).status).toBe(400);
    expect((await postForm(own, '/infer', { ...model, mm_per_px: '0.8', image })).status).toBe(400);
    expect((await postJson(own, '/calibrate_ng', { ...scores, mm_per_px: 0.9 })).body.mm_per_px).toBe(0.9);
    expect((await fitAt('0.5', good.slice(0, 1))).status).toBe(200);
    expect((await fitAt('0.7', good.slice(0, 1))).status).toBe(409);
    // Another recipe has its own.
    const elsewhere = { ...model, recipe_id: 'line2', mm_per_px: '0.7', images: good.slice(0, 1) };
    expect((await postForm(own, '/fit_ok', elsewhere)).status).toBe(200);
    await own.close();
  });
});

describe('unknown fields', () => {
  it('are ignored: texts, files, JSON members', async () => {
    const more = { threshold: '5', Image: 'x', notes: file(new Uint8Array(3000), 'notes.pdf') };
    const plain = await postForm(okng, '/infer', { ...model, image });
    const infer = await postForm(okng, '/infer', { ...model, ...more, images: good.slice(0, 2), image });
    expect(infer).toMatchObject({ status: 200, body: { score: plain.body.score, threshold: plain.body.threshold } });
    const fit = await postForm(okng, '/fit_ok', { ...model, ...more, roi_id: 'x', images: good.slice(0, 2), image });
    expect(fit).toMatchObject({ status: 200, body: { n_images: 2 } });
    const calibrate = await postJson(okng, '/calibrate_ng', { ...scores, roi_id: 'x', threshold: 5, extra: [null] });
    expect(calibrate).toMatchObject({ status: 200, body: { threshold: 1 } });
    const upload = await postForm(okng, '/datasets/ok/upload', { ...ids, roi_id: 'x', ...more, images: image });
    expect(upload).toMatchObject({ status: 200, body: { saved: [expect.any(String)] } });
    const inferDataset = await postJson(okng, '/infer_dataset', { ...ids, roi_id: 'x', threshold: 5, extra: [null] });
    expect(inferDataset).toMatchObject({ status: 200, body: { n_total: 1 } });
  });
});

describe('/fit_ok', () => {
  it('refuses use_dataset while no OK samples are stored, in the words of the contract', async () => {
    const before = okng.files();
    const { status, body } = await postForm(okng, '/fit_ok', { ...model, use_dataset: 'yes' });
    expect({ status, code: body.code }).toEqual({ status: 400, code: 'insufficient_ok_samples' });
    expect(body.error).toContain('Insufficient OK samples');
    expect(okng.files()).toEqual(before);
  });
});

describe('/calibrate_ng', () => {
  const ids = { role_id: 'numbers', roi_id: 'percentile' };

  it.each([
    [0, 10],
    [50, 11],
    [90, 12.6],
    [100, 13],
  ])('takes the percentile %d of the OK scores, linear between neighbours: %d', async (percentile, expected) => {
    const { body } = await postJson(okng, '/calibrate_ng', {
      ...ids,
      ok_scores: [13, 10, 11],
      score_percentile: percentile,
    });
    expect(body).toMatchObject({ score_percentile: percentile, ok_mean: 34 / 3, ng_mean: 0, p5_ng: null });
    expect(body.threshold).toBeCloseTo(expected, 12);
    expect(body.p99_ok).toBe(body.threshold);
  });

  it('tells mean and 5th percentile of the NG scores', async () => {
    const { body } = await postJson(okng, '/calibrate_ng', { ...ids, ok_scores: [1, 2], ng_scores: [10, 20, 30] });
    expect(body).toMatchObject({ ng_mean: 20, p5_ng: 11, ok_mean: 1.5 });
  });

  it('takes null for everything that may be absent', async () => {
    const nothing = { ng_scores: null, mm_per_px: null, area_mm2_thr: null, score_percentile: null };
    const { status, body } = await postJson(okng, '/calibrate_ng', { ...ids, ok_scores: [1], ...nothing });
    expect(status).toBe(200);
    expect(body).toMatchObject({ mm_per_px: 0.1, area_mm2_thr: 1, score_percentile: 99 });
  });

  it('is written to disk before it is answered, before any memory exists', async () => {
    const own = await startTestApp();
    const { body } = await postJson(own, '/calibrate_ng', { ...ids, ok_scores: [1, 2] });
    const base = `${Buffer.from('numbers').toString('base64url')}__${Buffer.from('percentile').toString('base64url')}`;
    const written = own.files()[`models/${base}_calib.json`] as string;
    const { request_id: _, in_force: _inForce, ...kept } = body;
    expect(JSON.parse(Buffer.from(written, 'base64').toString())).toMatchObject(kept);
    await own.close();
  });
});

describe('/infer', () => {
  const infer = async (fields: Readonly<Record<string, string | File>>) => {
    const { status, body } = await postForm(okng, '/infer', { ...model, image, ...fields });
    expect(status, JSON.stringify(body)).toBe(200);
    return inferResponse.parse(body);
  };

  /** The posted heatmap's pixels; checks that it is what the contract says. */
  const heatmapOf = async (base64: string | null) => {
    const png = Buffer.from(base64 as string, 'base64');
    expect(png.toString('base64')).toBe(base64);
    // PNG's header: 8 bits, colour type gray.
    expect([png.subarray(1, 4).toString(), png[24], png[25]]).toEqual(['PNG', 8, 0]);
    const { data, info } = await sharp(png).extractChannel(0).raw().toBuffer({ resolveWithObject: true });
    return { data, width: info.width, height: info.height };
  };

  it.each([
    [384, 251],
    [130, 384],
  ])('draws and finds in pixels of the uploaded picture, also of one of %d × %d', async (width, height) => {
    const cut = await sharp(scratched.bytes).extract({ left: 0, top: 0, width, height }).png().toBuffer();
    const ids = { roi_id: `cut_${width}` };
    await postForm(okng, '/fit_ok', { ...model, ...ids, images: file(cut, 'cut.png') });
    // A black bar at the right lower end is what the memory has never seen.
    const bar = { left: width - 24, top: height - 40, width: 20, height: 32 };
    const spoilt = await sharp(cut)
      .composite([{ input: { create: { ...bar, channels: 3, background: '#000' } }, left: bar.left, top: bar.top }])
      .png()
      .toBuffer();
    await postJson(okng, '/calibrate_ng', { ...scores, ...ids, ok_scores: [0.1], area_mm2_thr: 0.1 });
    const answered = await infer({ ...ids, image: file(spoilt, 'spoilt.png') });
    const map = await heatmapOf(answered.heatmap_png_base64);
    expect([map.width, map.height]).toEqual([width, height]);
    const [largest] = answered.regions;
    expect(largest?.x).toBeLessThan(bar.left + bar.width);
    expect((largest?.x ?? 0) + (largest?.w ?? 0)).toBeGreaterThan(bar.left);
    expect((largest?.y ?? 0) + (largest?.h ?? 0)).toBeGreaterThan(bar.top);
    for (const { x, y, w, h, contour } of answered.regions) {
      expect(x + w).toBeLessThanOrEqual(width);
      expect(y + h).toBeLessThanOrEqual(height);
      const [columns, rows] = [contour.map(([column]) => column), contour.map(([, row]) => row)];
      expect([Math.min(...columns), Math.min(...rows)]).toEqual([x, y]);
      expect([Math.max(...columns), Math.max(...rows)]).toEqual([x + w - 1, y + h - 1]);
    }
  });

  it('has a heatmap that is 0 outside the mask, everywhere', async () => {
    const shape = { kind: 'Annulus', cx: 190.5, cy: 180, r: 120, r_inner: 60 };
    const { heatmap_png_base64: base64 } = await infer({ shape: JSON.stringify(shape) });
    const { data, width } = await heatmapOf(base64);
    let inside = 0;
    for (let i = 0; i < data.length; i++) {
      const distance = Math.hypot((i % width) - shape.cx, Math.floor(i / width) - shape.cy);
      // A pixel's width of grace at both rims.
      if (distance > shape.r + 1 || distance < shape.r_inner - 1) expect(data[i]).toBe(0);
      else if ((data[i] as number) > 0) inside++;
    }
    expect(inside).toBeGreaterThan(1000);
  });

  it('scores inside the shape only, and takes the whole picture for what is missing', async () => {
    const whole = (await infer({})).score;
    const score = async (shape: object) => (await infer({ shape: JSON.stringify(shape) })).score;
    expect(await score({ kind: 'RECT' })).toBe(whole);
    expect(await score({ kind: 'rect', x: 0, y: 0 })).toBe(whole);
    expect(await score({ kind: 'rect', x: 100.5, y: 80.25, w: 90.5, h: 60 })).not.toBe(whole);
    expect(await score({})).toBe(whole);
    expect((await infer({ shape: '' })).score).toBe(whole);
    const circle = await score({ kind: 'circle' });
    expect(circle).not.toBe(whole);
    expect(await score({ kind: 'annulus' })).toBe(circle);
    expect(await score({ kind: 'circle', cx: 10, cy: 10, r: 8 })).not.toBe(circle);
  });

  it('reads every format, depth and channel order alike', async () => {
    const { data, info } = await sharp(scratched.bytes).raw().toBuffer({ resolveWithObject: true });
    const rgb = () => sharp(data, { raw: { width: info.width, height: info.height, channels: 3 } });
    const gray = await rgb().grayscale().extractChannel(0).raw().toBuffer();
    const score = async (bytes: Uint8Array, name: string) => (await infer({ image: file(bytes, name) })).score;

    const expected = await score(await rgb().png().toBuffer(), 'a.png');
    expect(await score(await rgb().tiff({ compression: 'lzw' }).toBuffer(), 'a.tif')).toBe(expected);
    expect(await score(await rgb().webp({ lossless: true }).toBuffer(), 'a.webp')).toBe(expected);
    expect(await score(bmpOf(data, info.width, info.height), 'a.bmp')).toBe(expected);
    // A name tells nothing.
    expect(await score(bmpOf(data, info.width, info.height), 'a.png')).toBe(expected);
    expect(await score(scratched.bytes, 'a.jpg')).toBe(expected);

    const oneChannel = (samples: Buffer | Uint16Array) =>
      sharp(samples, { raw: { width: info.width, height: info.height, channels: 1 } });
    const grayScore = await score(await oneChannel(gray).toColourspace('b-w').png().toBuffer(), 'gray.png');
    expect(grayScore).not.toBe(expected);
    // 12 bits in a file of 16.
    const deep = Uint16Array.from(gray, (value) => Math.round((value * 4095) / 255));
    const png16 = await oneChannel(deep).toColourspace('grey16').png().toBuffer();
    expect((await sharp(png16).metadata()).depth).toBe('ushort');
    expect(await score(png16, 'deep.png')).toBe(grayScore);
  });
});

/** A bottom-up BMP of 24 bits. */
function bmpOf(rgb: Uint8Array, width: number, height: number): Uint8Array {
  const stride = Math.ceil((width * 3) / 4) * 4;
  const bmp = Buffer.alloc(54 + stride * height);
  bmp.write('BM');
  bmp.writeUInt32LE(bmp.length, 2);
  bmp.writeUInt32LE(54, 10);
  bmp.writeUInt32LE(40, 14);
  bmp.writeInt32LE(width, 18);
  bmp.writeInt32LE(height, 22);
  bmp.writeUInt16LE(1, 26);
  bmp.writeUInt16LE(24, 28);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (row * width + column) * 3;
      const to = 54 + (height - 1 - row) * stride + column * 3;
      bmp.set([rgb[from + 2] as number, rgb[from + 1] as number, rgb[from] as number], to);
    }
  }
  return bmp;
}

describe('settings of the service', () => {
  it('are what its answers say', async () => {
    const set = await startTestApp({
      CORESET_RATE: '0.05',
      BDI_SCORE_PERCENTILE: '95',
      BDI_AREA_MM2_THR: '2.5',
      BDI_SCORE_MODE: 'top_share',
    });
    const fit = await postForm(set, '/fit_ok', { ...model, images: good.slice(0, 2) });
    expect(fit.body).toMatchObject({ coreset_rate_requested: 0.05, coreset_size: Math.ceil(2048 * 0.05) });
    const calibration = await postJson(set, '/calibrate_ng', { ...scores, ok_scores: [1, 2] });
    expect(calibration.body).toMatchObject({ score_percentile: 95, threshold: 1.95, area_mm2_thr: 2.5 });
    const { body } = await postForm(set, '/infer', { ...model, image });
    expect(body.params).toMatchObject({ coreset_rate: 0.05, score_percentile: 95, score_mode: 'top_share' });
    await set.close();
  });
});
