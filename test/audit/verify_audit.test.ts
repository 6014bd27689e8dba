import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AuditLine, chainFileName, linkedLine } from '../../src/audit/audit_chain.ts';
import { AUDIT_FOLDER } from '../../src/audit/audit_files.ts';
import { verifyAudit } from '../../src/audit/verify_audit.ts';
import { chainA, chainB, handMade, linesIn, writeAudit } from './chains.ts';

let modelsDir = '';
beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-audit-'));
});
afterEach(() => rmSync(modelsDir, { recursive: true, force: true }));

type Files = Record<string, string | Uint8Array>;

async function verify(files: Files, heads: readonly string[] = []) {
  rmSync(join(modelsDir, AUDIT_FOLDER), { recursive: true, force: true });
  return await verifyAudit([writeAudit(modelsDir, files)], heads);
}

/** What is found, as `problem file:line`. */
async function problems(files: Files, heads: readonly string[] = []): Promise<readonly string[]> {
  const { findings, found } = await verify(files, heads);
  expect(found).toBe(findings.length);
  return findings.map(({ problem, file, line }) => `${problem} ${file}${line === null ? '' : `:${line}`}`);
}

const nameOf = (number: number, chain = chainA) => chainFileName({ chain, number });
const [first, second, third] = [1, 2, 3].map((number) => nameOf(number)) as [string, string, string];

/** Lines 1 to 4, 5 to 8 and 9 to 12. */
const whole = handMade(chainA, [2, 2, 2]);
const text = (files: Record<string, string>, name: string) => files[name] as string;
const linesOf = (name: string) => text(whole, name).split(/(?<=\n)/);
const withLines = (name: string, lines: readonly string[]): Files => ({ ...whole, [name]: lines.join('') });
const lastLine = (files: Record<string, string>, name: string) => linesIn(text(files, name)).at(-1) as AuditLine;

describe('a whole chain', () => {
  it('has nothing to be found, and is counted', async () => {
    const head = lastLine(whole, third);
    expect(await verify(whole, [head.hash])).toEqual({
      lines: 12,
      kinds: { continued: 2, rotated: 2, start: 1, stop: 1, verdict: 6 },
      chains: [{ chain: chainA, files: 3, lines: 12, head: { sequence: 12, hash: head.hash }, stopped: true }],
      found: 0,
      findings: [],
      notes: [],
    });
  });

  it('may lie in several folders', async () => {
    const { [first]: old, ...live } = whole;
    const archive = mkdtempSync(join(modelsDir, 'archive-'));
    const folders = [writeAudit(modelsDir, live), writeAudit(archive, { [first]: old as string })];
    expect((await verifyAudit(folders)).found).toBe(0);
    expect((await verifyAudit(folders.slice(0, 1))).findings).toMatchObject([{ problem: 'missing_file', file: first }]);
  });

  it('is not there in a folder without one', async () => {
    expect(await verify({ 'notes.txt': 'x' })).toMatchObject({ lines: 0, chains: [], found: 0 });
    expect((await verifyAudit([join(modelsDir, 'nowhere')])).found).toBe(0);
  });
});

