import { join } from 'node:path';
import { attempt, type Finding, failure, good, warning } from '../inspection/findings.ts';
import { storageError } from '../store/atomic_write.ts';
import { AUDIT_FOLDER } from './audit_files.ts';
import { verifyAudit } from './verify_audit.ts';

/** Told one by one; `okng audit verify` tells a thousand. */
const mostTold = 20;

/**
 * Looks at the audit of a models folder as {@link verifyAudit} does. Files that are gone are a warning, because they may have
 * been moved to where only `okng audit verify` is told to look.
 *
 * Cost: reads all of it.
 */
export async function examineAudit(modelsDir: string): Promise<readonly Finding[]> {
  const verified = await attempt(() =>
    verifyAudit([join(modelsDir, AUDIT_FOLDER)]).catch((error) => {
      throw storageError(error);
    }),
  );
  if ('problem' in verified) {
    return [failure(AUDIT_FOLDER, verified.problem, 'Give the service the right to read it, or look after the disk.')];
  }
  const { lines, chains, found, findings } = verified.value;
  if (found === 0) return [good(AUDIT_FOLDER, `${lines} lines in ${chains.length} chains, all as they were written.`)];

  const missing = findings.filter(({ problem }) => problem === 'missing_file');
  const changed = findings.filter(({ problem }) => problem !== 'missing_file');
  const told = changed
    .slice(0, mostTold)
    .map(({ file, line, text }) =>
      failure(
        `${AUDIT_FOLDER}/${file}`,
        line === null ? text : `Line ${line} of the file: ${text}`,
        'Leave the file as it is, compare it with a backup, and find out who may write in this folder.',
      ),
    );
  const untold = found - missing.length - told.length;
  if (untold > 0) {
    told.push(failure(AUDIT_FOLDER, `${untold} more findings.`, 'Let okng audit verify tell them.'));
  }
  if (missing.length > 0) {
    told.push(
      warning(
        AUDIT_FOLDER,
        `${missing.length} files are not here, such as ${missing[0]?.file}.`,
        'Where they were moved away, give both folders to okng audit verify; else take them from a backup.',
      ),
    );
  }
  return told;
}
