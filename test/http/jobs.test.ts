import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Hono } from 'hono';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { InspectionError } from '../../src/errors.ts';
import { createApp } from '../../src/http/app.ts';
import type { OkngEnv } from '../../src/http/context.ts';
import { type EventPace, jobRoutes } from '../../src/http/jobs.ts';
import { prefersAsync } from '../../src/http/long_work.ts';
import { fitOkResponse, jobListResponse, jobResponse, jobWithResult, problemBody } from '../../src/http/responses.ts';
import type { FitHooks, FitReport, FitRequest } from '../../src/inspection/fit_model.ts';
import { createJobs, type Jobs } from '../../src/inspection/jobs.ts';
import type { Service } from '../../src/service.ts';
import { createJobStore } from '../../src/store/job_store.ts';
import { answer, type JsonAnswer } from './test_app.ts';

/** Long work over HTTP. The fits behind it are a stand-in's and end when a test says so; jobs and their files are real. */

interface HeldFit {
  readonly request: FitRequest;
  readonly hooks: FitHooks;
  succeed(): void;
  fail(error: Error): void;
}

let modelsDir: string;
let fits: HeldFit[];
let log: Record<string, unknown>[];
let jobs: Jobs;
let app: Hono<OkngEnv>;
/** In the place of the service's clock. */
let nowMs: number;

beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-jobs-'));
  nowMs = Date.parse('2026-01-02T03:04:05Z');
  log = [];
  serve();
});

afterEach(async () => {
  await jobs.close();
  rmSync(modelsDir, { recursive: true, force: true });
});

function serve(): void {
  fits = [];
  jobs = createJobs({
    store: createJobStore(modelsDir),
    now: () => new Date(nowMs),
    limit: 3,
    notify: (message, details) => log.push({ level: 40, msg: message, ...details }),
  });
  const fit = (request: FitRequest, hooks: FitHooks = {}) =>
    new Promise<FitReport>((resolve, reject) => {
      const gone = () => reject(new InspectionError('request_aborted', 'The caller is gone; the fit was given up.'));
      if (hooks.signal?.aborted === true) gone();
      hooks.signal?.addEventListener('abort', gone);
      fits.push({ request, hooks, succeed: () => resolve(someReport(request)), fail: reject });
    });
  const service = { version: '0.0.0', fit, jobs } as unknown as Service;
  const logger = pino({ level: 'debug' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const config = { host: '127.0.0.1', maxBodyBytes: 1024 * 1024, queueLimit: 8, corsOrigins: ['*'], apiKeys: [] };
  app = createApp({ service, config, log: logger });
}

function someReport({ mmPerPx, pictures }: FitRequest): FitReport {
  return {
    pictures: pictures?.length,
    embeddings: 8,
    coresetSize: 2,
    grid: { rows: 2, cols: 4 },
    coresetRateRequested: 0.25,
    coresetRateApplied: 0.25,
    thinned: { patchesSeen: 8, patchesKept: 4, radius: 0.25 },
    mmPerPx,
    extractorName: 'toy',
    scoreMode: 'percentile',
    positionWeight: 0,
    leftOut: [],
    suspects: [],
    calibration: 'none',
  } as FitReport;
}

const fields = { role_id: 'flange', roi_id: 'top', mm_per_px: '0.1' };

function fitForm(changes: Readonly<Record<string, string>> = {}, picture = 'picture'): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...fields, ...changes })) form.append(name, value);
  form.append('images', new File([picture], 'a.png'));
  return form;
}

const post = (headers: Readonly<Record<string, string>>, body = fitForm(), signal?: AbortSignal) =>
  app.request('/fit_ok', { method: 'POST', body, headers, ...(signal && { signal }) });
const respondAsync = { Prefer: 'respond-async' };

type JobAnswer = z.infer<typeof jobWithResult>;

async function postJob(headers: Readonly<Record<string, string>> = {}, body = fitForm()) {
  const accepted = await answer(await post({ ...respondAsync, ...headers }, body));
  expect(accepted.status, JSON.stringify(accepted.body)).toBe(202);
  return jobResponse.strict().parse(accepted.body);
}

const get = async (path: string, headers: Readonly<Record<string, string>> = {}): Promise<JsonAnswer> =>
  answer(await app.request(path, { headers }));

async function jobOf(id: string): Promise<JobAnswer> {
  const { status, body } = await get(`/jobs/${id}`);
  expect(status).toBe(200);
  return jobWithResult.strict().parse(body);
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 300 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(condition()).toBe(true);
}

