import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AUDIT_FOLDER, linesOf, openAuditFile } from '../../src/audit/audit_files.ts';
import { leaveDisk, watchDisk } from '../store/disk_calls.ts';
import { writeAudit } from './chains.ts';

let modelsDir = '';
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-audit-'));
});
afterEach(async () => {
  leaveDisk();
  await rm(modelsDir, { recursive: true, force: true });
});

it('a file is on the disk by its name before its first line, and a line when append returns', async () => {
  const steps: string[] = [];
  watchDisk(({ name, path }) => {
    if (['write', 'sync', 'datasync'].includes(name)) steps.push(`${name} ${basename(path)}`);
    return undefined;
  });
  const file = await openAuditFile(modelsDir, 'a.jsonl');
  expect(steps.splice(0).at(-1)).toBe('sync audit');
  for (const text of ['one\n', 'two\n']) {
    await file.append(Buffer.from(text));
    expect(steps.splice(0)).toEqual(['write a.jsonl', 'datasync a.jsonl']);
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
