import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createDatasetStore, type DatasetStore } from '../../src/store/dataset_store.ts';

/** The changes of the disk are counted; `fails` says what happens at one, instead of it. */
const disk = vi.hoisted(() => ({
  changes: [] as string[],
  fails: (_change: number): string | undefined => undefined,
  written: [] as string[],
  metasRead: 0,
}));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const spend = (change: string) => {
    const code = disk.fails(disk.changes.push(change));
    if (code !== undefined) throw Object.assign(new Error(`${code} at ${change}`), { code });
  };
  const open: typeof real.open = async (path, flags, mode) => {
    if (flags !== 'r') spend('write');
    if (flags === 'r' && String(path).endsWith('.json')) disk.metasRead++;
    const handle = await real.open(path, flags, mode);
    const { sync, write } = handle;
    handle.write = ((content: Uint8Array, ...rest: unknown[]) => {
      disk.written.push(content[0] === '{'.charCodeAt(0) ? 'meta' : 'picture');
      return Reflect.apply(write, handle, [content, ...rest]);
    }) as typeof write;
    handle.sync = () => {
      spend(flags === 'r' ? 'sync folder' : 'sync');
      return sync.call(handle);
    };
    return handle;
  };
  const rename: typeof real.rename = async (from, to) => {
    spend(`show ${String(to).split('.').at(-1)}`);
    await real.rename(from, to);
  };
  const unlink: typeof real.unlink = async (path) => {
    spend(`remove ${String(path).split('.').at(-1)}`);
    await real.unlink(path);
  };
  return { ...real, open, rename, unlink };
});

const key = { recipeId: 'line2', roleId: 'a', roiId: 'b' };
const upload = ['one', 'two', 'three'].map((content) => ({
  bytes: new TextEncoder().encode(content),
  extension: 'png' as const,
  meta: { content },
}));

let modelsDir = '';
let folder = '';
let store: DatasetStore;
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-crash-'));
  folder = join(modelsDir, 'recipes/line2/datasets/YQ__Yg/ok');
  store = createDatasetStore(modelsDir);
  Object.assign(disk, { changes: [], fails: () => undefined, written: [], metasRead: 0 });
});
afterEach(async () => {
  disk.fails = () => undefined;
  await rm(modelsDir, { recursive: true, force: true });
});