async function endOf(id: string): Promise<JobAnswer> {
  await until(() => jobs.find(id)?.endedAtUtc != null);
  return jobOf(id);
}

describe('Prefer: respond-async', () => {
  it('answers 202 with the address of a job, which has the answer when it is there', async () => {
    const accepted = await post({ ...respondAsync, 'X-Request-Id': 'line 7', 'X-Recipe-Id': 'Line-2' });
    expect(accepted.status).toBe(202);
    expect(accepted.headers.get('preference-applied')).toBe('respond-async');
    const { id, ...job } = jobResponse.strict().parse(await accepted.json());
    expect(accepted.headers.get('location')).toBe(`/jobs/${id}`);
    expect(job).toEqual({
      kind: 'fit_ok',
      state: expect.stringMatching(/queued|running/),
      step: null,
      done: null,
      total: null,
      eta_s: null,
      created_at_utc: '2026-01-02T03:04:05.000Z',
      started_at_utc: job.started_at_utc,
      ended_at_utc: null,
      status_code: null,
      error: null,
      role_id: 'flange',
      roi_id: 'top',
      model_key: 'top',
      recipe_id: 'line-2',
      request_id: 'line 7',
    });

    await until(() => fits.length === 1);
    fits[0]?.hooks.onProgress?.('pictures', 1, 4);
    nowMs += 3000;
    fits[0]?.hooks.onProgress?.('pictures', 2, 4);
    expect(await jobOf(id)).toMatchObject({
      state: 'running',
      step: 'pictures',
      done: 2,
      total: 4,
      eta_s: 6,
      status_code: null,
      result: null,
    });
    fits[0]?.hooks.onStep?.('decode', 12.345);
    fits[0]?.succeed();
    const ended = await endOf(id);
    expect(ended).toMatchObject({
      state: 'succeeded',
      status_code: 200,
      error: null,
      ended_at_utc: '2026-01-02T03:04:08.000Z',
    });
    expect(fitOkResponse.strict().parse(ended.result)).toMatchObject({
      coreset_size: 2,
      thinned: { patches_seen: 8, patches_kept: 4, radius: 0.25 },
      request_id: 'line 7',
      recipe_id: 'line-2',
    });
    expect(log.find(({ msg }) => msg === 'job done')).toMatchObject({
      job_id: id,
      request_id: 'line 7',
      steps: { decode: 12.35 },
    });
  });

  it.each([
    [undefined, false],
    ['', false],
    ['respond-async', true],
    ['Respond-Async', true],
    ['return=minimal, respond-async, wait=10', true],
    ['respond-async; x=1', true],
    ['wait=10', false],
    ['not-respond-async', false],
    ['foo="respond-async"', false],
  ])('is read from %j as %s', (header, wanted) => {
    expect(prefersAsync(header)).toBe(wanted);
  });

  it('without it the answer is the result, and no job is made', async () => {
    const answering = post({ Prefer: 'wait=100' });
    await until(() => fits.length === 1);
    fits[0]?.succeed();
    const { status, headers, body } = await answer(await answering);
    expect(status).toBe(200);
    expect(fitOkResponse.strict().parse(body)).toMatchObject({ n_images: 1 });
    expect(headers.get('preference-applied')).toBeNull();
    expect((await get('/jobs')).body.jobs).toEqual([]);
  });

  it('refuses at once what no job could do', async () => {
    const { status, body } = await answer(await post(respondAsync, fitForm({ mm_per_px: '0' })));
    expect([status, body.code]).toEqual([400, 'invalid_value']);
    expect((await get('/jobs')).body.jobs).toEqual([]);
  });

  it('has the error body and status that the answer would have had', async () => {
    const { id } = await postJob({ 'X-Request-Id': 'line 7' });
    await until(() => fits.length === 1);
    fits[0]?.fail(new InspectionError('unreadable_image', "The picture 'already exists.png' is no picture."));
    const ended = await endOf(id);
    expect(ended).toMatchObject({ state: 'failed', status_code: 400, result: null });
    // A GUI that reads a fit's errors must not take this one for success.
    expect(problemBody.strict().parse(ended.error)).toMatchObject({
      code: 'unreadable_image',
      status: 400,
      error: "The picture 'already_exists.png' is no picture.",
      request_id: 'line 7',
      recipe_id: 'default',
    });
    expect(log.find(({ msg }) => msg === 'job not done')).toMatchObject({ level: 30, code: 'unreadable_image' });
  });

  it('hides what went wrong inside, and tells the log', async () => {
    const { id } = await postJob({ 'X-Request-Id': 'line 7' });
    await until(() => fits.length === 1);
    fits[0]?.fail(new Error('secret /etc/path'));
    const ended = await endOf(id);
    expect(ended).toMatchObject({ state: 'failed', status_code: 500, error: { code: 'internal_error' } });
    expect(ended.error?.error).toContain('under request line 7');
    expect(JSON.stringify(ended)).not.toContain('secret');
    const told = log.filter(({ level }) => Number(level) >= 40);
    expect(told).toEqual([expect.objectContaining({ msg: 'job failed', job_id: id, request_id: 'line 7' })]);
    expect(JSON.stringify(told)).toContain('secret /etc/path');
  });

  it('is refused with 429 when the queue is full', async () => {
    for (let i = 0; i < 3; i++) await postJob();
    const { status, headers, body } = await answer(await post(respondAsync));
    expect([status, body.code]).toEqual([429, 'queue_full']);
    expect(headers.get('retry-after')).toBe('1');
    expect(fits).toHaveLength(1);
  });
});

