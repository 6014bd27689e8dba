import { formOf, queryOf } from './encode.ts';
import { followJob, jobPath } from './job_events.ts';
import { OkngError } from './okng_error.ts';
import {
  type CallOptions,
  type ClientOptions,
  createTransport,
  type Order,
  readJson,
  readJsonList,
  readPicture,
} from './transport.ts';
import type * as wire from './wire.ts';

export { type ConnectionCode, OkngError } from './okng_error.ts';
export type { CallOptions, ClientOptions } from './transport.ts';
export type * from './wire.ts';

export interface LongCallOptions extends CallOptions {
  /** A text of the caller's, such as the number of an order: the same request with it is done once, for a day. Default: a new one. */
  readonly idempotencyKey?: string | undefined;
}

/** Work that the service does while nobody waits. */
export interface StartedJob<T> {
  readonly id: string;
  /** As {@link Jobs.follow}. */
  follow(call?: CallOptions): AsyncIterable<wire.Job>;
  /**
   * Waits for the end.
   *
   * @throws OkngError as the request would have been refused, `job_cancelled`, `job_interrupted`
   */
  result(call?: CallOptions & { readonly onChange?: (job: wire.Job) => void }): Promise<T>;
  cancel(call?: CallOptions): Promise<wire.JobWithResult>;
}

/**
 * The service's operations, one method each. Requests and answers are the service's own, snake_case as on the wire; every
 * method throws {@link OkngError}, or the signal's reason.
 *
 * What is safe to ask again is asked again when the connection was lost or the service is busy: everything that only reads, and
 * long work, which carries an Idempotency-Key. Anything else only when the service has not begun it.
 */
export interface Client {
  health(call?: CallOptions): Promise<wire.Health>;
  livez(call?: CallOptions): Promise<wire.Alive>;
  /** Also answers, with `not_ready`, when the service is not. */
  readyz(call?: CallOptions): Promise<wire.Readiness>;
  /** Waits for the fit, at most five minutes; hanging up cancels it. Longer ones are for `jobs.fit`. */
  fit(fields: wire.FitFields, call?: LongCallOptions): Promise<wire.FitAnswer>;
  calibrateNg(request: wire.CalibrateNgRequest, call?: CallOptions): Promise<wire.CalibrateNgAnswer>;
  infer(fields: wire.InferFields, call?: InferOptions): Promise<wire.InferAnswer>;
  /** Several pictures in one request: an answer for each, in their order, or none. */
  inferAll(fields: wire.InferAllFields, call?: InferOptions): Promise<readonly wire.InferAnswer[]>;
  modelHealth(query: wire.ModelQuery, call?: CallOptions): Promise<wire.ModelHealth>;
  state(query: wire.ModelQuery, call?: CallOptions): Promise<wire.ModelState>;
  manifest(query: wire.ModelQuery, call?: CallOptions): Promise<wire.Manifest>;
  calibrateDataset(request: wire.CalibrateDatasetRequest, call?: LongCallOptions): Promise<wire.CalibrateDatasetAnswer>;
  inferDataset(request: wire.InferDatasetRequest, call?: LongCallOptions): Promise<wire.InferDatasetAnswer>;
  readonly datasets: Datasets;
  readonly recipes: Recipes;
  readonly models: Models;
  readonly jobs: Jobs;
}

export interface InferOptions extends CallOptions {
  /** Whole milliseconds after which the answer is of no use: the service then refuses with `deadline_missed`, as early as it can. */
  readonly deadlineMs?: number | undefined;
}

export interface Datasets {
  uploadOk(fields: wire.UploadFields, call?: CallOptions): Promise<wire.UploadAnswer>;
  uploadNg(fields: wire.UploadFields, call?: CallOptions): Promise<wire.UploadAnswer>;
  list(query: wire.DatasetQuery, call?: CallOptions): Promise<wire.DatasetList>;
  /** The picture's bytes as they were uploaded. */
  file(query: wire.SampleQuery, call?: CallOptions): Promise<Blob>;
  meta(query: wire.SampleQuery, call?: CallOptions): Promise<wire.SampleMeta>;
  /** A small JPEG. */
  thumbnail(query: wire.ThumbnailQuery, call?: CallOptions): Promise<Blob>;
  remove(query: wire.SampleQuery, call?: CallOptions): Promise<wire.SampleDeleted>;
  clear(query: wire.DatasetLabelQuery, call?: CallOptions): Promise<wire.DatasetCleared>;
  review(request: wire.ReviewRequest, call?: CallOptions): Promise<wire.Review>;
}

