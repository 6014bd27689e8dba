import type { Job, JobHooks, JobKind, NewJob, RepeatKey } from '../inspection/jobs.ts';
import { type AppParts, rounded } from './app.ts';
import { goneSignal, type RequestContext } from './context.ts';
import { createAnswerLedger, fingerprintOf, idempotencyKey } from './idempotency.ts';
import { jobBody } from './jobs.ts';
import type { UploadedFile } from './multipart.ts';
import { shownFailure, statusOf } from './problem.ts';

export interface LongWorkHooks extends Pick<JobHooks, 'signal' | 'onProgress'> {
  /** Milliseconds as they are spent, by step, for the log. */
  readonly onStep: (step: string, ms: number) => void;
}

/** One request for work that may take minutes, checked. */
export interface LongWork {
  readonly kind: JobKind;
  readonly key: NewJob['key'];
  /** The fields, and below the pictures: two requests that agree in both and in the key ask for the same. */
  readonly fields: object;
  readonly pictures?: readonly UploadedFile[];
  /** @returns the body of the answer without `request_id` and `recipe_id` */
  readonly work: (hooks: LongWorkHooks) => Promise<object>;
}

export type AnswerLongWork = (c: RequestContext, asked: LongWork) => Promise<Response>;

/**
 * Answers work that takes long: with its result, as the contract has it, or with `Prefer: respond-async` (RFC 7240) 202 and
 * a job. A caller who waits and hangs up cancels the work.
 *
 * A request that repeats an earlier one under its `Idempotency-Key` gets the same job, or the same answer under its own
 * request id. Keys share one space: with another request a key is refused.
 */
export function longWorkAnswers({ service }: AppParts): AnswerLongWork {
  const ledger = createAnswerLedger(() => performance.now());

  return async (c, asked) => {
    const envelope = { request_id: c.get('requestId'), recipe_id: asked.key.recipeId };
    const repeat = await repeatKeyOf(c, asked);
    const now = async () => {
      const steps = c.get('steps');
      return await asked.work({
        signal: goneSignal(c),
        onProgress: () => undefined,
        onStep: (step, ms) => addStep(steps, step, ms),
      });
    };
    // From here to the entry in the ledger or among the jobs nothing may wait: a repetition must find it.
    const answered = repeat !== null && ledger.has(repeat.key);
    const wantsJob = prefersAsync(c.req.header('prefer'));
    if (!answered && (wantsJob || (repeat !== null && service.jobs.knows(repeat.key)))) {
      const { kind, key } = asked;
      const requestId = c.get('requestId');
      const job = await service.jobs.submit({ kind, key, requestId, repeat, work: asJob(c, asked, envelope) });
      return accepted(c, job, wantsJob);
    }
    if (repeat === null) return c.json({ ...(await now()), ...envelope });
    const { body, repeated } = await ledger.answer(repeat, now);
    if (repeated) c.header('Idempotent-Replayed', 'true');
    return c.json({ ...body, ...envelope });
  };
}

/** Whether a `Prefer` header (RFC 7240) holds `respond-async`, perhaps among other preferences. */
export function prefersAsync(header: string | undefined): boolean {
  const preferences = (header ?? '')
    .split(',')
    .map((preference) => preference.split(/[;=]/, 1)[0]?.trim().toLowerCase());
  return preferences.includes('respond-async');
}

async function repeatKeyOf(c: RequestContext, { key, fields, pictures = [] }: LongWork): Promise<RepeatKey | null> {
  const text = idempotencyKey(c.req.header('idempotency-key'));
  if (text === null) return null;
  const { method, path } = c.req;
  return { key: text, fingerprint: await fingerprintOf({ method, path, key, fields, pictures }) };
}

function accepted(c: RequestContext, job: Job, asWished: boolean): Response {
  if (asWished) c.header('Preference-Applied', 'respond-async');
  return c.json(jobBody(job, c.get('requestId')), 202, { Location: `/jobs/${job.id}` });
}

/** The work as a job does it: the log is told how it ended, since no request's line will. */
function asJob(c: RequestContext, { kind, work }: LongWork, envelope: object): NewJob['work'] {
  const { path } = c.req;
  const requestId = c.get('requestId');
  const log = c.get('log');
  return async ({ id, signal, onProgress }) => {
    const started = performance.now();
    const steps: Record<string, number> = {};
    const line = () => ({ job_id: id, kind, ms: rounded(performance.now() - started), steps });
    try {
      const body = await work({ signal, onProgress, onStep: (step, ms) => addStep(steps, step, ms) });
      log.info(line(), 'job done');
      return { ...body, ...envelope };
    } catch (error) {
      const shown = shownFailure(error, path, requestId);
      const gaveUp = signal.aborted && (shown.code === 'request_aborted' || shown.code === 'shutting_down');
      if (statusOf[shown.code] >= 500 && !gaveUp) log.error({ ...line(), err: error, code: shown.code }, 'job failed');
      else log.info({ ...line(), code: shown.code, detail: shown.message }, 'job not done');
      throw shown;
    }
  };
}

function addStep(steps: Record<string, number>, step: string, ms: number): void {
  steps[step] = rounded((steps[step] ?? 0) + ms);
}
