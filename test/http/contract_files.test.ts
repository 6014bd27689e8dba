import { copyFileSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeFlatL2 } from '../../src/store/faiss_file.ts';
import { decodeNpz } from '../../src/store/npz.ts';
import { partPictures } from '../parts.ts';
import { answer, postForm, postJson, startTestApp, type TestApp } from './test_app.ts';

/** Where the service leaves its files and where it looks for them, seen over HTTP. */

let okng: TestApp;
beforeEach(async () => {
  okng = await startTestApp();
});
afterEach(() => okng.close());

const good = partPictures('train/good').map(({ name, bytes }) => new File([bytes as Uint8Array<ArrayBuffer>], name));
const [image] = good as [File];
const ids = { role_id: 'Pieza ñ', roi_id: 'top' };
/** base64 of the UTF-8 of both ids, as any base64 tool writes it. */
const base = 'UGllemEgw7E__dG9w';

type Fields = Readonly<Record<string, string>>;

async function learn(fields: Fields, pictures: readonly File[]): Promise<void> {
  const { status, body } = await postForm(okng, '/fit_ok', { ...ids, mm_per_px: '0.1', ...fields, images: pictures });
  expect(status, JSON.stringify(body)).toBe(200);
}

async function calibrate(fields: Fields, threshold: number): Promise<void> {
  expect((await postJson(okng, '/calibrate_ng', { ...ids, ...fields, ok_scores: [threshold] })).status).toBe(200);
}

/** Score and threshold of a picture; the code where there is no answer. */
async function inspect(fields: Fields) {
  const posted = { ...ids, mm_per_px: '0.1', include_heatmap: 'no', ...fields, image: good.at(-1) ?? image };
  const { body } = await postForm(okng, '/infer', posted);
  return { score: body.score ?? body.code, threshold: body.threshold ?? null };
}

