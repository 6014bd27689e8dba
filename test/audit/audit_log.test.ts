import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AUDIT_FOLDER, type OpenAuditFile, openAuditFile } from '../../src/audit/audit_files.ts';
import { type AuditLog, createAuditLog } from '../../src/audit/audit_log.ts';
import { verifyAudit } from '../../src/audit/verify_audit.ts';
import { InspectionError } from '../../src/errors.ts';
import { auditLines } from './chains.ts';

let modelsDir = '';
let logs: AuditLog[] = [];
let told: string[] = [];
beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-audit-'));
  logs = [];
  told = [];
});
afterEach(async () => {
  for (const log of logs) await log.close();
  rmSync(modelsDir, { recursive: true, force: true });
});

function begin(parts: { readonly fileBytes?: number; readonly openFile?: OpenAuditFile } = {}): AuditLog {
  const log = createAuditLog({
    modelsDir,
    fileBytes: 1e9,
    start: { okng_version: '1.2.3' },
    now: () => new Date(),
    notify: (message) => told.push(message),
    ...parts,
  });
  logs.push(log);
  return log;
}

const event = (n: number) => ({ kind: 'verdict', n });
const folder = () => join(modelsDir, AUDIT_FOLDER);
const fileNames = () => readdirSync(folder()).sort();
const kinds = () => auditLines(modelsDir).map(({ kind }) => kind);
const numbers = () => auditLines(modelsDir).flatMap(({ n }) => (n === undefined ? [] : [n]));
const found = async () => (await verifyAudit([folder()])).findings;

describe('a chain', () => {
  it('begins with a start, ends with a stop, and tells when', async () => {
    const log = begin();
    const before = new Date().toISOString();
    await log.append([event(1), event(2)]);
    await log.close();
    const lines = auditLines(modelsDir);
    expect(lines).toMatchObject([
      { sequence: 1, kind: 'start', file: 1, okng_version: '1.2.3' },
      { sequence: 2, kind: 'verdict', n: 1 },
      { sequence: 3, kind: 'verdict', n: 2 },
      { sequence: 4, kind: 'stop' },
    ]);
    for (const { time } of lines) expect(String(time) >= before && String(time) <= new Date().toISOString()).toBe(true);
    expect(fileNames()[0]).toContain(String(lines[0]?.chain));
    expect(await found()).toEqual([]);
  });

  it('is not there before its first line, and not at all where nothing was done', async () => {
    await begin().close();
    expect(readdirSync(modelsDir)).toEqual([]);
  });

  it('takes no line after it was closed', async () => {
    const log = begin();
    await log.append([event(1)]);
    await log.close();
    await expect(log.append([event(2)])).rejects.toMatchObject({ code: 'shutting_down' });
    await expect(log.requireWritable()).rejects.toMatchObject({ code: 'shutting_down' });
    expect(kinds()).toEqual(['start', 'verdict', 'stop']);
  });

  it('keeps what comes at once in its order, and syncs it together', async () => {
    const syncs: number[] = [];
    const openFile: OpenAuditFile = async (...where) => {
      const file = await openAuditFile(...where);
      const append: typeof file.append = async (bytes) => {
        syncs.push(bytes.length);
        await file.append(bytes);
      };
      return { ...file, append };
    };
    const log = begin({ openFile });
    await Promise.all(Array.from({ length: 500 }, (_, n) => log.append([event(n)])));
    expect(numbers()).toEqual([...new Array(500).keys()]);
    expect(syncs.length).toBeLessThan(4);
    expect(await found()).toEqual([]);
  });
});

