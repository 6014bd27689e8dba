import { Hono, type MiddlewareHandler } from 'hono';
import type { Logger } from 'pino';
import { onBehalfOf } from '../audit/origin.ts';
import type { Config } from '../config.ts';
import { InspectionError } from '../errors.ts';
import type { Service } from '../service.ts';
import { calibrateDatasetRoute } from './calibrate_dataset.ts';
import { calibrateNgRoute } from './calibrate_ng.ts';
import { admitCallers } from './callers.ts';
import { type OkngEnv, type RequestContext, requestIdOf } from './context.ts';
import { datasetReviewRoute } from './dataset_review.ts';
import { datasetSampleRoutes } from './dataset_samples.ts';
import { datasetUploadRoutes } from './dataset_upload.ts';
import { docsRoutes } from './docs.ts';
import { fitOkRoute } from './fit_ok.ts';
import { healthRoutes } from './health.ts';
import { inferRoute } from './infer.ts';
import { inferDatasetRoute } from './infer_dataset.ts';
import { jobRoutes } from './jobs.ts';
import { longWorkAnswers } from './long_work.ts';
import { modelHealthRoute } from './model_health.ts';
import { modelStateRoutes } from './model_state.ts';
import { modelRoutes } from './models.ts';
import { bodyTooLarge } from './multipart.ts';
import { type ProblemCode, problem, problemMediaType, shownFailure } from './problem.ts';
import { recipeRoutes } from './recipes.ts';
import { noteRecipe } from './validation.ts';

/** What the HTTP layer needs of its surroundings. */
export interface AppParts {
  readonly service: Service;
  readonly config: Pick<Config, 'host' | 'maxBodyBytes' | 'queueLimit' | 'corsOrigins' | 'apiKeys'>;
  readonly log: Logger;
}

/** One endpoint. A path may stand in several, with different methods. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Counts against the queue limit: it holds pictures in memory. */
  readonly heavy?: boolean;
  readonly handle: (c: RequestContext) => Promise<Response> | Response;
}

/**
 * The whole HTTP face of okng.
 *
 * Errors: every failure becomes the contract's problem body with the status of its code; what is no
 * {@link InspectionError} is logged with its stack and answered 500 without it.
 */
export function createApp(parts: AppParts): Hono<OkngEnv> {
  const app = new Hono<OkngEnv>();
  const answerLongWork = longWorkAnswers(parts);
  const routes: readonly Route[] = [
    ...healthRoutes(parts),
    fitOkRoute(parts, answerLongWork),
    calibrateNgRoute(parts),
    inferRoute(parts),
    modelHealthRoute(parts),
    ...modelRoutes(parts),
    ...modelStateRoutes(parts),
    ...datasetUploadRoutes(parts),
    ...datasetSampleRoutes(parts),
    datasetReviewRoute(parts),
    calibrateDatasetRoute(parts, answerLongWork),
    inferDatasetRoute(parts, answerLongWork),
    ...recipeRoutes(parts),
    ...jobRoutes(parts),
    ...docsRoutes(parts),
  ];

  app.use(async (c, next) => {
    const started = performance.now();
    const requestId = requestIdOf(c.req.header('x-request-id'));
    c.set('requestId', requestId);
    c.set('arrived', started);
    c.set('recipeId', 'default');
    noteRecipe(c, c.req.query('recipe_id'), c.req.header('x-recipe-id'));
    c.set('caller', null);
    c.set('steps', {});
    c.set('log', parts.log.child({ request_id: requestId }));
    c.header('X-Request-Id', requestId);
    await next();
    const quiet = c.res.status < 400 && probes.has(c.req.path);
    c.get('log')[quiet ? 'debug' : 'info'](
      {
        method: c.req.method,
        path: c.req.path,
        status: c.res.status,
        recipe_id: c.get('recipeId'),
        ...(c.get('caller') !== null && { caller: c.get('caller') }),
        ms: rounded(performance.now() - started),
        ...(Object.keys(c.get('steps')).length > 0 && { steps: c.get('steps') }),
      },
      'request',
    );
  });

  const admit = admission(parts.config.queueLimit);
  const allowed = new Map<string, string[]>();
  for (const route of routes) {
    const methods = allowed.get(route.path) ?? [];
    allowed.set(route.path, [...methods, route.method]);
  }
  // Unknown paths as well: without these headers a browser hides from the GUI that the answer was 404.
  if (parts.config.corsOrigins.length > 0) app.use(corsFor(parts.config.corsOrigins));
  app.use(admitCallers(parts.config));
  for (const route of routes) {
    app.on(route.method, route.path, async (c) => {
      refuseDeclaredSize(c, parts.config.maxBodyBytes);
      const origin = { requestId: c.get('requestId'), jobId: null, caller: c.get('caller') };
      const handle = () => onBehalfOf(origin, () => route.handle(c));
      return route.heavy === true ? await admit(handle) : await handle();
    });
  }
  for (const [path, methods] of allowed) {
    const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
    app.options(path, (c) => c.body(null, 204, { Allow: allow }));
    app.all(path, (c) => {
      c.header('Allow', allow);
      throw new InspectionError(
        'method_not_allowed',
        `${c.req.path.slice(0, 200)} answers ${allow}, not ${c.req.method}.`,
      );
    });
  }

  app.notFound((c) => {
    throw new InspectionError('not_found', `There is no ${c.req.path.slice(0, 200)}; /docs lists the endpoints.`);
  });
  app.onError((error, c) => answerProblem(c, error));
  return app;
}