/** Those that the contract knows: without the kept generations. */
const fileNames = () =>
  Object.entries(okng.files())
    .filter(([name, content]) => content !== 'a folder' && !name.startsWith('models/jobs'))
    .map(([name]) => name.replace(/^models\//, ''))
    .filter((name) => !name.split('/').includes('generations'));

const modelFiles = ['.npz', '_index.faiss', '_calib.json'];

describe('the files of a model', () => {
  it('of the default recipe and the default model_key lie at the root, all others in the folder of their recipe', async () => {
    await learn({}, [image]);
    await calibrate({}, 1);
    const atRoot = [...modelFiles.map((suffix) => base + suffix), 'recipes/default/recipe_meta.json'];
    expect(fileNames()).toEqual(atRoot.toSorted());
    await learn({ model_key: 'night' }, [image]);
    await learn({ recipe_id: 'Line-2', mm_per_px: '0.5' }, [image]);
    await calibrate({ recipe_id: 'line-2' }, 1);
    const upload = { ...ids, recipe_id: 'line-2', images: image };
    const { body } = await postForm(okng, '/datasets/ng/upload', upload);
    const [name] = body.saved as [string];
    const dataset = `recipes/line-2/datasets/${base}/ng`;
    expect(fileNames()).toEqual(
      [
        ...atRoot,
        `recipes/default/night/${base}.npz`,
        `recipes/default/night/${base}_index.faiss`,
        'recipes/line-2/recipe_meta.json',
        ...modelFiles.map((suffix) => `recipes/line-2/top/${base}${suffix}`),
        `${dataset}/${name}`,
        `${dataset}/${name.replace(/\.jpe?g$/, '.json')}`,
      ].sort(),
    );
    const meta = (recipe: string) =>
      JSON.parse(readFileSync(join(okng.modelsDir, 'recipes', recipe, 'recipe_meta.json'), 'utf8'));
    expect([meta('default').mm_per_px, meta('line-2').mm_per_px]).toEqual([0.1, 0.5]);
  });

  it('hold unit rows in float32, the grid as int64, the metadata as JSON text, and an index of the same rows', async () => {
    await learn({}, good.slice(0, 2));
    const bytes = (suffix: string) => readFileSync(join(okng.modelsDir, base + suffix));
    const arrays = decodeNpz(bytes('.npz'), { fileName: 'a.npz' });
    const bank = arrays.get('emb') as { dtype: 'float32'; shape: [number, number]; data: Float32Array };
    const [rows, columns] = bank.shape;
    expect([bank.dtype, rows]).toEqual(['float32', 41]);
    for (let row = 0; row < rows; row++) {
      const values = bank.data.subarray(row * columns, (row + 1) * columns);
      expect(Math.hypot(...values)).toBeCloseTo(1, 5);
    }
    for (const side of ['token_h', 'token_w'])
      expect(arrays.get(side)).toEqual({ dtype: 'int64', shape: [], data: BigInt64Array.of(32n) });
    expect(arrays.get('metadata')).toMatchObject({ dtype: 'text', shape: [] });
    expect(JSON.parse(String(arrays.get('metadata')?.data[0]))).toMatchObject({ ...ids, mm_per_px: 0.1 });
    const index = decodeFlatL2(bytes('_index.faiss'), 'a.faiss');
    expect(index).toMatchObject({ rows, cols: columns });
    expect(index.data).toEqual(bank.data);
  });
});

describe('a model of another place', () => {
  const own = { recipe_id: 'line-2', model_key: 'k' };
  /** The three files of each place, in the order in which they are looked for. */
  const places = [`recipes/line-2/k/${base}`, `recipes/default/k/${base}`, base, 'Pieza___top'];
  const path = (place: string, suffix: string) => join(okng.modelsDir, place + suffix);

  it('answers when no nearer one does: recipe, default recipe, root, oldest name; each with its own threshold', async () => {
    // The oldest name is never written, so its model comes to its place by hand.
    await learn({}, good.slice(6, 8));
    await calibrate({}, 4);
    const oldest = await inspect({});
    for (const suffix of modelFiles) copyFileSync(path(base, suffix), path('Pieza___top', suffix));
    const expected = [oldest];
    for (const [i, fields] of [{}, { model_key: 'k' }, own].entries()) {
      await learn(fields, good.slice(2 * i, 2 * i + 2));
      await calibrate(fields, 3 - i);
      expected.unshift(await inspect(fields));
    }
    expect(expected.map(({ threshold }) => threshold)).toEqual([1, 2, 3, 4]);
    expect(new Set(expected.map(({ score }) => score)).size).toBe(4);
    for (const [i, place] of places.entries()) {
      expect(await inspect(own)).toEqual(expected[i]);
      for (const suffix of modelFiles) rmSync(path(place, suffix));
    }
    expect(await inspect(own)).toEqual({ score: 'memory_not_fitted', threshold: null });
  });

  it('answers from the folder that the predecessor named with the model_key as it is', async () => {
    const spaced = { recipe_id: 'line-2', model_key: 'ROI 1' };
    await learn(spaced, good.slice(0, 2));
    await calibrate(spaced, 3);
    const before = await inspect(spaced);
    const recipe = join(okng.modelsDir, 'recipes', 'line-2');
    renameSync(join(recipe, '~Uk9JIDE'), join(recipe, 'ROI 1'));
    rmSync(join(recipe, 'ROI 1', 'generations'), { recursive: true });
    expect(await inspect(spaced)).toEqual(before);
    expect(before.threshold).toBe(3);
    const state = await okng.app.request(`/state?${new URLSearchParams({ ...ids, ...spaced })}`);
    expect((await answer(state)).body).toMatchObject({ memory_fitted: true, calib_present: true });
  });

  it('lends no calibration to a memory, and takes none from it', async () => {
    await learn({}, good.slice(0, 2));
    await calibrate({}, 3);
    await learn(own, good.slice(2, 4));
    expect(await inspect(own)).toEqual({ score: expect.any(Number), threshold: null });
    rmSync(path(places[0] as string, '.npz'));
    await calibrate(own, 0.001);
    expect(await inspect(own)).toEqual(await inspect({}));
    expect((await inspect({})).threshold).toBe(3);
  });

  it('stays when the recipe that borrows it deletes what it has', async () => {
    await learn({}, good.slice(0, 2));
    await learn(own, good.slice(2, 4));
    for (const recipe of ['default', 'line-2']) {
      const upload = await postForm(okng, '/datasets/ok/upload', { ...ids, recipe_id: recipe, images: image });
      expect(upload.status).toBe(200);
    }
    const kept = () => Object.entries(okng.files()).filter(([name]) => !name.startsWith('models/recipes/line-2'));
    const before = kept();
    const [sample] = before.map(([name]) => /ok\/(.*\.jpg)$/.exec(name)?.[1]).filter((name) => name !== undefined);
    const remove = async (asked: string, more: Fields = {}) =>
      (
        await answer(
          await okng.app.request(
            `${asked}?${new URLSearchParams({ ...ids, recipe_id: 'line-2', label: 'ok', ...more })}`,
            {
              method: 'DELETE',
            },
          ),
        )
      ).body;
    // A name that only the default recipe's dataset holds.
    expect(await remove('/datasets/file', { filename: sample as string })).toMatchObject({ deleted: false });
    expect(await remove('/datasets/clear')).toMatchObject({ cleared: 1 });
    expect(await remove('/datasets/clear')).toMatchObject({ cleared: 0 });
    expect(await remove('/recipes/line-2', { force: 'true' })).toMatchObject({ deleted: true });
    expect(kept()).toEqual(before);
    expect(await inspect(own)).toEqual(await inspect({}));
  });
});
