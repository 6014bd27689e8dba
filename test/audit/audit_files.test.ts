import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { AUDIT_FOLDER, linesOf, openAuditFile } from '../../src/audit/audit_files.ts';
import { writeAudit } from './chains.ts';

/** What reaches the disk, in its order. */
const disk = vi.hoisted(() => ({ steps: [] as string[] }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const open: typeof real.open = async (path, flags, mode) => {
    const handle = await real.open(path, flags, mode);
    const { appendFile, datasync, sync } = handle;
    handle.appendFile = async (...given) => {
      await appendFile.apply(handle, given);
      disk.steps.push('written');
    };
    handle.datasync = async () => {
      await datasync.call(handle);
      disk.steps.push('synced');
    };
    handle.sync = async () => {
      await sync.call(handle);
      disk.steps.push('folder synced');
    };
    return handle;
  };
  return { ...real, open };
});

let modelsDir = '';
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-audit-'));
});
afterEach(() => rm(modelsDir, { recursive: true, force: true }));

it('a file is on the disk by its name before its first line, and a line when append returns', async () => {
  const file = await openAuditFile(modelsDir, 'a.jsonl');
  expect(disk.steps.at(-1)).toBe('folder synced');
  disk.steps = [];
  for (const text of ['one\n', 'two\n']) {
    await file.append(Buffer.from(text));
    expect(disk.steps.splice(0)).toEqual(['written', 'synced']);
  }
  await file.cutTo(4);
  await file.append(Buffer.from('three\n'));
  await file.close();
  expect(await readFile(join(modelsDir, AUDIT_FOLDER, 'a.jsonl'), 'utf8')).toBe('one\nthree\n');
});

it('lines come as they are, however long the file and wherever its pieces end', async () => {
  const lines = Array.from({ length: 400 }, (_, n) => `${n} ${'π'.repeat((n * 37) % 900)}`);
  const tail = 'not ended';
  const folder = writeAudit(modelsDir, { a: `${lines.join('\n')}\n${tail}`, empty: '', ends: '\n\n' });
  const read = async (name: string) => {
    const found: [string, boolean][] = [];
    for await (const { bytes, isWhole } of linesOf(join(folder, name))) {
      found.push([Buffer.from(bytes).toString('utf8'), isWhole]);
    }
    return found;
  };
  expect(await read('a')).toEqual([...lines.map((line) => [line, true]), [tail, false]]);
  expect(await read('empty')).toEqual([]);
  expect(await read('ends')).toEqual([
    ['', true],
    ['', true],
  ]);
});