it('a caller who waits and hangs up cancels the work', async () => {
  const hangUp = new AbortController();
  const answering = post({}, fitForm(), hangUp.signal);
  await until(() => fits.length === 1);
  hangUp.abort();
  expect((await answering).status).toBe(503);
  expect(fits[0]?.hooks.signal?.aborted).toBe(true);
});

describe('GET /jobs', () => {
  it('lists the newest first, filters and bounds', async () => {
    const first = await postJob();
    await until(() => fits.length === 1);
    fits[0]?.succeed();
    await endOf(first.id);
    const second = await postJob({ 'X-Recipe-Id': 'line2' });
    const third = await postJob();
    const listed = async (query: string) => {
      const { status, body } = await get(`/jobs${query}`);
      expect(status, JSON.stringify(body)).toBe(200);
      return jobListResponse
        .strict()
        .parse(body)
        .jobs.map(({ id }) => [first.id, second.id, third.id].indexOf(id) + 1);
    };
    expect(await listed('')).toEqual([3, 2, 1]);
    expect(await listed('?limit=2')).toEqual([3, 2]);
    expect(await listed('?state=succeeded')).toEqual([1]);
    expect(await listed('?state=Running,%20queued')).toEqual([3, 2]);
    expect(await listed('?kind=fit_ok&state=succeeded,running')).toEqual([2, 1]);
    expect(await listed('?kind=infer_dataset')).toEqual([]);
  });

  it.each([
    ['?state=done', /state must be one of queued, running, .*; it is "done"/],
    ['?kind=fit', /kind must be one of fit_ok, .*; it is "fit"/],
    ['?limit=0', /limit must be a whole number from 1 to 200; it is "0"/],
    ['?limit=201', /limit .* it is "201"/],
    ['?limit=1e1', /limit .* it is "1e1"/],
    ['?recipe_id=last', /reserved/],
  ])('refuses %s', async (query, sentence) => {
    const { status, body } = await get(`/jobs${query}`);
    expect(status).toBe(400);
    expect(problemBody.parse(body).error).toMatch(sentence);
  });
});

describe('a job that is not there', () => {
  it.each([
    ['GET', '/jobs/nothing'],
    ['DELETE', '/jobs/nothing'],
    ['GET', '/jobs/nothing/events'],
    ['GET', '/jobs/..%2F..%2Fetc'],
  ])('is 404: %s %s', async (method, path) => {
    const { status, body } = await answer(await app.request(path, { method }));
    expect([status, body.code]).toEqual([404, 'not_found']);
    expect(body.error).toMatch(/There is no job ".*"; GET \/jobs lists.* 7 days, at most 200/);
  });

  it('is told apart from a method that is not', async () => {
    const { status, headers } = await answer(await app.request('/jobs/nothing', { method: 'POST' }));
    expect(status).toBe(405);
    expect(headers.get('allow')).toBe('GET, DELETE, HEAD, OPTIONS');
    expect((await app.request('/jobs', { method: 'OPTIONS' })).status).toBe(204);
  });
});

