import { describe, expect, it } from 'vitest';
import type { AuditEvent, AuditLog } from '../../src/audit/audit_log.ts';
import { auditedChange } from '../../src/audit/audited_change.ts';
import { onBehalfOf } from '../../src/audit/origin.ts';
import { InspectionError } from '../../src/errors.ts';

/** A log that fails at the given calls of `append`, and the order in which things happen. */
function fakeLog(fails: { readonly append?: boolean; readonly requireWritable?: boolean } = {}) {
  const happened: (string | AuditEvent)[] = [];
  const full = new InspectionError('storage_full', 'The audit cannot be written (ENOSPC).');
  const log: AuditLog = {
    append: async (events) => {
      happened.push(...events);
      if (fails.append === true) throw full;
    },
    requireWritable: async () => {
      happened.push('asked whether it can be written');
      if (fails.requireWritable === true) throw full;
    },
    problem: () => null,
    close: async () => undefined,
  };
  return { log, happened };
}

const origin = { request_id: null, job_id: null, who: null };

describe('a change', () => {
  it('is made when it can be audited, then audited, then answered', async () => {
    const { log, happened } = fakeLog();
    const work = async () => happened.push('done');
    const result = await auditedChange(log, 'fit', { role_id: 'a' }, work, (count) => ({ count }));
    expect(result).toBe(2);
    expect(happened).toEqual([
      'asked whether it can be written',
      'done',
      { kind: 'fit', ...origin, role_id: 'a', error: null, count: 2 },
    ]);
  });

  it('is not made when it could not be audited', async () => {
    const { log, happened } = fakeLog({ requireWritable: true });
    const work = async () => happened.push('done');
    await expect(auditedChange(log, 'fit', {}, work, () => ({}))).rejects.toMatchObject({ code: 'storage_full' });
    expect(happened).not.toContain('done');
  });

  it('that is done without a line says both', async () => {
    const { log } = fakeLog({ append: true });
    await expect(
      auditedChange(
        log,
        'fit',
        {},
        async () => 1,
        () => ({}),
      ),
    ).rejects.toMatchObject({
      code: 'storage_full',
      message: 'The change is done and stays, but without a line: The audit cannot be written (ENOSPC).',
    });
  });

  it.each([
    [new InspectionError('fit_in_progress', 'Wait.'), 'fit_in_progress'],
    [new TypeError('ours'), 'internal_error'],
  ])('that fails leaves its code and throws what it threw, even if the audit fails too', async (error, code) => {
    const { log, happened } = fakeLog({ append: true });
    const work = () => Promise.reject(error);
    await expect(auditedChange(log, 'recipe_removal', { recipe_id: 'r' }, work, () => ({}))).rejects.toBe(error);
    expect(happened.at(-1)).toEqual({ kind: 'recipe_removal', ...origin, recipe_id: 'r', error: code });
  });

  it('is made on behalf of who asked, whatever runs meanwhile', async () => {
    const { log, happened } = fakeLog();
    const ask = (requestId: string) =>
      onBehalfOf({ requestId, jobId: null, caller: 'gui' }, () =>
        auditedChange(
          log,
          'fit',
          {},
          () => new Promise((resolve) => setTimeout(resolve, 5)),
          () => ({}),
        ),
      );
    await Promise.all([ask('one'), ask('two')]);
    expect(happened.slice(2)).toMatchObject([
      { request_id: 'one', who: 'gui' },
      { request_id: 'two', who: 'gui' },
    ]);
  });
});
