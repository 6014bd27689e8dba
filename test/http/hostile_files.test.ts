import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { problemBody } from '../../src/http/responses.ts';
import { partPictures } from '../parts.ts';
import { postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

/**
 * A models folder whose files are not what they should be, or lead elsewhere: answers are those of the contract, tell neither
 * a path of the host nor a stack, and nothing outside the folder is read or written.
 */

const model = { role_id: 'flange', roi_id: 'top' };
const query = 'role_id=flange&roi_id=top';
const scale = { mm_per_px: '0.1' };
const pictures = partPictures('train/good').map(
  ({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name),
);
const secret = 'what nobody may read';

const outside = mkdtempSync(join(tmpdir(), 'okng-outside-'));
let okng: TestApp;
let pristine: string;
/** Every file below the models folder. */
let files: readonly string[];
let sample: string;
let job: string;

beforeAll(async () => {
  okng = await startTestApp();
  expect((await postForm(okng, '/fit_ok', { ...model, ...scale, images: pictures.slice(0, 2) })).status).toBe(200);
  expect((await postJson(okng, '/calibrate_ng', { ...model, ok_scores: [0.1, 0.2] })).status).toBe(200);
  const upload = await postForm(okng, '/datasets/ok/upload', { ...model, images: pictures[0] as File, metas: '{}' });
  [sample] = upload.body.saved as [string];
  const asked = await postForm(
    okng,
    '/fit_ok',
    { ...model, ...scale, images: pictures.slice(0, 2) },
    { Prefer: 'respond-async' },
  );
  job = asked.body.id as string;
  while ((await okng.service.jobs.result(job)) === null) await new Promise((resolve) => setTimeout(resolve, 20));
  pristine = join(dirname(okng.modelsDir), 'pristine');
  cpSync(okng.modelsDir, pristine, { recursive: true });
  files = (readdirSync(pristine, { recursive: true }) as string[])
    .filter((name) => statSync(join(pristine, name)).isFile())
    .sort();
  writeFileSync(join(outside, 'secret'), secret);
});

beforeEach(() => {
  rmSync(okng.modelsDir, { recursive: true, force: true });
  cpSync(pristine, okng.modelsDir, { recursive: true });
});

afterAll(async () => {
  await okng.close();
  rmSync(outside, { recursive: true, force: true });
});

/** Everything that looks at files; writers last. */
async function askEverything(): Promise<
  readonly { readonly asked: string; readonly status: number; readonly text: string }[]
> {
  const answers: { asked: string; status: number; text: string }[] = [];
  const gets = [
    ...[
      `/state?${query}`,
      `/manifest?${query}`,
      '/models/flange/top/health',
      `/datasets/list?${query}`,
      '/recipes',
      '/readyz',
    ],
    ...['file', 'meta', 'thumbnail'].map((what) => `/datasets/${what}?${query}&label=ok&filename=${sample}`),
    ...[`/jobs/${job}`, '/recipes/default', '/jobs', '/health'],
  ];
  for (const path of gets) {
    const response = await okng.app.request(path);
    answers.push({
      asked: path,
      status: response.status,
      text: Buffer.from(await response.arrayBuffer()).toString('latin1'),
    });
  }
  const posts = {
    infer: () => postForm(okng, '/infer', { ...model, ...scale, image: pictures[3] as File, include_heatmap: 'false' }),
    infer_dataset: () => postJson(okng, '/infer_dataset', model),
    calibrate_dataset: () => postJson(okng, '/calibrate_dataset', { ...model, require_ng: false }),
    upload: () => postForm(okng, '/datasets/ng/upload', { ...model, images: pictures[4] as File }),
    calibrate_ng: () => postJson(okng, '/calibrate_ng', { ...model, ok_scores: [0.1, 0.2] }),
    fit: () => postForm(okng, '/fit_ok', { ...model, ...scale, images: pictures.slice(0, 2) }),
  };
  for (const [asked, ask] of Object.entries(posts)) {
    const { status, body } = await ask();
    answers.push({ asked, status, text: JSON.stringify(body) });
  }
  return answers;
}

async function expectContractOnly(): Promise<void> {
  for (const { asked, status, text } of await askEverything()) {
    const seen = `${asked}: ${status} ${text.slice(0, 300)}`;
    expect(text.includes(dirname(okng.modelsDir)) || text.includes(outside), seen).toBe(false);
    expect(text, seen).not.toMatch(/node_modules|\bat .{1,200}\.[jt]s:\d+/);
    expect(text.includes(secret), seen).toBe(false);
    expect(status < 500 || status === 503, seen).toBe(true);
    if (status >= 400 && asked !== '/readyz') problemBody.parse(JSON.parse(text));
  }
}

const kinds: Readonly<Record<string, (path: string) => void>> = {
  'a folder': (path) => mkdirSync(path),
  empty: (path) => writeFileSync(path, ''),
  noise: (path) => writeFileSync(path, Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 89) % 256))),
  'other JSON': (path) => writeFileSync(path, '{"a":[1,2,{"b":null}]}'),
  'a link to a file outside': (path) => symlinkSync(join(outside, 'secret'), path),
  'a link in a circle': (path) => symlinkSync(path, path),
};

