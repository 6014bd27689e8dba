import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  ensureFolder,
  isTempName,
  removeFolder,
  removeStaleTemps,
  removeTempFolders,
  stageFiles,
  storageError,
  writeFileAtomically,
} from '../../src/store/atomic_write.ts';

/** What the disk does at the next write, sync or rename; undefined: its work. */
const disk = vi.hoisted(() => ({ fails: undefined as string | undefined, at: '', log: [] as string[] }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const step = (name: string) => {
    disk.log.push(name);
    if (disk.at === name && disk.fails !== undefined) throw Object.assign(new Error(disk.fails), { code: disk.fails });
  };
  const open: typeof real.open = async (path, flags, mode) => {
    const handle = await real.open(path, flags, mode);
    const kind = flags === 'r' ? 'folder' : 'file';
    const { write, sync } = handle;
    handle.write = ((...args: unknown[]) => {
      step('write');
      return Reflect.apply(write, handle, args);
    }) as typeof write;
    handle.sync = () => {
      step(`sync ${kind}`);
      return sync.call(handle);
    };
    return handle;
  };
  const rename: typeof real.rename = async (from, to) => {
    step('rename');
    await real.rename(from, to);
  };
  const unlink: typeof real.unlink = async (path) => {
    await real.unlink(path);
    disk.log.push('unlink');
  };
  return { ...real, open, rename, unlink };
});

const bytes = (text: string) => new TextEncoder().encode(text);
let folder = '';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-atomic-'));
  Object.assign(disk, { fails: undefined, at: '', log: [] });
});
afterEach(() => rm(folder, { recursive: true }));

describe('writeFileAtomically', () => {
  it('writes and syncs before the rename, and syncs the folder after', async () => {
    await writeFileAtomically(folder, { name: 'a', bytes: bytes('new') });
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('new');
    expect(disk.log).toEqual(['write', 'sync file', 'rename', 'sync folder']);
    expect(await readdir(folder)).toEqual(['a']);
  });

  it.each([
    ['ENOSPC', 'write'],
    ['EDQUOT', 'sync file'],
    ['ENOSPC', 'rename'],
  ])('keeps the old file and leaves no temp on %s at %s', async (fails, at) => {
    await writeFileAtomically(folder, { name: 'a', bytes: bytes('old') });
    Object.assign(disk, { fails, at });
    await expect(writeFileAtomically(folder, { name: 'a', bytes: bytes('new') })).rejects.toMatchObject({
      code: 'storage_full',
      message: expect.not.stringContaining(folder),
    });
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['a']);
  });

  it.each(['EIO', 'EROFS', 'EACCES'])('says that the folder cannot be used on %s, without its path', async (code) => {
    Object.assign(disk, { fails: code, at: 'write' });
    await expect(writeFileAtomically(folder, { name: 'a', bytes: bytes('x') })).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.not.stringContaining(folder),
    });
  });

  it('lets other errors pass as they are', async () => {
    Object.assign(disk, { fails: 'EBADF', at: 'write' });
    await expect(writeFileAtomically(folder, { name: 'a', bytes: bytes('x') })).rejects.toMatchObject({
      code: 'EBADF',
    });
    expect(storageError('text')).toBe('text');
  });

  it('replaces a link instead of writing through it', async () => {
    await writeFile(join(folder, 'target'), 'mine');
    await symlink('target', join(folder, 'a'));
    await writeFileAtomically(folder, { name: 'a', bytes: bytes('new') });
    expect(await readFile(join(folder, 'target'), 'utf8')).toBe('mine');
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('new');
  });
});

