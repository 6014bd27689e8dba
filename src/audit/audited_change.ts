import { InspectionError } from '../errors.ts';
import type { AuditLog } from './audit_log.ts';
import { currentOrigin } from './origin.ts';

/** Everything that changes what the service answers, or what it is learned from. */
export type ChangeKind =
  | 'fit'
  | 'calibrate'
  | 'rollback'
  | 'recipe_change'
  | 'recipe_removal'
  | 'dataset_upload'
  | 'dataset_delete'
  | 'dataset_clear'
  | 'import';

type Facts = Readonly<Record<string, unknown>>;

/** Who asked for it, as every line of a verdict or change says it. */
export function originMembers() {
  const { requestId, jobId, caller } = currentOrigin();
  return { request_id: requestId, job_id: jobId, who: caller };
}

/**
 * Does `work` and audits it: after it is true, and before it is answered. What fails leaves a line with its error's code,
 * because a failed change may have come halfway.
 *
 * @param about what is to be changed
 * @param facts what the change has come to
 * @throws what `work` throws; as {@link AuditLog.append}, before anything is changed where the audit cannot be written. Fails
 *   it only then, the change is done and the error says so
 */
export async function auditedChange<R>(
  log: AuditLog,
  kind: ChangeKind,
  about: Facts,
  work: () => Promise<R>,
  facts: (result: R) => Facts | Promise<Facts>,
): Promise<R> {
  const line = { kind, ...originMembers(), ...about };
  await log.requireWritable();
  let result: R;
  try {
    result = await work();
  } catch (error) {
    const code = error instanceof InspectionError ? error.code : 'internal_error';
    // The caller hears what failed first; that the audit fails, too, is in the log.
    await Promise.allSettled([log.append([{ ...line, error: code }])]);
    throw error;
  }
  try {
    await log.append([{ ...line, error: null, ...(await facts(result)) }]);
  } catch (error) {
    if (!(error instanceof InspectionError)) throw error;
    throw new InspectionError(error.code, `The change is done and stays, but without a line: ${error.message}`, {
      cause: error,
    });
  }
  return result;
}