it.each(Object.keys(kinds))('each file in its turn is %s', async (kind) => {
  expect(files.length).toBeGreaterThan(6);
  for (const name of files) {
    const path = join(okng.modelsDir, name);
    rmSync(path, { recursive: true, force: true });
    kinds[kind]?.(path);
    await expectContractOnly();
    rmSync(okng.modelsDir, { recursive: true, force: true });
    cpSync(pristine, okng.modelsDir, { recursive: true });
  }
  expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe(secret);
  expect(readdirSync(outside)).toEqual(['secret']);
});

it.each([
  ['a file', (path: string) => writeFileSync(path, 'x')],
  ['a link to a folder outside', (path: string) => symlinkSync(outside, path)],
  ['a link in a circle', (path: string) => symlinkSync(path, path)],
])('each folder in its turn is %s', async (_, put) => {
  const folders = [...new Set(files.map(dirname))].filter((name) => name !== '.');
  for (const name of [...folders, 'recipes']) {
    const path = join(okng.modelsDir, name);
    rmSync(path, { recursive: true, force: true });
    put(path);
    await expectContractOnly();
    rmSync(okng.modelsDir, { recursive: true, force: true });
    cpSync(pristine, okng.modelsDir, { recursive: true });
  }
  expect(readdirSync(outside)).toEqual(['secret']);
});

it('the models folder is a file', async () => {
  renameSync(okng.modelsDir, `${okng.modelsDir}-away`);
  writeFileSync(okng.modelsDir, 'x');
  await expectContractOnly();
  rmSync(`${okng.modelsDir}-away`, { recursive: true });
});

it.each(['_calib.json', '.npz'])('a link to a good %s outside is not followed, and inside it is', async (suffix) => {
  const name = files.find((file) => dirname(file) === '.' && file.endsWith(suffix)) as string;
  const path = join(okng.modelsDir, name);
  const ask = () =>
    postForm(okng, '/infer', { ...model, ...scale, image: pictures[3] as File, include_heatmap: 'false' });
  renameSync(path, join(outside, 'good'));
  symlinkSync(join(outside, 'good'), path);
  const refused = await ask();
  expect({ status: refused.status, code: refused.body.code }).toEqual({ status: 503, code: 'damaged_file' });
  expect(refused.body.error).toMatch(/a link that leads out of the models folder/);
  rmSync(path);
  renameSync(join(outside, 'good'), join(okng.modelsDir, 'moved'));
  symlinkSync('moved', path);
  expect((await ask()).status).toBe(200);
});

const tricks = [
  '../../../secret',
  '..%2f..%2fsecret',
  '..\\secret',
  '/etc/passwd',
  'a\0b',
  '.',
  '..',
  '../ok/x.png',
  'C:\\boot.ini',
  'CON',
  '.tmp-x',
  '\u202e.png',
] as const;

it.each(tricks)('names from a caller never become a path: %j', async (trick) => {
  const before = okng.files();
  const text = encodeURIComponent(trick);
  for (const path of [
    `/datasets/file?${query}&label=ok&filename=${text}`,
    `/datasets/file?${query}&label=${text}&filename=${sample}`,
    `/datasets/meta?role_id=${text}&roi_id=${text}&label=ok&filename=${sample}`,
    `/datasets/list?${query}&recipe_id=${text}`,
    `/state?role_id=${text}&roi_id=${text}&model_key=${text}`,
    `/models/${text}/${text}/health?model_key=${text}`,
    `/recipes/${text}`,
    `/jobs/${text}`,
    `/docs/${text}`,
  ]) {
    for (const method of ['GET', 'DELETE']) {
      const response = await okng.app.request(path, { method });
      const body = await response.text();
      expect(response.status, `${method} ${path} ${body}`).toBeLessThan(500);
      expect(body).not.toContain(dirname(okng.modelsDir));
    }
  }
  expect(okng.files()).toEqual(before);
  // What may be an id is one; its files lie in the folder, under names of ours.
  const ids = { role_id: trick, roi_id: trick, model_key: trick };
  const { status } = await postJson(okng, '/calibrate_ng', { ...ids, ok_scores: [1, 2] });
  const upload = await postForm(okng, '/datasets/ok/upload', {
    ...ids,
    images: new File([pictures[0] as File], trick),
  });
  // No header, of a part neither, can hold a NUL.
  expect([status, upload.status]).toEqual([200, trick.includes('\0') ? 400 : 200]);
  const added = Object.keys(okng.files()).filter((name) => !(name in before));
  expect(added.length).toBeGreaterThan(0);
  for (const name of added) expect(name).toMatch(/^models\/[\w~./-]+$/);
  for (const name of added) expect(name.split('/')).not.toContain('..');
});
