import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { beginArchive, readArchive } from '../../src/store/archive.ts';
import { openStoredFile } from '../../src/store/open_file.ts';
import { tarHeader, tarPadding } from '../../src/store/tar.ts';
import { writeFiles } from './predecessor_files.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-archive-'));
afterAll(() => rmSync(folder, { recursive: true }));
const origin = { created_at_utc: '2026-01-02T03:04:05.000Z', okng_version: '0.1.0' };
const files = {
  'YQ__Yg.npz': 'the memory',
  'recipes/line2/datasets/YQ__Yg/ok/Maße.png': 'the picture',
  'audit/a': '',
};

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function archiveOf(some: Readonly<Record<string, string>>): Promise<Buffer> {
  writeFiles(folder, some);
  const parts: Uint8Array[] = [];
  const archive = await beginArchive(async (bytes) => void parts.push(Buffer.from(bytes)), origin);
  for (const path of Object.keys(some)) {
    const file = await openStoredFile(join(folder, path));
    if (file === undefined) throw new Error(path);
    await archive.add(path, file);
    await file.close();
  }
  await archive.end();
  return Buffer.concat(parts);
}

async function read(bytes: Uint8Array) {
  const found: Record<string, string> = {};
  const contents = await readArchive(once(bytes), async ({ segments }, content) => {
    const parts: Uint8Array[] = [];
    for await (const piece of content) parts.push(piece);
    found[segments.join('/')] = Buffer.concat(parts).toString();
  });
  return { found, contents };
}

/** The archive with another text in one of its files, its length unchanged. */
function replaced(bytes: Buffer, from: string, to: string): Buffer {
  const at = bytes.indexOf(from);
  if (at < 0 || from.length !== to.length) throw new Error(`'${from}' cannot be replaced`);
  const changed = Buffer.from(bytes);
  changed.write(to, at);
  return changed;
}

describe('archive', () => {
  it('gives back what was put in', async () => {
    const { found, contents } = await read(await archiveOf(files));
    expect(found).toEqual(files);
    expect(contents.origin).toEqual(origin);
    expect(contents.files.map(({ path }) => path)).toEqual(Object.keys(files));
  });

  it('notices a change of any byte', async () => {
    const bytes = await archiveOf(files);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(bytes.readUInt8(at) ^ (at % 2 === 0 ? 1 : 0x20), at);
      await expect(readArchive(once(changed)), `byte ${at}`).rejects.toMatchObject({ code: 'damaged_file' });
    }
  });

  it('notices a cut anywhere', async () => {
    const bytes = await archiveOf(files);
    for (let length = 0; length < bytes.length; length += 61) {
      await expect(readArchive(once(bytes.subarray(0, length)))).rejects.toThrow(/it is cut off/);
    }
    await expect(readArchive(once(Buffer.concat([bytes, Buffer.from('x')])))).rejects.toThrow(/something follows/);
  });

  it('is not taken for the archive of another format version', async () => {
    const bytes = replaced(await archiveOf(files), '"format_version": 1', '"format_version": 2');
    await expect(readArchive(once(bytes))).rejects.toThrow(
      /has format version 2 and was made by okng 0\.1\.0; this okng reads version 1/,
    );
  });

  it.each([
    ['nothing', Buffer.alloc(0), /it is cut off/],
    ['another file', Buffer.alloc(2048, 'x'), /or it is no tar archive/],
    ['zeros', Buffer.alloc(4096), /its manifest is missing/],
  ])('is not taken for %s', async (_, bytes, sentence) => {
    await expect(readArchive(once(bytes))).rejects.toThrow(sentence);
  });

  const entry = (path: string, text: string) => [
    tarHeader({ path, sizeBytes: text.length, modifiedAtMs: 0 }),
    Buffer.from(text),
    tarPadding(text.length),
  ];
  const insertedAfterHeader = async (...blocks: Uint8Array[]) => {
    const bytes = await archiveOf(files);
    const at = Math.ceil(bytes.indexOf('\0', 512) / 512) * 512;
    return Buffer.concat([bytes.subarray(0, at), ...blocks, bytes.subarray(at)]);
  };

  it.each(['../evil.npz', '/etc/evil.npz', 'recipes/a/../../evil.npz', 'readme.txt', '.tmp-lock-x'])(
    'has no place for %s',
    async (path) => {
      const bytes = await insertedAfterHeader(...entry(path, 'x'));
      const taken: string[] = [];
      const reading = readArchive(once(bytes), async ({ segments }) => void taken.push(segments.join('/')));
      await expect(reading).rejects.toThrow(/a models folder has no place for/);
      expect(taken).toEqual([]);
    },
  );

  it('holds nothing that its manifest does not name, and nothing twice', async () => {
    await expect(read(await insertedAfterHeader(...entry('a.npz', 'x')))).rejects.toThrow(
      /"a\.npz" is not in its manifest/,
    );
    await expect(read(await insertedAfterHeader(...entry('audit/a', '')))).rejects.toThrow(/"audit\/a" is in it twice/);
  });

  it('holds no link', async () => {
    const [header = new Uint8Array()] = entry('a.npz', '');
    const link = Buffer.from(header);
    link.write('2', 156);
    const sum = link.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
    link.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    await expect(read(await insertedAfterHeader(link))).rejects.toThrow(/"a\.npz" is no plain file/);
  });
});
