import { join } from 'node:path';
import { JOBS_FOLDER, readJobs } from '../store/job_store.ts';
import { fileFacts } from '../store/stored_file.ts';
import { attempt, type Finding, failure, good, warning } from './findings.ts';

/** Looks at the records of jobs, and for results without one. Changes nothing. Cost: reads every record. */
export async function examineJobs(modelsDir: string): Promise<readonly Finding[]> {
  const read = await attempt(() => readJobs(modelsDir));
  if ('problem' in read) return [failure(JOBS_FOLDER, read.problem, 'Give the service the right to read it.')];
  const { records, damaged, leftovers } = read.value;
  const findings: Finding[] = damaged.map((name) =>
    warning(
      `${JOBS_FOLDER}/${name}`,
      'The record of a job that cannot be read, or none.',
      'Remove it: no request finds this job.',
    ),
  );
  for (const name of leftovers) {
    // A service that removes a job removes its result last: it may be gone by now.
    if ((await fileFacts(join(modelsDir, JOBS_FOLDER, name))) === undefined) continue;
    findings.push(
      warning(
        `${JOBS_FOLDER}/${name}`,
        'The result of a job that has been removed.',
        'Nothing: the service removes it when it starts.',
      ),
    );
  }
  if (records.length > 0) findings.unshift(good(JOBS_FOLDER, `${records.length} jobs.`));
  return findings;
}