describe('files', () => {
  it('follow one another at the size, and none is removed', async () => {
    const log = begin({ fileBytes: 1000 });
    for (let n = 0; n < 20; n++) await log.append([event(n)]);
    await log.close();
    expect(fileNames().length).toBeGreaterThan(3);
    for (const name of fileNames()) expect(readFileSync(join(folder(), name)).length).toBeLessThan(1700);
    expect(numbers()).toEqual([...new Array(20).keys()]);
    expect(kinds().filter((kind) => kind === 'rotated')).toHaveLength(fileNames().length - 1);
    expect(kinds().filter((kind) => kind === 'continued')).toHaveLength(fileNames().length - 1);
    expect(await found()).toEqual([]);
    await expect.poll(() => told.filter((message) => message.includes('new file')).length).toBe(fileNames().length - 1);
  });

  it('can be verified while they are written and follow one another', async () => {
    const log = begin({ fileBytes: 600 });
    await log.append([event(0)]);
    let isDone = false;
    const writing = (async () => {
      for (let n = 1; n < 300; n++) await log.append([event(n)]);
      isDone = true;
    })();
    while (!isDone) expect(await found()).toEqual([]);
    await writing;
  });

  it('are not written through a folder that is a link', async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'okng-elsewhere-'));
    symlinkSync(elsewhere, folder());
    await expect(begin().append([event(1)])).rejects.toMatchObject({ code: 'damaged_file' });
    expect(readdirSync(elsewhere)).toEqual([]);
    rmSync(elsewhere, { recursive: true });
  });
});

describe('the next process', () => {
  it('sees the ends that no other has seen, and misses them later', async () => {
    for (let process = 0; process < 4; process++) {
      const log = begin();
      await log.append([event(process)]);
      await log.close();
    }
    // Each the one before it.
    expect(kinds().join(' ')).toBe(
      'start verdict stop start seen verdict stop start seen verdict stop start seen verdict stop',
    );
    const lines = auditLines(modelsDir);
    for (const line of lines.filter(({ kind }) => kind === 'seen')) {
      const of = lines.find(({ chain, kind }) => kind === 'start' && chain === line.chain);
      expect(line).toMatchObject({ file: 1, cut_off_bytes: 0, seen_sequence: of === lines[0] ? 3 : 4 });
    }
    expect(await found()).toEqual([]);
    const [first] = fileNames();
    rmSync(join(folder(), first as string));
    expect(await found()).toMatchObject([{ problem: 'missing_file', file: first }]);
  });

  it('writes beside one that runs, and both are whole', async () => {
    const [one, other] = [begin(), begin()];
    const both = Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? one : other).append([event(n)]));
    await Promise.all(both);
    await one.close();
    await begin().append([event(99)]);
    await other.close();
    expect(fileNames()).toHaveLength(3);
    expect([...numbers()].sort((a, b) => Number(a) - Number(b))).toEqual([...new Array(40).keys(), 99]);
    expect(await found()).toEqual([]);
  });

  it('notes a line that was cut off, and leaves it there', async () => {
    const log = begin();
    await log.append([event(1), event(2)]);
    const [name] = fileNames();
    const path = join(folder(), name as string);
    const size = readFileSync(path).length;
    for (const cut of [1, 2, 60, 150]) {
      truncateSync(path, size - cut);
      const next = begin();
      await next.append([event(3)]);
      await next.close();
      const seen = auditLines(modelsDir).filter((line) => line.kind === 'seen' && line.seen_sequence === 2);
      expect(seen.at(-1)).toMatchObject({ file: 1, cut_off_bytes: expect.any(Number) });
      expect(seen.at(-1)?.cut_off_bytes).toBeGreaterThan(0);
      expect(readFileSync(path)).toHaveLength(size - cut);
      expect(await verifyAudit([folder()])).toMatchObject({ found: 0, notes: [{ file: name }] });
      for (const other of fileNames()) if (other !== name) rmSync(join(folder(), other));
    }
  });

  it('begins beside files that are none', async () => {
    const junk = '20260102T030405678Z-00000000000000aa-0001.jsonl';
    await begin().append([event(1)]);
    writeFileSync(join(folder(), junk), 'no audit\nat all');
    await begin().append([event(2)]);
    const report = await verifyAudit([folder()]);
    expect(report.kinds).toEqual({ seen: 2, start: 2, verdict: 2 });
    expect(report.findings.map(({ problem, file }) => [problem, file])).toEqual([
      ['unreadable', junk],
      ['changed', junk],
    ]);
  });
});