describe('stageFiles', () => {
  const two = [
    { name: 'a', bytes: bytes('new a') },
    { name: 'b', bytes: bytes('new b') },
  ];

  it('shows nothing before the commit and nothing after a discard', async () => {
    const staged = await stageFiles(folder, two);
    expect((await readdir(folder)).every((name) => name.startsWith('.tmp-'))).toBe(true);
    await staged.discard();
    expect(await readdir(folder)).toEqual([]);
    await staged.discard();
  });

  it('takes the steps in their order, each synced before the next', async () => {
    await writeFile(join(folder, 'b'), 'old b');
    const staged = await stageFiles(folder, two);
    disk.log.length = 0;
    await staged.commit([{ remove: 'b' }, { publish: 'a' }, { publish: 'b' }]);
    expect(disk.log).toEqual(['unlink', 'sync folder', 'rename', 'sync folder', 'rename', 'sync folder']);
    expect(await readFile(join(folder, 'b'), 'utf8')).toBe('new b');
  });

  it('removes the first temp when the second cannot be written', async () => {
    const endless = {
      name: 'b',
      bytes: Object.defineProperty(bytes('x'), 'length', {
        get: () => {
          throw new Error('no');
        },
      }),
    };
    await expect(stageFiles(folder, [{ name: 'a', bytes: bytes('x') }, endless])).rejects.toThrow('no');
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses a folder where a file must be, before anything is written', async () => {
    await mkdir(join(folder, 'b'));
    await expect(stageFiles(folder, two)).rejects.toMatchObject({
      code: 'damaged_file',
      message: "'b' in the store must be a file but is a folder. Move that folder away.",
    });
    expect(await readdir(folder)).toEqual(['b']);
  });

  it.each([
    ['ENOSPC', 'storage_full'],
    ['EIO', 'storage_unavailable'],
  ])('says on %s which files are new by then', async (fails, code) => {
    const staged = await stageFiles(folder, two);
    let renames = 0;
    disk.log = new Proxy(disk.log, {
      get: (log, name, self) =>
        name === 'push'
          ? (step: string) => {
              if (step === 'rename' && ++renames === 2) Object.assign(disk, { fails, at: 'rename' });
            }
          : Reflect.get(log, name, self),
    });
    await expect(staged.commit()).rejects.toMatchObject({ code, message: expect.stringContaining("only 'a' was") });
    expect(await readdir(folder)).toEqual(['a']);
  });

  it('refuses to publish what was not staged, and discards', async () => {
    const staged = await stageFiles(folder, two);
    await expect(staged.commit([{ publish: 'c' }])).rejects.toMatchObject({ code: 'internal_error' });
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('ensureFolder', () => {
  it('makes each folder and syncs its parent, once', async () => {
    expect(await ensureFolder(folder, ['recipes', 'x'])).toBe(join(folder, 'recipes', 'x'));
    expect(disk.log).toEqual(['sync folder', 'sync folder']);
    await ensureFolder(folder, ['recipes', 'x']);
    expect(disk.log).toHaveLength(2);
  });

  it('refuses a link out of the root, wherever it stands, and writes nothing behind it', async () => {
    const outside = join(folder, 'outside');
    const root = join(folder, 'root');
    await mkdir(outside);
    await mkdir(root);
    await symlink(outside, join(root, 'recipes'));
    await symlink(join(folder, 'nowhere'), join(root, 'dangling'));
    const refused = { code: 'damaged_file', message: expect.not.stringContaining(folder) };
    await expect(ensureFolder(root, ['recipes', 'x'])).rejects.toMatchObject(refused);
    await expect(ensureFolder(root, ['recipes'])).rejects.toMatchObject(refused);
    await expect(ensureFolder(root, ['dangling'])).rejects.toMatchObject(refused);
    expect(await readdir(outside)).toEqual([]);
  });

  it('allows a root that is a link, links inside it, and makes a root that is missing', async () => {
    await ensureFolder(join(folder, 'deep', 'root'), ['a']);
    await symlink(join(folder, 'deep', 'root'), join(folder, 'link'));
    await symlink('a', join(folder, 'deep', 'root', 'b'));
    expect(await ensureFolder(join(folder, 'link'), ['b', 'c'])).toBe(join(folder, 'link', 'b', 'c'));
    expect(await readdir(join(folder, 'deep', 'root', 'a'))).toEqual(['c']);
  });

  it('names a file that stands where a folder must', async () => {
    await writeFile(join(folder, 'recipes'), '');
    await expect(ensureFolder(folder, ['recipes'])).rejects.toMatchObject({ code: 'damaged_file' });
  });
});

describe('removeStaleTemps', () => {
  it('removes temps of the age only, and nothing else', async () => {
    for (const name of ['.tmp-old', '.tmp-young', 'model.npz']) await writeFile(join(folder, name), '');
    await mkdir(join(folder, '.tmp-folder'));
    await utimes(join(folder, '.tmp-old'), 1000, 1000);
    await utimes(join(folder, '.tmp-young'), 1900, 1900);
    await utimes(join(folder, 'model.npz'), 1000, 1000);
    expect(await removeStaleTemps(folder, 2_000_000, 600_000)).toBe(1);
    expect((await readdir(folder)).sort()).toEqual(['.tmp-folder', '.tmp-young', 'model.npz']);
    expect(await removeStaleTemps(join(folder, 'absent'), 2_000_000, 0)).toBe(0);
  });
});

describe('removeFolder', () => {
  it('removes a folder with all that lies in it, and nothing beside it', async () => {
    await mkdir(join(folder, 'a', 'deep'), { recursive: true });
    await mkdir(join(folder, 'b'));
    await writeFile(join(folder, 'a', 'deep', 'file'), '');
    expect(await removeFolder(folder, 'a')).toBe(true);
    expect(await readdir(folder)).toEqual(['b']);
    expect(await removeFolder(folder, 'a')).toBe(false);
  });

  it('removes links, and follows none', async () => {
    await mkdir(join(folder, 'a'));
    await mkdir(join(folder, 'b'));
    await writeFile(join(folder, 'b', 'file'), '');
    await symlink('../b', join(folder, 'a', 'link'));
    await removeFolder(folder, 'a');
    expect(await readdir(join(folder, 'b'))).toEqual(['file']);
  });

  it('is gone for readers before a byte of it is: what a crash leaves has a temp name, and goes with the next sweep', async () => {
    await mkdir(join(folder, 'a'));
    Object.assign(disk, { fails: 'EIO', at: 'sync folder' });
    await expect(removeFolder(folder, 'a')).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect((await readdir(folder)).every(isTempName)).toBe(true);
    Object.assign(disk, { fails: undefined });
    await writeFile(join(folder, '.tmp-file'), '');
    expect(await removeTempFolders(folder)).toBe(1);
    expect(await readdir(folder)).toEqual(['.tmp-file']);
    expect(await removeTempFolders(join(folder, 'absent'))).toBe(0);
  });
});