/** Every sample that is listed can be read, with the meta and fingerprint that came with it. @returns their contents */
async function wholeSamples(of: DatasetStore): Promise<string[]> {
  const fingerprints = await of.fingerprints(key, 'ok');
  const contents: string[] = [];
  for (const { name, hasMeta } of (await of.list(key)).ok) {
    const { bytes, meta, metaProblem } = await of.readSample(key, 'ok', name);
    const content = new TextDecoder().decode(bytes);
    expect({ hasMeta, metaProblem, content: meta.content }).toEqual({ hasMeta: true, metaProblem: undefined, content });
    expect(fingerprints.get(name)?.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    contents.push(content);
  }
  return contents;
}

describe('an upload', () => {
  it('syncs every file, shows the metas, then the pictures, each lot synced', async () => {
    await store.save(key, 'ok', upload);
    const steps = disk.changes.filter((change) => change !== 'write');
    const makingFolders = steps.lastIndexOf('sync folder', steps.indexOf('sync'));
    expect(steps.slice(makingFolders + 1)).toEqual([
      ...new Array(6).fill('sync'),
      ...new Array(3).fill('show json'),
      'sync folder',
      ...new Array(3).fill('show png'),
      'sync folder',
    ]);
    // Three are written at a time, so only both ends are sure.
    expect([disk.written[0], disk.written.at(-1)]).toEqual(['picture', 'meta']);
  });

  it('leaves nothing or whole samples wherever the power fails, and nothing else after the sweep', async () => {
    await store.save(key, 'ok', []);
    const found: number[] = [];
    for (let changes = 0; found.at(-1) !== upload.length; changes++) {
      Object.assign(disk, { changes: [], fails: (change: number) => (change > changes ? 'EPOWER' : undefined) });
      await store.save(key, 'ok', upload).catch(() => undefined);
      disk.fails = () => undefined;
      const revived = createDatasetStore(modelsDir);
      const contents = await wholeSamples(revived);
      expect(contents).toEqual(['one', 'two', 'three'].slice(0, contents.length));
      found.push(contents.length);
      await revived.removeStaleFiles(Date.now() + 1000, 0);
      expect(await readdir(folder)).toHaveLength(2 * contents.length);
      await revived.clear(key, 'ok');
    }
    // Six files written and synced, three metas shown and synced, then the pictures one by one.
    expect(found).toEqual([...new Array(17).fill(0), 1, 2, 3]);
  });

  it.each(['ENOSPC', 'EIO'])('that fails once with %s, anywhere, stores nothing and says so', async (code) => {
    await store.save(key, 'ok', []);
    let done = false;
    for (let at = 1; !done; at++) {
      Object.assign(disk, { changes: [], fails: (change: number) => (change === at ? code : undefined) });
      const failure = await store.save(key, 'ok', upload).then(
        () => undefined,
        (error) => error,
      );
      done = failure === undefined;
      const where = `${code} at change ${at}, ${disk.changes[at - 1]}`;
      expect(await readdir(folder), where).toHaveLength(done ? 6 : 0);
      if (done) continue;
      expect(failure, where).toMatchObject({ code: code === 'ENOSPC' ? 'storage_full' : 'storage_unavailable' });
      expect(failure.message, where).not.toMatch(/only '|recipes|okng-crash/);
    }
    expect(disk.changes).toHaveLength(20);
  });

  it('names the failure of a disk that does not even let the temps be removed', async () => {
    await store.save(key, 'ok', []);
    Object.assign(disk, { changes: [], fails: (change: number) => (change > 4 ? 'EROFS' : undefined) });
    await expect(store.save(key, 'ok', upload)).rejects.toMatchObject({ code: 'storage_unavailable' });
  });

  it('names what it cannot take back from a disk that fails for good', async () => {
    await store.save(key, 'ok', []);
    Object.assign(disk, { changes: [], fails: (change: number) => (change > 18 ? 'EROFS' : undefined) });
    await expect(store.save(key, 'ok', upload)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringMatching(
        /only (?:'[0-9a-f-]+\.json', ){3}'[0-9a-f-]+\.png', '[0-9a-f-]+\.png' was replaced/,
      ),
    });
    disk.fails = () => undefined;
    expect(await wholeSamples(store)).toEqual(['one', 'two']);
  });
});

describe('a removal', () => {
  it('takes the picture before its meta, each synced, and can be repeated after a failure', async () => {
    const [name = ''] = await store.save(key, 'ok', upload);
    const steps = ['remove png', 'sync folder', 'remove json', 'sync folder'];
    disk.changes = [];
    expect(await store.remove(key, 'ok', name)).toBe(true);
    expect(disk.changes).toEqual(steps);
    for (let at = 1; at <= steps.length; at++) {
      const [again = ''] = await store.save(key, 'ok', upload.slice(0, 1));
      Object.assign(disk, { changes: [], fails: (change: number) => (change === at ? 'EIO' : undefined) });
      await expect(store.remove(key, 'ok', again), steps[at - 1]).rejects.toMatchObject({
        code: 'storage_unavailable',
      });
      disk.fails = () => undefined;
      await wholeSamples(store);
      await store.remove(key, 'ok', again);
      await store.removeStaleFiles(Date.now() + 1000, 0);
      expect(await readdir(folder)).toHaveLength(4);
    }
  });

  it('of a whole class leaves whole samples when it is cut short', async () => {
    await store.save(key, 'ok', upload);
    Object.assign(disk, { changes: [], fails: (change: number) => (change === 2 ? 'EACCES' : undefined) });
    await expect(store.clear(key, 'ok')).rejects.toMatchObject({ code: 'storage_unavailable' });
    disk.fails = () => undefined;
    expect(await wholeSamples(store)).toEqual(['two', 'three']);
    disk.changes = [];
    expect(await store.clear(key, 'ok')).toBe(2);
    expect(disk.changes).toEqual([
      'remove png',
      'remove png',
      'sync folder',
      'remove json',
      'remove json',
      'sync folder',
    ]);
  });
});

describe('fingerprints', () => {
  const fingerprintsRead = async (roi: number) => {
    disk.metasRead = 0;
    await store.fingerprints({ ...key, roiId: `${roi}` }, 'ok');
    return disk.metasRead;
  };

  it('read each meta once', async () => {
    await store.save({ ...key, roiId: '0' }, 'ok', upload);
    expect(await fingerprintsRead(0)).toBe(3);
    expect(await fingerprintsRead(0)).toBe(0);
    await store.save({ ...key, roiId: '0' }, 'ok', upload.slice(0, 1));
    expect(await fingerprintsRead(0)).toBe(1);
  });

  it('forget the folder that was asked for longest ago when there are more than 16', async () => {
    for (let roi = 0; roi <= 16; roi++) await store.save({ ...key, roiId: `${roi}` }, 'ok', upload);
    for (let roi = 0; roi < 16; roi++) await fingerprintsRead(roi);
    expect(await fingerprintsRead(0)).toBe(0);
    expect(await fingerprintsRead(16)).toBe(3);
    expect(await fingerprintsRead(0)).toBe(0);
    expect(await fingerprintsRead(1)).toBe(3);
  });
});

it('keeps every answered sample of several processes that are killed', { timeout: 120_000 }, async () => {
  const script = fileURLToPath(new URL('./dataset_keep_saving.ts', import.meta.url));
  const answered = await Promise.all(
    ['left', 'right'].map(async (who) => {
      const child = spawn(process.execPath, ['--import', 'tsx', script, modelsDir, who], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      for await (const chunk of child.stdout) {
        output += chunk;
        if (output.split('\n').length > 20) child.kill('SIGKILL');
      }
      // A line that the kill cut off is no answer.
      return output.split('\n').slice(0, -1).join(' ').split(' ');
    }),
  );
  const contents = await wholeSamples(store);
  const names = new Set((await store.list(key)).ok.map(({ name }) => name));
  expect(answered.flat().length).toBeGreaterThanOrEqual(120);
  expect(new Set(answered.flat()).size).toBe(answered.flat().length);
  for (const name of answered.flat()) expect(names).toContain(name);
  expect(new Set(contents).size).toBe(contents.length);
});