describe('DELETE /jobs/{id}', () => {
  const remove = async (id: string) => answer(await app.request(`/jobs/${id}`, { method: 'DELETE' }));

  it('cancels a running job and a queued one, and answers when they have ended; again is no error', async () => {
    const running = await postJob();
    const queued = await postJob();
    await until(() => fits.length === 1);
    for (const { id } of [queued, running]) {
      const cancelled = await remove(id);
      expect(cancelled.status).toBe(200);
      expect(jobWithResult.strict().parse(cancelled.body)).toMatchObject({
        state: 'cancelled',
        status_code: 409,
        result: null,
        error: { code: 'job_cancelled', error: expect.stringContaining('nothing was changed') },
      });
      expect(await remove(id)).toMatchObject({ status: 200, body: { state: 'cancelled' } });
    }
    expect(fits).toHaveLength(1);
    expect(fits[0]?.hooks.signal?.aborted).toBe(true);
    expect(log.filter(({ level }) => Number(level) >= 40)).toEqual([]);
    // And the next in line has its turn.
    const next = await postJob();
    await until(() => fits.length === 2);
    fits[1]?.succeed();
    expect((await endOf(next.id)).state).toBe('succeeded');
  });

  it('of a job that has ended is 409', async () => {
    const { id } = await postJob();
    await until(() => fits.length === 1);
    fits[0]?.succeed();
    await endOf(id);
    const { status, body } = await remove(id);
    expect([status, body.code]).toEqual([409, 'job_ended']);
    expect(body.error).toMatch(/has ended as succeeded/);
    expect((await jobOf(id)).state).toBe('succeeded');
  });
});

interface SentEvent {
  readonly event?: string;
  readonly id?: string;
  readonly data?: Record<string, unknown>;
  readonly comment?: string;
  readonly retry?: string;
}

/** Reads server-sent events one by one; undefined at the end of the stream. */
function eventReader(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  return {
    cancel: () => reader.cancel(),
    next: async (): Promise<SentEvent | undefined> => {
      while (!text.includes('\n\n')) {
        const { value, done } = await reader.read();
        if (done) return undefined;
        text += decoder.decode(value, { stream: true });
      }
      const block = text.slice(0, text.indexOf('\n\n'));
      text = text.slice(block.length + 2);
      const lines = block.split('\n').map((line): [string, string] => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon) || 'comment', line.slice(colon + 1).trimStart()];
      });
      const { data, ...rest } = Object.fromEntries(lines);
      return { ...rest, ...(data !== undefined && { data: JSON.parse(data) }) };
    },
  };
}

