import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Origin, openPartialFile } from '../../src/downloads/partial_file.ts';

/** What the disk does at the next step of that name; undefined: its work. */
const disk = vi.hoisted(() => ({ fails: undefined as string | undefined, at: '', log: [] as string[] }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const step = (name: string) => {
    disk.log.push(name);
    if (disk.at === name && disk.fails !== undefined) throw Object.assign(new Error(disk.fails), { code: disk.fails });
  };
  const open: typeof real.open = async (path, flags, mode) => {
    step('open');
    const handle = await real.open(path, flags, mode);
    const kind = flags === 'r' ? 'folder' : 'file';
    const { write, sync, truncate } = handle;
    // One byte at a time: a disk may take less than it is given.
    handle.write = (async (bytes: Uint8Array, offset: number, length: number, position: number) => {
      step('write');
      return Reflect.apply(write, handle, [bytes, offset, Math.min(1, length), position]);
    }) as typeof write;
    handle.truncate = async (size) => {
      step('truncate');
      return truncate.call(handle, size);
    };
    handle.sync = async () => {
      step(`sync ${kind}`);
      return sync.call(handle);
    };
    return handle;
  };
  const rename: typeof real.rename = async (from, to) => {
    step('rename');
    await real.rename(from, to);
  };
  const writeFile: typeof real.writeFile = async (path, ...rest) => {
    step(`write ${String(path).split('.').at(-1)}`);
    await real.writeFile(path, ...rest);
  };
  const removeFile: typeof real.rm = async (path, options) => {
    step(`remove ${String(path).split('.').at(-1)}`);
    await real.rm(path, options);
  };
  return { ...real, open, rename, writeFile, rm: removeFile };
});

const origin: Origin = { url: 'https://host/f', validator: '"v1"', publishedSha256: null, length: 5 };
const hello = Buffer.from('hello');

let folder: string;
let target: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-part-'));
  target = join(folder, 'f.bin');
});

afterEach(async () => {
  disk.fails = undefined;
  await rm(folder, { recursive: true, force: true });
});

function failAt(step: string, errno: string): void {
  disk.at = step;
  disk.fails = errno;
}

describe('a partial file', () => {
  it('never has bytes beside the note of another file, and is synced before it gets its name', async () => {
    const part = await openPartialFile(target);
    disk.log.length = 0;
    await part.start(origin);
    expect(disk.log).toEqual(['remove json', 'truncate', 'sync file', 'write json']);
    await part.append(hello);
    expect(part.size).toBe(5);
    disk.log.length = 0;
    await part.publish();
    await part.close();
    expect(disk.log).toEqual(['sync file', 'rename', 'remove json', 'open', 'sync folder', 'remove lock']);
    expect(await readFile(target, 'utf8')).toBe('hello');
    expect(await readdir(folder)).toEqual(['f.bin']);
  });

  it('is found again with its origin', async () => {
    const first = await openPartialFile(target);
    await first.start(origin);
    await first.append(hello.subarray(0, 2));
    await first.close();
    const second = await openPartialFile(target);
    expect([second.size, second.resumed, second.origin]).toEqual([2, 2, origin]);
    await second.append(hello.subarray(2));
    expect(second.resumed).toBe(2);
    expect(await second.sha256()).toBe('2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824');
    await second.discard();
    await second.close();
    expect(await readdir(folder)).toEqual([]);
  });

  it('survives a full disk with what has arrived', async () => {
    const part = await openPartialFile(target);
    await part.start(origin);
    await part.append(hello.subarray(0, 2));
    failAt('write', 'ENOSPC');
    await expect(part.append(hello.subarray(2))).rejects.toMatchObject({
      code: 'storage_full',
      message: expect.stringContaining('f.bin.part cannot be written'),
    });
    disk.fails = undefined;
    await part.close();
    const again = await openPartialFile(target);
    expect(again.size).toBe(2);
    await again.close();
    expect(await readdir(folder)).toEqual(['f.bin.part', 'f.bin.part.json']);
  });

  it.each([
    ['sync file', 'EIO', 'storage_unavailable'],
    ['rename', 'EACCES', 'storage_unavailable'],
    ['rename', 'EDQUOT', 'storage_full'],
  ])('does not get its name when %s fails with %s', async (step, errno, code) => {
    const part = await openPartialFile(target);
    await part.start(origin);
    await part.append(hello);
    failAt(step, errno);
    await expect(part.publish()).rejects.toMatchObject({ code });
    disk.fails = undefined;
    await part.close();
    expect(await readdir(folder)).toEqual(['f.bin.part', 'f.bin.part.json']);
  });

  it('leaves nothing when nothing came', async () => {
    const part = await openPartialFile(target);
    await part.start(origin);
    await part.close();
    expect(await readdir(folder)).toEqual([]);
  });

  it('leaves no lock when it cannot be opened', async () => {
    failAt('open', 'EROFS');
    await expect(openPartialFile(target)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining('EROFS'),
    });
    disk.fails = undefined;
    expect(await readdir(folder)).toEqual([]);
  });

  it('never tells a path of this host', async () => {
    failAt('open', 'EACCES');
    await expect(openPartialFile(target)).rejects.toMatchObject({ message: expect.not.stringContaining(folder) });
  });
});
