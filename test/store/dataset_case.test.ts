import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createDatasetStore, type DatasetStore } from '../../src/store/dataset_store.ts';

/** A disk that ignores case, as Windows and macOS have it: every path means what already lies there in any spelling. */
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const { dirname, basename, join: joined } = await import('node:path');
  const stored = async (path: string): Promise<string> => {
    const parent = dirname(path);
    if (parent === path) return path;
    const folder = await stored(parent);
    const wanted = basename(path).toLowerCase();
    const names = await real.readdir(folder).catch(() => []);
    return joined(folder, names.find((name) => name.toLowerCase() === wanted) ?? basename(path));
  };
  const through =
    <Rest extends unknown[], Result>(call: (path: string, ...rest: Rest) => Result) =>
    async (path: string, ...rest: Rest) =>
      call(await stored(path), ...rest);
  return {
    ...real,
    lstat: through(real.lstat),
    realpath: through(real.realpath),
    open: through(real.open),
    unlink: through(real.unlink),
    mkdir: through(real.mkdir),
    readdir: through(real.readdir as (path: string, options?: object) => Promise<string[]>),
  };
});

const key = { recipeId: 'line2', roleId: 'aaa', roiId: 'b' };
const sample = { bytes: Uint8Array.of(1), extension: 'png', meta: {} } as const;

let modelsDir = '';
let store: DatasetStore;
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-case-'));
  store = createDatasetStore(modelsDir);
});
afterEach(() => rm(modelsDir, { recursive: true }));

it('takes a name in another spelling for no sample', async () => {
  const [name = ''] = await store.save(key, 'ok', [sample]);
  expect(await store.read(key, 'ok', name)).toEqual(sample.bytes);
  const shouted = name.replace('.png', '.PNG');
  await expect(store.read(key, 'ok', shouted)).rejects.toMatchObject({ code: 'not_found' });
  await expect(store.readMeta(key, 'ok', shouted)).rejects.toMatchObject({ code: 'not_found' });
  expect(await store.remove(key, 'ok', shouted)).toBe(false);
  expect(await store.remove(key, 'ok', name)).toBe(true);
});

it('refuses a role whose folder would be that of another', async () => {
  // YWFh and YWFH.
  const other = { ...key, roleId: 'aaG' };
  const names = await store.save(key, 'ok', [sample]);
  const refused = { code: 'damaged_file', message: expect.stringContaining('YWFH__Yg/ok') };
  await expect(store.save(other, 'ok', [sample])).rejects.toMatchObject(refused);
  await expect(store.list(other)).rejects.toMatchObject(refused);
  await expect(store.clear(other, 'ok')).rejects.toMatchObject(refused);
  expect((await store.list(key)).ok.map(({ name }) => name)).toEqual(names);
});