export interface Recipes {
  list(call?: CallOptions): Promise<wire.RecipeList>;
  get(id: string, call?: CallOptions): Promise<wire.Recipe>;
  /** Corrects its scale, or gives it one before its first fit. */
  correct(id: string, change: wire.RecipeChange, call?: CallOptions): Promise<wire.RecipeChanged>;
  remove(id: string, how?: wire.RecipeRemoval, call?: CallOptions): Promise<wire.RecipeDeleted>;
}

export interface Models {
  list(call?: CallOptions): Promise<wire.ModelList>;
  /** The memories that a model has had, newest first. */
  generations(query: wire.ModelQuery, call?: CallOptions): Promise<wire.GenerationList>;
  /** Lets an earlier memory answer again, with its own calibration. */
  rollBack(
    model: Pick<wire.ModelQuery, 'role_id' | 'roi_id'>,
    request: wire.RollbackRequest,
    call?: CallOptions,
  ): Promise<wire.Rollback>;
}

export interface Jobs {
  list(query?: wire.JobsQuery, call?: CallOptions): Promise<wire.JobList>;
  get(id: string, call?: CallOptions): Promise<wire.JobWithResult>;
  /** Answers when it has ended. @throws OkngError `job_ended` when it had before */
  cancel(id: string, call?: CallOptions): Promise<wire.JobWithResult>;
  /**
   * The job as it is, and again whenever it has changed; the last one has ended. Cut connections are taken up again; where events
   * do not get through, the job is looked at once a second.
   */
  follow(id: string, call?: CallOptions): AsyncIterable<wire.Job>;
  fit(fields: wire.FitFields, call?: LongCallOptions): Promise<StartedJob<wire.FitAnswer>>;
  calibrateDataset(
    request: wire.CalibrateDatasetRequest,
    call?: LongCallOptions,
  ): Promise<StartedJob<wire.CalibrateDatasetAnswer>>;
  inferDataset(request: wire.InferDatasetRequest, call?: LongCallOptions): Promise<StartedJob<wire.InferDatasetAnswer>>;
}

/**
 * A client of one okng service, for Node 20 and later and for browsers (the service must then name the page's origin in
 * BDI_CORS_ORIGINS). It holds no connection: there is nothing to close.
 *
 * @throws OkngError `invalid_url`
 */