describe('GET /jobs/{id}/events', () => {
  const follow = (id: string, headers: Readonly<Record<string, string>> = {}) =>
    app.request(`/jobs/${id}/events`, { headers: { 'X-Request-Id': 'watcher', ...headers } });

  it('sends the job at once and whenever it has changed, its end, and ends', async () => {
    const { id } = await postJob();
    await until(() => fits.length === 1);
    const response = await follow(id);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(response.headers.get('x-request-id')).toBe('watcher');
    const events = eventReader(response);
    expect(await events.next()).toEqual({ retry: '2000' });
    const first = await events.next();
    expect(first).toMatchObject({ event: 'progress', data: { state: 'running', done: null } });
    fits[0]?.hooks.onProgress?.('pictures', 1, 2);
    const second = await events.next();
    expect(jobResponse.strict().parse(second?.data)).toMatchObject({ id, step: 'pictures', done: 1, total: 2 });
    expect(second?.data?.request_id).toBe('watcher');
    expect(second?.id).not.toBe(first?.id);
    fits[0]?.succeed();
    expect(await events.next()).toMatchObject({
      event: 'end',
      id: 'end',
      data: { state: 'succeeded', status_code: 200 },
    });
    expect(await events.next()).toBeUndefined();
  });

  it('of a job that has ended are its end', async () => {
    const { id } = await postJob();
    await app.request(`/jobs/${id}`, { method: 'DELETE' });
    const events = eventReader(await follow(id));
    await events.next();
    expect(await events.next()).toMatchObject({ event: 'end', data: { state: 'cancelled' } });
    expect(await events.next()).toBeUndefined();
  });

  it('go on after Last-Event-ID: nothing twice, and 204 once the end was read', async () => {
    const { id } = await postJob();
    await until(() => fits.length === 1);
    const before = eventReader(await follow(id));
    await before.next();
    const seen = await before.next();
    await before.cancel();
    const after = eventReader(await follow(id, { 'Last-Event-ID': seen?.id ?? '' }));
    await after.next();
    const next = after.next();
    await new Promise((resolve) => setImmediate(resolve));
    fits[0]?.hooks.onProgress?.('pictures', 1, 2);
    expect(await next).toMatchObject({ event: 'progress', data: { done: 1 } });
    fits[0]?.succeed();
    const end = await after.next();
    expect(end?.event).toBe('end');
    const comingBack = await follow(id, { 'Last-Event-ID': end?.id ?? '' });
    expect(comingBack.status).toBe(204);
    expect(await comingBack.text()).toBe('');
  });

  it('that come faster than they are read are left out, the last one is not', async () => {
    const { id } = await postJob();
    await until(() => fits.length === 1);
    const events = eventReader(await follow(id));
    await events.next();
    const progress = (done: number) => fits[0]?.hooks.onProgress?.('coreset', done, 1000);
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    // Nobody reads: what is read then is what is true then.
    await turn();
    progress(1);
    expect(await events.next()).toMatchObject({ data: { done: 1 } });
    const next = events.next();
    for (let done = 2; done <= 1000; done++) {
      progress(done);
      if (done % 100 === 0) await turn();
    }
    expect(await next).toMatchObject({ data: { done: 1000 } });
    await events.cancel();
  });

  /** The routes alone, with a pace that a test can wait for, and a count of who watches. */
  function paced(pace: EventPace) {
    let watching = 0;
    const counted: Jobs = {
      ...jobs,
      changed: async (job, signal) => {
        watching++;
        await jobs.changed(job, signal);
        watching--;
      },
    };
    const alone = new Hono<OkngEnv>();
    alone.use(async (c, next) => {
      c.set('requestId', 'r');
      await next();
    });
    const parts = { service: { jobs: counted } } as unknown as Parameters<typeof jobRoutes>[0];
    for (const { method, path, handle } of jobRoutes(parts, pace)) alone.on(method, path, handle);
    return { watching: () => watching, request: (path: string, init?: RequestInit) => alone.request(path, init) };
  }

  it('have a comment in between when nothing happens for long', async () => {
    const { id } = await postJob();
    await until(() => fits.length === 1);
    const events = eventReader(await paced({ keepAliveMs: 5, restMs: 0 }).request(`/jobs/${id}/events`));
    await events.next();
    expect((await events.next())?.event).toBe('progress');
    expect(await events.next()).toEqual({ comment: 'nothing new' });
    expect(await events.next()).toEqual({ comment: 'nothing new' });
    fits[0]?.succeed();
    let last = await events.next();
    while (last?.event === undefined) last = await events.next();
    expect(last.event).toBe('end');
  });

  it('watch the job for nobody who has left or has yet to read', async () => {
    const { id } = await postJob();
    await until(() => fits.length === 1);
    const alone = paced({ keepAliveMs: 60_000, restMs: 0 });
    const unread = await alone.request(`/jobs/${id}/events`);
    expect((await alone.request(`/jobs/${id}/events`, { method: 'HEAD' })).status).toBe(200);
    const events = eventReader(await alone.request(`/jobs/${id}/events`));
    await events.next();
    await events.next();
    const waiting = events.next();
    await until(() => alone.watching() === 1);
    await events.cancel();
    expect(await waiting).toBeUndefined();
    await until(() => alone.watching() === 0);
    await unread.body?.cancel();
    fits[0]?.succeed();
    expect((await endOf(id)).state).toBe('succeeded');
  });
});

