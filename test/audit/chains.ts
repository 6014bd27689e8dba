import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AuditLine, chainFileName, emptyHead, linkedLine, readLine } from '../../src/audit/audit_chain.ts';
import { AUDIT_FOLDER, sightingMembers } from '../../src/audit/audit_files.ts';

/** Chains made by hand, and audits read back. */

export const chainA = '20260102T030405678Z-00000000000000aa';
export const chainB = '20260203T030405678Z-00000000000000bb';

const time = '2026-01-02T03:04:05.678Z';

/** The files of a chain, each of as many verdicts as asked for, with the lines that stand around them. */
export function handMade(chain: string, verdicts: readonly number[], sees: readonly AuditLine[] = [], stops = true) {
  let head = emptyHead;
  const files: Record<string, string> = {};
  for (const [i, count] of verdicts.entries()) {
    const number = i + 1;
    const seen = sees.map(({ sequence, hash }) => ({
      kind: 'seen',
      ...sightingMembers({ chain: chainA, file: 1, sequence, hash, cutOffBytes: 0 }),
    }));
    const opening =
      i === 0 ? [{ kind: 'start', chain, file: 1 }, ...seen] : [{ kind: 'continued', chain, file: number }];
    const body = Array.from({ length: count }, (_, n) => ({ kind: 'verdict', role_id: 'π', score: n + 0.5 }));
    const isLast = number === verdicts.length;
    const closing = isLast ? (stops ? [{ kind: 'stop' }] : []) : [{ kind: 'rotated', file: number + 1 }];
    let text = '';
    for (const entry of [...opening, ...body, ...closing]) {
      const linked = linkedLine(head, { time, ...entry });
      text += linked.line;
      head = linked.head;
    }
    files[chainFileName({ chain, number })] = text;
  }
  return files;
}

/** The lines of a file's text; not those that are cut off. */
export function linesIn(text: string | Uint8Array): readonly AuditLine[] {
  return Buffer.from(text)
    .toString('utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => readLine(Buffer.from(line)) as AuditLine);
}

export function writeAudit(modelsDir: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  const folder = join(modelsDir, AUDIT_FOLDER);
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

/** Every line of an audit, by its members; the chains in the order in which they began. */
export function auditLines(modelsDir: string): readonly Readonly<Record<string, unknown>>[] {
  const folder = join(modelsDir, AUDIT_FOLDER);
  return readdirSync(folder)
    .sort()
    .flatMap((name) => linesIn(readFileSync(join(folder, name))))
    .map(({ members }) => members);
}
