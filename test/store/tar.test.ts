import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readTar, tarEnd, tarHeader, tarPadding } from '../../src/store/tar.ts';
import { writeFiles } from './predecessor_files.ts';

const hasGnuTar = spawnSync('tar', ['--version']).stdout?.toString().includes('GNU tar') === true;
/** Longer than any name of the format before pax, in more than ASCII. */
const longPath = `recipes/${'r'.repeat(64)}/datasets/${'b'.repeat(243)}/ok/${'ä'.repeat(120)} 漢.png`;
const modifiedAtMs = Date.parse('2026-01-02T03:04:05Z');

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-tar-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Named {
  readonly path: string;
  readonly bytes: Uint8Array;
}

function tarOf(files: readonly Named[]): Buffer {
  const blocks = files.flatMap(({ path, bytes }) => [
    tarHeader({ path, sizeBytes: bytes.length, modifiedAtMs }),
    bytes,
    tarPadding(bytes.length),
  ]);
  return Buffer.concat([...blocks, tarEnd]);
}

/** In pieces of a few bytes, or in one. */
async function* inPieces(bytes: Uint8Array, pieceBytes = bytes.length): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

async function allIn(bytes: AsyncIterable<Uint8Array>) {
  const found: { path: string; kind: string; text: string }[] = [];
  for await (const { path, kind, content } of readTar(bytes)) {
    const parts: Uint8Array[] = [];
    for await (const piece of content()) parts.push(piece);
    found.push({ path, kind, text: Buffer.concat(parts).toString('latin1') });
  }
  return found;
}

describe('tar', () => {
  it('comes back as it was written, however the bytes are cut into pieces', async () => {
    const files = fc.array(
      fc.record({
        path: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 }).filter((path) => !path.includes('\0')),
        bytes: fc.uint8Array({ maxLength: 1100 }),
      }),
      { maxLength: 4 },
    );
    await fc.assert(
      fc.asyncProperty(files, fc.integer({ min: 1, max: 2000 }), async (some, pieceBytes) => {
        const found = await allIn(inPieces(tarOf(some), pieceBytes));
        expect(found).toEqual(
          some.map(({ path, bytes }) => ({ path, kind: 'file', text: Buffer.from(bytes).toString('latin1') })),
        );
      }),
      { numRuns: 60 },
    );
  });

  it('passes over what is not read', async () => {
    const bytes = tarOf([
      { path: 'a', bytes: new Uint8Array(2000).fill(65) },
      { path: 'b', bytes: new Uint8Array(3).fill(66) },
    ]);
    const paths: string[] = [];
    for await (const { path } of readTar(inPieces(bytes, 700))) paths.push(path);
    expect(paths).toEqual(['a', 'b']);
  });

  it('writes sizes past 8 GiB, which eleven octal digits cannot', async () => {
    const sizeBytes = 8 * 1024 ** 3;
    const header = tarHeader({ path: 'big.npz', sizeBytes, modifiedAtMs });
    const entries = readTar(inPieces(header));
    expect((await entries.next()).value).toMatchObject({ path: 'big.npz', sizeBytes });
  });

  it('refuses an archive that is cut anywhere', async () => {
    const bytes = tarOf([{ path: longPath, bytes: Buffer.from('content') }]);
    for (let length = 0; length < bytes.length; length += 97) {
      await expect(allIn(inPieces(bytes.subarray(0, length)))).rejects.toThrow(/it is cut off/);
    }
  });

  it('notices a change of any byte that is not a file’s', async () => {
    const content = Buffer.from('content');
    const bytes = tarOf([{ path: longPath, bytes: content }]);
    const contentAt = bytes.indexOf(content);
    const sound = await allIn(inPieces(bytes));
    for (let at = 0; at < bytes.length; at++) {
      if (at >= contentAt && at < contentAt + content.length) continue;
      const changed = Buffer.from(bytes);
      changed.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      // The names in the extended header have no checksum; they are in the manifest of whoever uses this.
      const noticed = await allIn(inPieces(changed)).then(
        (found) => found.length !== 1 || found[0]?.path !== sound[0]?.path,
        () => true,
      );
      expect(noticed, `byte ${at}`).toBe(true);
    }
  });

  describe.skipIf(!hasGnuTar)('beside GNU tar (skipped where there is none)', () => {
    it('is read by it', () => {
      const files = [
        { path: longPath, bytes: Buffer.from('long') },
        { path: 'a.npz', bytes: Buffer.alloc(1025, 7) },
        { path: 'empty', bytes: Buffer.alloc(0) },
      ];
      const archive = join(folder, 'ours.tar');
      writeFileSync(archive, tarOf(files));
      const listed = spawnSync('tar', ['tf', archive, '--quoting-style=literal'], { env: { LC_ALL: 'C.UTF-8' } });
      expect(listed.stderr.toString()).toBe('');
      expect(listed.stdout.toString().trimEnd().split('\n')).toEqual(files.map(({ path }) => path));
      const target = join(folder, 'unpacked');
      mkdirSync(target);
      expect(spawnSync('tar', ['xf', archive, '-C', target]).status).toBe(0);
      for (const { path, bytes } of files) expect(readFileSync(join(target, path))).toEqual(bytes);
    });

    it.each(['posix', 'ustar'])('reads what it writes as %s', async (format) => {
      const name = format === 'posix' ? longPath : `${'d'.repeat(90)}/${'e'.repeat(90)}/c.png`;
      writeFiles(join(folder, 'some'), { [name]: 'long', 'a.npz': 'x'.repeat(1025) });
      symlinkSync('a.npz', join(folder, 'some', 'link'));
      const made = spawnSync('tar', [
        'cf',
        '-',
        `--format=${format}`,
        '-C',
        join(folder, 'some'),
        'a.npz',
        'link',
        dirname(name),
      ]);
      const found = await allIn(inPieces(made.stdout, 1000));
      expect(found.filter(({ kind }) => kind === 'file')).toEqual([
        { path: 'a.npz', kind: 'file', text: 'x'.repeat(1025) },
        { path: name, kind: 'file', text: 'long' },
      ]);
      expect(found.map(({ kind }) => kind)).toContain('folder');
      expect(found.find(({ path }) => path === 'link')?.kind).toBe('other');
    });
  });
});
