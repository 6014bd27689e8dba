import { InspectionError } from '../errors.ts';
import { isEnded, type Job, type Jobs, kept } from '../inspection/jobs.ts';
import type { AppParts, Route } from './app.ts';
import type { RequestContext } from './context.ts';
import { type ProblemCode, problem, statusOf } from './problem.ts';
import { jobsQuery } from './schemas.ts';
import { parseWith, resolveRecipe } from './validation.ts';

/** How a stream of events is paced. */
export interface EventPace {
  /** Silence after which a comment keeps proxies from cutting the connection. */
  readonly keepAliveMs: number;
  /** At least between two events of progress: what comes faster than anyone looks is left out. */
  readonly restMs: number;
}

const usualPace: EventPace = { keepAliveMs: 15_000, restMs: 200 };

/** `/jobs`: what the long work that nobody waits for is doing, or has come to. */
export function jobRoutes({ service }: AppParts, pace: EventPace = usualPace): readonly Route[] {
  const idOf = (c: RequestContext): string => {
    resolveRecipe(c.req.query('recipe_id'), c.req.header('x-recipe-id'));
    return c.req.param('id') ?? '';
  };
  const answerWith = async (c: RequestContext, job: Job) =>
    c.json({ ...jobBody(job, c.get('requestId')), result: await service.jobs.result(job.id) });

  return [
    {
      method: 'GET',
      path: '/jobs',
      handle: (c) => {
        c.set('recipeId', resolveRecipe(c.req.query('recipe_id'), c.req.header('x-recipe-id')));
        const query = parseWith(jobsQuery, c.req.query());
        const jobs = service.jobs.list({ states: query.state, kinds: query.kind, limit: query.limit });
        return c.json({
          status: 'ok',
          jobs: jobs.map(jobFields),
          request_id: c.get('requestId'),
          recipe_id: c.get('recipeId'),
        });
      },
    },
    {
      method: 'GET',
      path: '/jobs/:id',
      handle: async (c) => await answerWith(c, there(c, service.jobs.find(idOf(c)))),
    },
    {
      method: 'DELETE',
      path: '/jobs/:id',
      handle: async (c) => await answerWith(c, there(c, await service.jobs.cancel(idOf(c)))),
    },
    {
      method: 'GET',
      path: '/jobs/:id/events',
      handle: (c) => {
        const job = there(c, service.jobs.find(idOf(c)));
        const lastEventId = c.req.header('last-event-id') ?? '';
        // An EventSource comes back whenever a stream ends; 204 is how it is told that there is no more.
        if (isEnded(job.state) && lastEventId === endEventId) return c.body(null, 204);
        const events = eventsOf(service.jobs, job, { lastEventId, requestId: c.get('requestId'), pace });
        return c.body(events, 200, {
          'Content-Type': 'text/event-stream; charset=utf-8',
          'Cache-Control': 'no-store',
          'X-Accel-Buffering': 'no',
        });
      },
    },
  ];
}

/** The job of the path. The recipe of the answer is its own. */
function there(c: RequestContext, job: Job | null): Job {
  if (job !== null) {
    c.set('recipeId', job.key.recipeId);
    return job;
  }
  throw new InspectionError(
    'not_found',
    `There is no job ${JSON.stringify(c.req.param('id')?.slice(0, 80))}; GET /jobs lists those there are. Ended ones are kept for ${kept.days} days, at most ${kept.jobs} of them.`,
  );
}

/** A job's members, its result apart. */
export function jobFields(job: Job) {
  const { recipeId, modelKey, roleId, roiId } = job.key;
  const code = job.error === null ? null : codeOf(job.error.code);
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    step: job.progress?.step ?? null,
    done: job.progress?.done ?? null,
    total: job.progress?.total ?? null,
    eta_s: job.etaS === null ? null : Math.round(job.etaS * 10) / 10,
    created_at_utc: job.createdAtUtc,
    started_at_utc: job.startedAtUtc,
    ended_at_utc: job.endedAtUtc,
    status_code: code === null ? (isEnded(job.state) ? 200 : null) : statusOf[code],
    error: code === null ? null : problem(code, job.error?.sentence ?? '', job.requestId, recipeId),
    role_id: roleId,
    roi_id: roiId,
    model_key: modelKey,
    recipe_id: recipeId,
  };
}

export function jobBody(job: Job, requestId: string) {
  return { ...jobFields(job), request_id: requestId };
}

/** A record may be of another version of okng, which knew other codes. */
function codeOf(code: string): ProblemCode {
  return code in statusOf ? (code as ProblemCode) : 'internal_error';
}

const endEventId = 'end';

/** Milliseconds after which an EventSource comes back when its connection was cut. */
const comeBackMs = 2000;

/**
 * Server-sent events: `progress` with the job as it is, again whenever it has changed, and `end` when it has ended. Every
 * event tells all, so one who comes back has missed nothing, and one who reads slowly gets the latest only: nothing is held
 * for a reader, and the job is watched only while somebody reads.
 */
function eventsOf(
  jobs: Jobs,
  { id }: Job,
  about: { readonly lastEventId: string; readonly requestId: string; readonly pace: EventPace },
): ReadableStream<Uint8Array> {
  let seen = about.lastEventId;
  let gone = false;
  let wake = () => {};

  const change = async (job: Job): Promise<void> => {
    const stop = new AbortController();
    wake = () => stop.abort();
    const timer = setTimeout(wake, about.pace.keepAliveMs);
    await jobs.changed(job, stop.signal);
    clearTimeout(timer);
  };
  const rest = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, about.pace.restMs);
    });

  async function* texts(): AsyncGenerator<string> {
    yield `retry: ${comeBackMs}\n\n`;
    while (!gone) {
      const job = jobs.find(id);
      if (job === null) return;
      if (isEnded(job.state)) {
        yield eventText('end', endEventId, jobBody(job, about.requestId));
        return;
      }
      const version = String(job.version);
      if (version !== seen) {
        seen = version;
        yield eventText('progress', version, jobBody(job, about.requestId));
        await rest();
      } else {
        await change(job);
        if (jobs.find(id)?.version === job.version) yield ': nothing new\n\n';
      }
    }
  }

  const sending = texts();
  const encoder = new TextEncoder();
  return new ReadableStream(
    {
      pull: async (controller) => {
        const { value, done } = await sending.next();
        if (gone) return;
        if (done === true) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
      cancel: () => {
        gone = true;
        wake();
      },
    },
    // Not a word ahead of what the reader takes.
    { highWaterMark: 0 },
  );
}

function eventText(event: 'progress' | 'end', eventId: string, data: object): string {
  return `event: ${event}\nid: ${eventId}\ndata: ${JSON.stringify(data)}\n\n`;
}