export function createClient(options: ClientOptions): Client {
  const transport = createTransport(options);

  const get = <T>(path: string, call: CallOptions | undefined) =>
    transport.ask<T>({ method: 'GET', path, repeatable: true, read: readJson }, call);
  const picture = (path: string, call: CallOptions | undefined) =>
    transport.ask({ method: 'GET', path, repeatable: true, read: readPicture }, call);
  const change = <T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body: Order<T>['body'], call?: CallOptions) =>
    transport.ask<T>({ method, path, body, read: readJson }, call);
  const removal = <T>(path: string, call: CallOptions | undefined) => change<T>('DELETE', path, undefined, call);

  const reviewOrder: Order<wire.Review> = {
    method: 'POST',
    path: '/datasets/review',
    repeatable: true,
    long: true,
    read: readJson,
  };
  const long = (
    path: string,
    body: Order<unknown>['body'],
    { idempotencyKey = randomKey() }: LongCallOptions = {},
  ) => ({
    method: 'POST' as const,
    path,
    body,
    headers: { 'Idempotency-Key': idempotencyKey },
    repeatable: true,
    long: true,
  });
  const work = <T>(path: string, body: Order<T>['body'], call?: LongCallOptions) =>
    transport.ask<T>({ ...long(path, body, call), read: readJson }, call);
  const started = async <T>(path: string, body: Order<T>['body'], call?: LongCallOptions): Promise<StartedJob<T>> => {
    const order = long(path, body, call);
    const headers = { ...order.headers, Prefer: 'respond-async' };
    const { id } = await transport.ask<wire.Job>({ ...order, headers, accept: [202], read: readJson }, call);
    return {
      id,
      follow: (options) => jobs.follow(id, options),
      result: async (options) => {
        for await (const job of jobs.follow(id, options)) options?.onChange?.(job);
        return resultOf<T>(await jobs.get(id, options));
      },
      cancel: (options) => jobs.cancel(id, options),
    };
  };

  const inferOrder = (fields: object, { deadlineMs }: InferOptions = {}) => ({
    method: 'POST' as const,
    path: '/infer',
    body: formOf(fields),
    // An answer that comes too late by asking twice is of no use either.
    ...(deadlineMs !== undefined && { headers: { 'X-Deadline-Ms': `${deadlineMs}` }, retries: 0 }),
  });

  const modelPath = ({ role_id: role, roi_id: roi }: Pick<wire.ModelQuery, 'role_id' | 'roi_id'>, what: string) =>
    `/models/${encodeURIComponent(role)}/${encodeURIComponent(roi)}/${what}`;
  const recipePath = (id: string) => `/recipes/${encodeURIComponent(id)}`;
  const jobs: Jobs = {
    list: (query = {}, call) => get(`/jobs${queryOf(query)}`, call),
    get: (id, call) => get(jobPath(id), call),
    cancel: (id, call) => removal(jobPath(id), call),
    follow: (id, call = {}) => followJob(transport, id, call),
    fit: (fields, call) => started('/fit_ok', formOf(fields), call),
    calibrateDataset: (request, call) => started('/calibrate_dataset', JSON.stringify(request), call),
    inferDataset: (request, call) => started('/infer_dataset', JSON.stringify(request), call),
  };

  return {
    health: (call) => get('/health', call),
    livez: (call) => get('/livez', call),
    readyz: (call) =>
      transport.ask({ method: 'GET', path: '/readyz', accept: [503], read: readJson<wire.Readiness> }, call),
    fit: (fields, call) => work('/fit_ok', formOf(fields), call),
    calibrateNg: (request, call) => change('POST', '/calibrate_ng', JSON.stringify(request), call),
    infer: (fields, call) => transport.ask({ ...inferOrder(fields, call), read: readJson<wire.InferAnswer> }, call),
    inferAll: (fields, call) =>
      transport.ask({ ...inferOrder(fields, call), read: readJsonList<wire.InferAnswer> }, call),
    modelHealth: ({ role_id, roi_id, ...query }, call) =>
      get(modelPath({ role_id, roi_id }, 'health') + queryOf(query), call),
    state: (query, call) => get(`/state${queryOf(query)}`, call),
    manifest: (query, call) => get(`/manifest${queryOf(query)}`, call),
    calibrateDataset: (request, call) => work('/calibrate_dataset', JSON.stringify(request), call),
    inferDataset: (request, call) => work('/infer_dataset', JSON.stringify(request), call),
    datasets: {
      uploadOk: (fields, call) => change('POST', '/datasets/ok/upload', formOf(fields), call),
      uploadNg: (fields, call) => change('POST', '/datasets/ng/upload', formOf(fields), call),
      list: (query, call) => get(`/datasets/list${queryOf(query)}`, call),
      file: (query, call) => picture(`/datasets/file${queryOf(query)}`, call),
      meta: (query, call) => get(`/datasets/meta${queryOf(query)}`, call),
      thumbnail: (query, call) => picture(`/datasets/thumbnail${queryOf(query)}`, call),
      remove: (query, call) => removal(`/datasets/file${queryOf(query)}`, call),
      clear: (query, call) => removal(`/datasets/clear${queryOf(query)}`, call),
      review: (request, call) => transport.ask({ ...reviewOrder, body: JSON.stringify(request) }, call),
    },
    recipes: {
      list: (call) => get('/recipes', call),
      get: (id, call) => get(recipePath(id), call),
      correct: (id, body, call) => change('PUT', recipePath(id), JSON.stringify(body), call),
      remove: (id, how = {}, call) => removal(recipePath(id) + queryOf(how), call),
    },
    models: {
      list: (call) => get('/models', call),
      generations: ({ role_id, roi_id, ...query }, call) =>
        get(modelPath({ role_id, roi_id }, 'generations') + queryOf(query), call),
      rollBack: (model, request, call) => change('POST', modelPath(model, 'rollback'), JSON.stringify(request), call),
    },
    jobs,
  };
}

/** @throws OkngError as the request would have been refused */
function resultOf<T>({ result, error, state, request_id }: wire.JobWithResult): T {
  if (result !== null) return result as T;
  const {
    status,
    code,
    error: sentence,
    request_id: requestId,
  } = error ?? { error: `The job has ${state}.`, request_id };
  throw new OkngError((code ?? 'job_interrupted') as OkngError['code'], sentence, { status, requestId });
}

/** Not `randomUUID`: pages that came by plain HTTP, as in a plant, do not have it. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
