import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type BackupRequest, backUpModels } from '../../src/inspection/back_up_models.ts';
import { restoreModels } from '../../src/inspection/restore_models.ts';
import { modelFileBase } from '../../src/store/file_names.ts';
import { filesBelow, writeFiles } from '../store/predecessor_files.ts';

let folder = '';
let source = '';
let target = '';
let archive = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-restore-'));
  source = join(folder, 'source');
  target = join(folder, 'plant', 'models');
  archive = join(folder, 'a.tar');
  writeFiles(source, plant);
});
afterEach(() => rmSync(folder, { recursive: true }));

const base = modelFileBase('Maße', 'roi');
const plant = {
  [`${base}.npz`]: 'memory',
  [`recipes/${'r'.repeat(64)}/datasets/${base}/ok/${'ä'.repeat(120)}.png`]: 'picture with a long name',
  'recipes/line2/recipe_meta.json': '{"mm_per_px":0.1}',
};

const backUp = (more: Partial<BackupRequest> = {}) =>
  backUpModels({
    to: archive,
    replace: false,
    modelsDir: source,
    withExtractors: false,
    okngVersion: '0.1.0',
    now: () => new Date('2026-01-02T03:04:05Z'),
    ...more,
  });
const restore = (dryRun = false, from = archive) => restoreModels({ from, modelsDir: target, dryRun });
const besides = () => readdirSync(join(target, '..'));

describe('backUpModels', () => {
  it('writes one file and leaves nothing beside it', async () => {
    await backUp();
    expect(readdirSync(folder).sort()).toEqual(['a.tar', 'source']);
  });

  it('replaces a file only when told to', async () => {
    writeFileSync(archive, 'old');
    await expect(backUp()).rejects.toThrow(/There is a file 'a\.tar' already; nothing was written/);
    expect(readFileSync(archive, 'utf8')).toBe('old');
    await backUp({ replace: true });
    expect(await restore(true)).toMatchObject({ dry_run: true, files: 3 });
  });

  it('does not replace a file that appears while it is written', async () => {
    const onProgress = () => writeFileSync(archive, 'another');
    await expect(backUp({ onProgress })).rejects.toMatchObject({ code: 'invalid_value' });
    expect(readFileSync(archive, 'utf8')).toBe('another');
    expect(readdirSync(folder).sort()).toEqual(['a.tar', 'source']);
  });

  it.each(['a.tar', 'recipes/a.tar'])('refuses a file in the models folder: %s', async (path) => {
    await expect(backUp({ to: join(source, path) })).rejects.toThrow(/would lie in the models folder/);
    symlinkSync(source, join(folder, 'link'));
    await expect(backUp({ to: join(folder, 'link', path) })).rejects.toThrow(/would lie in the models folder/);
    expect(Object.keys(filesBelow(source)).length).toBe(Object.keys(plant).length);
  });

  it('leaves nothing when it is broken off', async () => {
    const stop = new AbortController();
    const onProgress = () => stop.abort();
    await expect(backUp({ signal: stop.signal, onProgress })).rejects.toMatchObject({ code: 'request_aborted' });
    expect(readdirSync(folder)).toEqual(['source']);
  });

  it.each([
    [{ modelsDir: '/nowhere/models' }, 'not_found', /no models folder/],
    [{ to: '/nowhere/a.tar' }, 'storage_unavailable', /'a\.tar' cannot be written \(ENOENT\)/],
  ])('says what is wrong with %j', async (wrong, code, sentence) => {
    const failure = await backUp(wrong).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code, message: expect.stringMatching(sentence) });
  });
});

describe('restoreModels', () => {
  it.each(['absent', 'empty'])(
    'makes an %s folder the one that was backed up, with the times of its files',
    async (state) => {
      if (state === 'empty') mkdirSync(target, { recursive: true });
      await backUp();
      expect(await restore()).toEqual({
        dry_run: false,
        created_at_utc: '2026-01-02T03:04:05.000Z',
        okng_version: '0.1.0',
        files: 3,
        bytes: Object.values(plant).reduce((sum, text) => sum + text.length, 0),
      });
      expect(filesBelow(target)).toEqual(filesBelow(source));
      for (const path of Object.keys(plant)) {
        const [then, now] = [source, target].map((root) => statSync(join(root, path)).mtimeMs);
        expect(Math.abs((then as number) - (now as number))).toBeLessThan(1.5);
      }
      expect(besides()).toEqual(['models']);
    },
  );

  it('writes nothing in a dry run', async () => {
    await backUp();
    expect(await restore(true)).toMatchObject({ dry_run: true, files: 3 });
    expect(readdirSync(folder).sort()).toEqual(['a.tar', 'source']);
  });

  it('leaves a folder that holds something as it is', async () => {
    await backUp();
    writeFiles(target, { 'a.npz': 'there' });
    await expect(restore()).rejects.toThrow(/The models folder is not empty \(a\.npz\); nothing was restored/);
    expect(Object.keys(filesBelow(target))).toEqual(['a.npz']);
    expect(besides()).toEqual(['models']);
  });

  it('leaves what appears in the folder while it restores', async () => {
    await backUp();
    mkdirSync(target, { recursive: true });
    async function* from() {
      writeFiles(target, { 'a.npz': 'meanwhile' });
      yield readFileSync(archive);
    }
    const restoring = restoreModels({ from: from(), modelsDir: target, dryRun: false });
    await expect(restoring).rejects.toThrow(/The models folder is not empty; nothing was restored/);
    expect(Object.keys(filesBelow(target))).toEqual(['a.npz']);
    expect(besides()).toEqual(['models']);
  });

  it('leaves nothing of an archive that is cut or changed', async () => {
    await backUp();
    const bytes = readFileSync(archive);
    const changed = Buffer.from(bytes);
    changed.write('X', bytes.indexOf('picture with'));
    for (const bad of [bytes.subarray(0, bytes.length - 512), bytes.subarray(0, 3000), changed]) {
      writeFileSync(archive, bad);
      const [dry, wet] = [restore(true), restore()];
      await expect(dry).rejects.toMatchObject({ code: 'damaged_file' });
      await expect(wet).rejects.toMatchObject({ code: 'damaged_file' });
      expect(besides()).toEqual([]);
    }
  });

  it('clears away what a crash left, and does not take it for its own', async () => {
    await backUp();
    writeFiles(join(target, '..'), { '.tmp-restore-models/left.npz': 'from before' });
    await restore();
    expect(filesBelow(target)).toEqual(filesBelow(source));
    expect(besides()).toEqual(['models']);
  });

  it('lets only one of two at a time have the folder', async () => {
    await backUp();
    const both = await Promise.allSettled([restore(), restore()]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(filesBelow(target)).toEqual(filesBelow(source));
  });

  it('says which archive cannot be read', async () => {
    const failure = await restore(false, join(folder, 'absent.tar')).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'not_found', message: expect.stringMatching(/absent\.tar.*\(ENOENT\)/) });
  });
});