describe('Idempotency-Key', () => {
  const withKey = { 'Idempotency-Key': '"8e03978e"' };

  it('gives a repeated request the same job, whatever the boundary of its form', async () => {
    const job = await postJob(withKey);
    const again = await postJob({ ...withKey, 'X-Request-Id': 'second try' });
    expect(again).toMatchObject({ id: job.id, request_id: 'second try' });
    await until(() => fits.length === 1);
    fits[0]?.succeed();
    await endOf(job.id);
    expect(await postJob({ 'Idempotency-Key': '8e03978e' })).toMatchObject({ id: job.id, state: 'succeeded' });
    expect((await get('/jobs')).body.jobs).toHaveLength(1);
    // The job there is, also for one who asks no more for a job.
    const plain = await post(withKey);
    expect([plain.status, plain.headers.get('location')]).toEqual([202, `/jobs/${job.id}`]);
    expect(plain.headers.get('preference-applied')).toBeNull();
    expect(fits).toHaveLength(1);
  });

  it('gives the same job after a restart, an interrupted one as well', async () => {
    const job = await postJob(withKey);
    await until(() => fits.length === 1);
    // Killed: nothing is closed, another process reads the files.
    serve();
    await jobs.restore();
    const again = await postJob(withKey);
    expect(again).toMatchObject({ id: job.id, state: 'interrupted', status_code: 503 });
    expect(fits).toEqual([]);
  });

  it('gives a repeated request that waits the same answer, under its own request id', async () => {
    const answering = post({ ...withKey, 'X-Request-Id': 'first' });
    await until(() => fits.length === 1);
    const during = await answer(await post(withKey));
    expect([during.status, during.body.code]).toEqual([409, 'request_in_progress']);
    expect(during.headers.get('retry-after')).toBe('1');
    fits[0]?.succeed();
    const first = await answer(await answering);
    expect(first.headers.get('idempotent-replayed')).toBeNull();
    const again = await answer(await post({ ...withKey, ...respondAsync, 'X-Request-Id': 'second' }));
    expect(again.status).toBe(200);
    expect(again.body).toEqual({ ...first.body, request_id: 'second' });
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(fits).toHaveLength(1);
    expect((await get('/jobs')).body.jobs).toEqual([]);
  });

  it.each([
    ['another field', fitForm({ memory_fit: 'true' }), {}],
    ['another role', fitForm({ role_id: 'other' }), {}],
    ['another picture', fitForm({}, 'other'), {}],
    ['another recipe', fitForm(), { 'X-Recipe-Id': 'line2' }],
  ])('is refused with %s', async (_, form, headers) => {
    await postJob(withKey);
    const { status, body } = await answer(await post({ ...respondAsync, ...withKey, ...headers }, form));
    expect([status, body.code]).toEqual([422, 'idempotency_key_reused']);
    const waiting = await answer(await post({ ...withKey, ...headers }, form));
    expect([waiting.status, waiting.body.code]).toEqual([422, 'idempotency_key_reused']);
  });

  it('that cannot be read is 400', async () => {
    const { status, body } = await answer(await post({ 'Idempotency-Key': 'x'.repeat(256) }));
    expect(status).toBe(400);
    expect(body.error).toMatch(/Idempotency-Key has 256 characters; .* 255/);
  });

  it('lets what failed be tried anew, also by one who hung up', async () => {
    const hangUp = new AbortController();
    const left = post(withKey, fitForm(), hangUp.signal);
    await until(() => fits.length === 1);
    hangUp.abort();
    await left;
    const answering = post(withKey);
    await until(() => fits.length === 2);
    fits[1]?.succeed();
    expect((await answering).status).toBe(200);
  });
});

it('browsers may send and read the headers of long work', async () => {
  const preflight = await app.request('/fit_ok', {
    method: 'OPTIONS',
    headers: { Origin: 'http://gui.example', 'Access-Control-Request-Method': 'POST' },
  });
  expect(preflight.headers.get('access-control-allow-headers')).toMatch(/Prefer, Idempotency-Key, Last-Event-ID/);
  const answered = await app.request('/jobs', { headers: { Origin: 'http://gui.example' } });
  expect(answered.headers.get('access-control-expose-headers')).toMatch(/Location, Preference-Applied/);
});

it('the documentation says what long work reads and how jobs are listed', async () => {
  interface Parameter {
    readonly name: string;
    readonly description?: string;
    readonly schema: { readonly description?: string };
  }
  type Operation = { readonly parameters: readonly Parameter[]; readonly responses: Readonly<Record<string, unknown>> };
  const { paths } = (await get('/openapi.json')).body as {
    paths: Record<string, { get: Operation; post: Operation; delete: Operation }>;
  };
  const named = (operation: Operation | undefined) => {
    for (const { name, description, schema } of operation?.parameters ?? [])
      if (name !== 'id') expect(description ?? schema.description, name).toMatch(/\w{3}/);
    return operation?.parameters.map(({ name }) => name);
  };
  expect(named(paths['/fit_ok']?.post)).toEqual(expect.arrayContaining(['Prefer', 'Idempotency-Key']));
  expect(Object.keys(paths['/fit_ok']?.post.responses ?? {})).toEqual(expect.arrayContaining(['202', '409', '422']));
  expect(named(paths['/jobs']?.get)).toEqual(expect.arrayContaining(['state', 'kind', 'limit']));
  expect(named(paths['/jobs/{id}/events']?.get)).toContain('Last-Event-ID');
  expect(Object.keys(paths['/jobs/{id}']?.delete.responses ?? {})).toEqual(expect.arrayContaining(['404', '409']));
});
