import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AUDIT_FOLDER } from '../../src/audit/audit_files.ts';
import { createAuditLog } from '../../src/audit/audit_log.ts';
import { verifyAudit } from '../../src/audit/verify_audit.ts';
import { leaveDisk, openFiles } from '../store/disk_calls.ts';
import { breakDisk, faults, mendDisk } from '../store/every_failure.ts';
import { auditLines } from './chains.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-audit-'));
  mendDisk();
});
afterEach(() => {
  leaveDisk();
  rmSync(folder, { recursive: true });
});

/** Files of 400 bytes: every third line or so begins the next one. */
const begin = (modelsDir: string) =>
  createAuditLog({ modelsDir, fileBytes: 400, start: {}, now: () => new Date(), notify: () => undefined });

it.each(Object.entries(faults))(
  '%s, wherever: lines that were acknowledged are there, others never, and no chain is broken',
  async (_, fault) => {
    for (let call = 0, failed = true; failed; call++) {
      const modelsDir = join(folder, `${call}`);
      const first = begin(modelsDir);
      await first.append([{ kind: 'verdict', n: 0 }]);
      await first.close();

      const log = begin(modelsDir);
      const acknowledged = [0];
      const append = async (n: number) => {
        await log.append([{ kind: 'verdict', n }]);
        acknowledged.push(n);
      };
      const hasFailed = breakDisk(fault, call);
      for (const n of [1, 2, 3, 4]) {
        await append(n).catch(({ code }) => expect(['storage_full', 'storage_unavailable']).toContain(code));
      }
      failed = hasFailed();
      mendDisk();
      // Nothing hinders the lines that come when the disk is well again.
      for (const n of [5, 6, 7]) await append(n);
      await log.close();
      const where = `after a failure at call ${call}`;
      expect(openFiles(), where).toBe(0);
      const numbers = auditLines(modelsDir).flatMap(({ n }) => (n === undefined ? [] : [n]));
      expect(numbers.sort(), where).toEqual(acknowledged);
      expect((await verifyAudit([join(modelsDir, AUDIT_FOLDER)])).findings, where).toEqual([]);
    }
  },
);