describe('a disk that fails', () => {
  /** Fails the given operation and those after it; appends leave something of the bytes, or all of them but no sync. */
  function failing(at: number, times: number, errno: string, left: (bytes: Uint8Array) => Uint8Array) {
    let operations = 0;
    const spend = () => {
      operations++;
      if (operations >= at && operations < at + times)
        throw Object.assign(new Error(`${errno} at operation ${at}`), { code: errno });
    };
    const openFile: OpenAuditFile = async (...where) => {
      spend();
      const file = await openAuditFile(...where);
      return {
        ...file,
        append: async (bytes) => {
          try {
            spend();
          } catch (error) {
            await file.append(left(bytes));
            throw error;
          }
          await file.append(bytes);
        },
        cutTo: async (size) => {
          spend();
          await file.cutTo(size);
        },
      };
    };
    return { openFile, operations: () => operations };
  }

  const part = (bytes: Uint8Array) => bytes.subarray(0, bytes.length / 2);
  const all = (bytes: Uint8Array) => bytes;

  it.each([
    ['ENOSPC', 1, 'storage_full', part],
    ['EIO', 1, 'storage_unavailable', all],
    ['EMFILE', 1, 'storage_unavailable', () => new Uint8Array()],
    ['EFBIG', 3, 'storage_unavailable', part],
    ['ENOSPC', 4, 'storage_full', all],
  ])('with %s, %d times, from any operation on, loses no acknowledged line and keeps no other', async (...given) => {
    const [errno, times, code, left] = given;
    for (let at = 1, operations = at; at <= operations; at++) {
      rmSync(folder(), { recursive: true, force: true });
      const disk = failing(at, times, errno, left);
      const log = begin({ openFile: disk.openFile, fileBytes: 900 });
      const kept: number[] = [];
      let refused = 0;
      for (let n = 0; n < 8 || log.problem() !== null; n++) {
        await log.append([event(n)]).then(
          () => kept.push(n),
          (error) => {
            expect(error).toBeInstanceOf(InspectionError);
            expect(error).toMatchObject({ code, message: expect.stringContaining(errno) });
            expect(error.message).not.toContain(modelsDir);
            expect(log.problem()).toBe(error.message);
            refused++;
          },
        );
      }
      operations = disk.operations();
      await log.close();
      const where = `operation ${at} of ${operations}`;
      expect(numbers(), where).toEqual(kept);
      const noted = auditLines(modelsDir).filter(({ kind }) => kind === 'write_failed');
      expect(refused > 0 && refused <= times, where).toBe(at <= operations);
      expect(noted, where).toMatchObject(refused === 0 ? [] : [{ reason: errno, refused_lines: refused }]);
      expect(await found(), where).toEqual([]);
    }
  });

  it('for good refuses everything, and is told; requireWritable tries again', async () => {
    let broken = true;
    const openFile: OpenAuditFile = async (...where) => {
      const file = await openAuditFile(...where);
      const append: typeof file.append = async (bytes) => {
        if (broken) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
        await file.append(bytes);
      };
      return { ...file, append };
    };
    const log = begin({ openFile });
    for (let n = 0; n < 3; n++) await expect(log.append([event(n)])).rejects.toMatchObject({ code: 'storage_full' });
    await expect(log.requireWritable()).rejects.toMatchObject({ code: 'storage_full' });
    expect(log.problem()).toContain('ENOSPC');
    expect(log.problem()).toContain('BDI_AUDIT=0');
    broken = false;
    await log.requireWritable();
    expect(log.problem()).toBeNull();
    await log.append([event(7)]);
    expect(auditLines(modelsDir)).toMatchObject([
      { kind: 'start' },
      { kind: 'write_failed', reason: 'ENOSPC', refused_lines: 3 },
      { n: 7 },
    ]);
    expect(told).toContain('the audit is written again');
  });

  it('is no reason not to close', async () => {
    const openFile: OpenAuditFile = async () => {
      throw Object.assign(new Error('no rights'), { code: 'EACCES' });
    };
    const log = begin({ openFile });
    await expect(log.append([event(1)])).rejects.toMatchObject({ code: 'storage_unavailable' });
    await log.close();
  });
});
