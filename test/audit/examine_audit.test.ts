import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { chainFileName } from '../../src/audit/audit_chain.ts';
import { AUDIT_FOLDER } from '../../src/audit/audit_files.ts';
import { examineAudit } from '../../src/audit/examine_audit.ts';
import { disk } from '../../src/store/disk.ts';
import { chainA, chainB, handMade, linesIn, writeAudit } from './chains.ts';

let modelsDir = '';
beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-audit-'));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(modelsDir, { recursive: true, force: true });
});

const nameOf = (number: number) => chainFileName({ chain: chainA, number });
const whole = handMade(chainA, [2, 30, 1]);
const place = (number: number) => `${AUDIT_FOLDER}/${nameOf(number)}`;

async function found(files: Readonly<Record<string, string>>) {
  writeAudit(modelsDir, files);
  return (await examineAudit(modelsDir)).map(({ level, place: at, what }) => ({ level, place: at, what }));
}

describe('examineAudit', () => {
  it('counts the lines of a good one', async () => {
    const lines = linesIn(Object.values({ ...whole, ...handMade(chainB, [1]) }).join('')).length;
    expect(await found({ ...whole, ...handMade(chainB, [1]) })).toEqual([
      { level: 'ok', place: 'audit', what: `${lines} lines in 2 chains, all as they were written.` },
    ]);
  });

  it('tells a changed line by its file and number', async () => {
    const changed = { ...whole, [nameOf(1)]: (whole[nameOf(1)] as string).replace('"score":0.5', '"score":0.4') };
    expect(await found(changed)).toEqual([
      { level: 'error', place: place(1), what: expect.stringMatching(/^Line 2 of the file: .* was changed/) },
    ]);
  });

  it('tells the first of many, and how many there are', async () => {
    const changed = (whole[nameOf(2)] as string).replaceAll('"role_id":"π"', '"role_id":"ρ"');
    const findings = await found({ ...whole, [nameOf(2)]: changed });
    expect(findings).toHaveLength(21);
    expect(findings[19]).toMatchObject({ place: place(2), what: expect.stringMatching(/^Line 21 of the file: /) });
    expect(findings[20]).toEqual({ level: 'error', place: 'audit', what: '10 more findings.' });
  });

  it('warns of files that are not here, which may have been moved away', async () => {
    const { [nameOf(1)]: _, [nameOf(2)]: __, ...rest } = whole;
    expect(await found(rest)).toEqual([
      { level: 'warning', place: 'audit', what: `2 files are not here, such as ${nameOf(1)}.` },
    ]);
  });

  it('is one finding where the audit cannot be read', async () => {
    writeAudit(modelsDir, whole);
    vi.spyOn(disk, 'open').mockRejectedValue(Object.assign(new Error('/secret/path'), { code: 'EIO' }));
    expect(await found({})).toEqual([
      { level: 'error', place: 'audit', what: expect.stringMatching(/^The models folder cannot be used now \(EIO\)/) },
    ]);
  });
});