describe('any change is found', () => {
  const anyFile = fc.constantFrom(first, second, third);

  it('of a single byte', async () => {
    await fc.assert(
      fc.asyncProperty(anyFile, fc.nat(), fc.integer({ min: 1, max: 255 }), async (name, place, difference) => {
        const bytes = Buffer.from(text(whole, name));
        const at = place % bytes.length;
        bytes[at] = (bytes[at] as number) ^ difference;
        expect((await verify({ ...whole, [name]: bytes })).found).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });

  it.each([' ', '\n', '\0', '}'])(
    'of the very last byte, the end of the last line, to %j or not there',
    async (end) => {
      const lines = linesOf(third);
      const changed = withLines(third, [...lines.slice(0, -1), (lines.at(-1) as string).slice(0, -1) + end]);
      expect(await problems(changed)).toEqual(end === '\n' ? [] : [`changed ${third}:4`]);
    },
  );

  it('of one line taken out, repeated, or exchanged with another', async () => {
    const anyEdit = fc.constantFrom('remove', 'repeat', 'exchange');
    await fc.assert(
      fc.asyncProperty(anyFile, anyEdit, fc.nat(3), fc.nat(3), async (name, edit, i, j) => {
        const lines = linesOf(name);
        const [one, other] = [lines[i] as string, lines[j] as string];
        if (edit === 'exchange') lines.splice(i, 1, other);
        if (edit === 'exchange') lines.splice(j, 1, one);
        if (edit === 'repeat') lines.splice(j, 0, one);
        if (edit === 'remove') lines.splice(i, 1);
        const changes = lines.join('') !== text(whole, name);
        // The last of all can be cut away at its end; its hash, kept elsewhere, is missed.
        const heads = [lastLine(whole, third).hash];
        expect((await verify(withLines(name, lines), heads)).found > 0).toBe(changes);
      }),
      { numRuns: 200 },
    );
  });

  it('of a line from elsewhere put in, and of lines between files', async () => {
    const foreign = text(handMade(chainB, [3]), nameOf(1, chainB)).split(/(?<=\n)/);
    for (const line of [...foreign, 'x\n', '{}\n', '\n', ...linesOf(third)]) {
      for (let at = 0; at < 4; at++) {
        const lines = linesOf(second);
        lines.splice(at, 0, line);
        expect((await verify(withLines(second, lines))).found, `${line} at ${at}`).toBeGreaterThan(0);
      }
    }
  });
});

describe('what is found is named', () => {
  it('a score that was made another, without and with a hash to match', async () => {
    const [opening, verdict, ...rest] = linesOf(second) as [string, string, ...string[]];
    const forged = verdict.replace('"score":0.5', '"score":0.4');
    expect(await problems(withLines(second, [opening, forged, ...rest]))).toEqual([`changed ${second}:2`]);
    const before = linesIn(opening)[0] as AuditLine;
    const { members } = linesIn(forged)[0] as AuditLine;
    const { sequence: _, previous: __, ...entry } = members;
    const matching = linkedLine(before, { ...entry, time: String(entry.time), kind: 'verdict' }).line;
    expect(await problems(withLines(second, [opening, matching, ...rest]))).toEqual([`changed ${second}:3`]);
  });

  it('lines that are gone, and where', async () => {
    const lines = linesOf(second);
    const report = await verify(withLines(second, [lines[0], lines[3]] as string[]));
    expect(report.findings).toEqual([
      { problem: 'removed', file: second, line: 2, text: 'Lines 6 to 7 of the chain are gone before this one.' },
    ]);
  });

  it('two lines that were exchanged, and one that is repeated', async () => {
    const [a, b, c, d] = linesOf(second) as [string, string, string, string];
    expect(await problems(withLines(second, [a, c, b, d]))).toEqual([
      `removed ${second}:2`,
      `inserted ${second}:3`,
      `removed ${second}:4`,
    ]);
    expect(await problems(withLines(second, [a, b, b, c, d]))).toEqual([`inserted ${second}:3`]);
  });

  it('each file that is gone', async () => {
    const without = (name: string): Files => Object.fromEntries(Object.entries(whole).filter(([key]) => key !== name));
    for (const name of [first, second, third]) {
      expect(await problems(without(name)), name).toEqual([`missing_file ${name}`]);
    }
  });

  it('files that have exchanged their names', async () => {
    const renamed = { ...whole, [first]: text(whole, second), [second]: text(whole, first) };
    expect(await problems(renamed)).toContain(`renamed ${first}:1`);
    expect(await problems({ [nameOf(1, chainB)]: text(handMade(chainA, [1]), first) })).toEqual([
      `renamed ${nameOf(1, chainB)}:1`,
    ]);
  });

  it('no more than a thousand times', async () => {
    const report = await verify({ ...whole, [third]: text(whole, third) + 'x\n'.repeat(3000) });
    expect([report.found, report.findings.length]).toEqual([3000, 1000]);
  });
});

describe('a chain that another has seen', () => {
  const seen = lastLine(whole, third);
  const later = handMade(chainB, [1], [seen]);

  it('is missed as a whole, and its newest lines', async () => {
    expect(await problems({ ...whole, ...later })).toEqual([]);
    expect(await problems(later)).toEqual([`missing_file ${first}`]);
    const cut = linesOf(third).slice(0, -1).join('');
    expect(await problems({ ...whole, ...later, [third]: cut })).toEqual([`removed ${third}`]);
    const { [third]: _, ...without } = whole;
    expect(await problems({ ...without, ...later })).toEqual([`missing_file ${third}`, `removed ${second}`]);
  });

  it('cannot be written anew up to where it was seen', async () => {
    const anew = { ...whole, [third]: text(handMade(chainA, [2, 2, 1, 1]), third), ...later };
    expect(await problems(anew)).toContain(`removed ${third}`);
    const otherStop = handMade(chainA, [2, 2, 3]);
    expect(await problems({ ...otherStop, ...later })).toEqual([`changed ${third}:4`]);
  });

  it('may have gone on since', async () => {
    const then = lastLine(whole, second);
    expect(await problems({ ...whole, ...handMade(chainB, [1], [then]) })).toEqual([]);
  });
});

describe('a chain whose end is cut off', () => {
  const open = handMade(chainA, [2], [], false);
  const bytes = Buffer.from(text(open, first));
  const ends = [...bytes.keys()].filter((at) => bytes[at] === 10);
  const lastStart = (ends.at(-2) as number) + 1;

  it('at any byte of the last line is told from one that was tampered with', async () => {
    for (let length = lastStart; length < bytes.length; length++) {
      const report = await verify({ [first]: bytes.subarray(0, length) });
      expect(report.found, `${length}`).toBe(0);
      expect(report.notes, `${length}`).toHaveLength(length === lastStart ? 0 : 1);
      expect(report.lines).toBe(2);
      // The zeros of a block that did not reach the disk.
      const zeros = Buffer.concat([bytes.subarray(0, length), Buffer.alloc(3)]);
      expect((await verify({ [first]: zeros })).found, `${length} and zeros`).toBe(length === bytes.length - 1 ? 1 : 0);
    }
  });

  it('is a finding in a file that has a next, after a stop, and where it is not the next line that begins', async () => {
    const half = linesOf(second)[1]?.slice(0, 200) as string;
    expect(await problems({ ...whole, [first]: text(whole, first) + linesOf(second)[0]?.slice(0, 200) })).toEqual([
      `changed ${first}:5`,
    ]);
    expect(await problems({ ...whole, [third]: `${text(whole, third)}{"sequence":13` })).toEqual([
      `changed ${third}:5`,
    ]);
    for (const tail of [half, 'x', '{"sequence":5,"previous":"0000'])
      expect(await problems({ [first]: text(open, first) + tail }), tail).toEqual([`changed ${first}:4`]);
  });

  it('has an empty next file when it happened in between', async () => {
    const chain = { [first]: text(whole, first), [second]: '' };
    expect(await verify(chain)).toMatchObject({ found: 0, notes: [{ file: second }] });
    expect(await problems({ [first]: text(whole, first) })).toEqual([`missing_file ${second}`]);
    const beforeRotated = { [first]: text(whole, first).slice(0, -40), [second]: '' };
    expect(await verify(beforeRotated)).toMatchObject({
      found: 0,
      lines: 3,
      notes: [{ file: second }, { file: first }],
    });
  });
});