const probes: ReadonlySet<string> = new Set(['/health', '/livez', '/readyz']);

/** Milliseconds with two decimals: enough for a log. */
export function rounded(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}

/** Conflicts with what will be over soon. */
const passing: ReadonlySet<ProblemCode> = new Set(['fit_in_progress', 'request_in_progress']);

function answerProblem(c: RequestContext, error: Error): Response {
  const { code, message } = shownFailure(error, c.req.path, c.get('requestId'));
  const body = problem(code, message, c.get('requestId'), c.get('recipeId'));
  // A caller who left is no trouble of ours, whatever the status that nobody reads.
  if (body.status >= 500 && code !== 'request_aborted')
    c.get('log').error({ err: error, code: body.code }, 'request failed');
  else c.get('log').info({ code: body.code, detail: body.detail }, 'request refused');
  if (body.status === 429 || body.status === 503 || passing.has(body.code)) c.header('Retry-After', '1');
  return c.body(JSON.stringify(body), body.status, { 'Content-Type': problemMediaType });
}

/** A body whose declared size is over the limit is refused before a byte of it is read. */
function refuseDeclaredSize(c: RequestContext, maxBodyBytes: number): void {
  const declared = Number(c.req.header('content-length') ?? 0);
  if (declared > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
}

/**
 * Bounds the requests with pictures in flight, so that a flood is told to come back instead of filling the memory.
 */
function admission(limit: number): <T>(work: () => Promise<T> | T) => Promise<T> {
  let inFlight = 0;
  return async (work) => {
    if (inFlight >= limit) {
      throw new InspectionError(
        'queue_full',
        `${limit} requests with pictures are in progress; try again in a second (BDI_QUEUE_LIMIT sets the limit).`,
      );
    }
    inFlight++;
    try {
      return await work();
    } finally {
      inFlight--;
    }
  };
}

/**
 * Lets browsers on the configured origins call and read. Only a real preflight is answered here: any other OPTIONS is the
 * GUI's question whether an endpoint is there, and 404 is one of the answers.
 */
function corsFor(origins: readonly string[]): MiddlewareHandler<OkngEnv> {
  const anyOrigin = origins.includes('*');
  return async (c, next) => {
    const origin = c.req.header('origin') ?? '';
    if (anyOrigin) c.header('Access-Control-Allow-Origin', '*');
    else {
      c.header('Vary', 'Origin');
      if (origins.includes(origin)) c.header('Access-Control-Allow-Origin', origin);
    }
    c.header(
      'Access-Control-Expose-Headers',
      'X-Request-Id, Retry-After, Location, Preference-Applied, Idempotent-Replayed',
    );
    if (c.req.method === 'OPTIONS' && c.req.header('access-control-request-method') !== undefined) {
      return c.body(null, 204, {
        'Access-Control-Allow-Methods': 'GET, HEAD, POST, PUT, DELETE, OPTIONS',
        'Access-Control-Allow-Headers':
          'Content-Type, Authorization, X-API-Key, X-Request-Id, X-Recipe-Id, X-Deadline-Ms, Prefer, Idempotency-Key, Last-Event-ID',
        'Access-Control-Max-Age': '600',
      });
    }
    await next();
  };
}
