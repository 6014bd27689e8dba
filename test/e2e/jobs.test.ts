import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { fitOkResponse, type jobListResponse, type jobResponse, type jobWithResult } from '../../src/http/responses.ts';
import { type PartPicture, partPictures, partsMmPerPx } from '../parts.ts';
import { type Answer, type Fields, type FitAnswer, get, type InferAnswer, postForm } from './client.ts';
import { type OkngProcess, startOkng } from './process.ts';

/** Jobs of a real process: followed, cancelled, killed, shut down and found again. */

type Job = z.infer<typeof jobResponse>;
type JobWithResult = z.infer<typeof jobWithResult>;
type JobList = z.infer<typeof jobListResponse>;

const model = { role_id: 'flange', roi_id: 'top', mm_per_px: String(partsMmPerPx) };
const good = partPictures('train/good');
/** Long enough to be running when something happens to it. */
const many = Array.from({ length: 8 }, () => good).flat();
const [part] = partPictures('test/good') as [PartPicture];

let modelsDir: string;
let running: OkngProcess[];

beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-jobs-'));
  running = [];
});

afterEach(async () => {
  for (const okng of running) await okng.kill('SIGKILL');
  rmSync(modelsDir, { recursive: true, force: true });
});

async function start(environment: Readonly<Record<string, string>> = {}): Promise<OkngProcess> {
  const okng = await startOkng({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', ...environment });
  running.push(okng);
  return okng;
}

const filesOf = (pictures: readonly PartPicture[]) => pictures.map((picture) => ({ ...picture, field: 'images' }));

const postFit = (okng: OkngProcess, pictures: readonly PartPicture[], fields: Fields = {}) =>
  postForm<FitAnswer>(`${okng.url}/fit_ok`, { ...model, ...fields }, filesOf(pictures));

const fitJob = async (okng: OkngProcess, pictures: readonly PartPicture[], headers: Fields = {}) => {
  const accepted = await postForm<Job>(`${okng.url}/fit_ok`, model, filesOf(pictures), {
    Prefer: 'respond-async',
    ...headers,
  });
  expect(accepted.status, JSON.stringify(accepted.body)).toBe(202);
  return accepted.body;
};

const infer = (okng: OkngProcess) => postForm<InferAnswer>(`${okng.url}/infer`, model, [{ ...part, field: 'image' }]);

const jobAt = (okng: OkngProcess, { id }: Job) => get<JobWithResult>(`${okng.url}/jobs/${id}`);

async function cancel(okng: OkngProcess, { id }: Job): Promise<Answer<JobWithResult>> {
  const response = await fetch(`${okng.url}/jobs/${id}`, { method: 'DELETE' });
  return { status: response.status, headers: response.headers, body: (await response.json()) as JobWithResult };
}

interface JobEvent {
  readonly event: string;
  readonly job: Job;
}

/** The events of a job as they come, until the service ends the stream. */
async function* eventsOf(okng: OkngProcess, { id }: Job, signal?: AbortSignal): AsyncGenerator<JobEvent> {
  const response = await fetch(`${okng.url}/jobs/${id}/events`, { ...(signal && { signal }) });
  expect(response.status).toBe(200);
  let text = '';
  for await (const piece of (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [, event, data] = /^event: (.*)\nid: .*\ndata: (.*)$/m.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (event !== undefined && data !== undefined) yield { event, job: JSON.parse(data) as Job };
    }
  }
}

/** Waits until a job has embedded its first pictures. */
async function begun(okng: OkngProcess, job: Job): Promise<void> {
  const enough = new AbortController();
  for await (const { job: now } of eventsOf(okng, job, enough.signal)) {
    expect(now.state).not.toBe('succeeded');
    if ((now.done ?? 0) > 0) break;
  }
  enough.abort();
}

/** Every file of the models folder but the jobs, with its content. */
function modelFiles(): Readonly<Record<string, string>> {
  const names = (readdirSync(modelsDir, { recursive: true }) as string[]).filter((name) => !name.startsWith('jobs'));
  const plain = names.filter((name) => statSync(join(modelsDir, name)).isFile()).sort();
  return Object.fromEntries(plain.map((name) => [name, readFileSync(join(modelsDir, name), 'base64')]));
}

const troubles = (okng: OkngProcess) => okng.log.filter(({ level }) => Number(level) >= 40);

it('a fit as a job tells how it goes on, and ends with the answer that a fit has', async () => {
  const okng = await start();
  const pictures = [...good, ...good];
  const waited = await postFit(okng, pictures, { roi_id: 'waited' });
  const job = await fitJob(okng, pictures);
  const events: JobEvent[] = [];
  for await (const event of eventsOf(okng, job)) events.push(event);
  expect(events.at(-1)).toMatchObject({ event: 'end', job: { id: job.id, state: 'succeeded', status_code: 200 } });
  const done = events.filter(({ job: { step } }) => step === 'pictures').map(({ job }) => job.done as number);
  expect(done.length).toBeGreaterThan(0);
  expect(done).toEqual([...done].sort((a, b) => a - b));
  for (const { event, job: now } of events.slice(0, -1)) {
    expect(event).toBe('progress');
    expect(now.eta_s ?? 0).toBeGreaterThanOrEqual(0);
  }
  const { body } = await jobAt(okng, job);
  const { request_id: _, ...result } = fitOkResponse.strict().parse(body.result);
  const { request_id: __, ...answered } = waited.body;
  expect(result).toEqual({ ...answered, roi_id: 'top', model_key: 'top' });
  expect((await infer(okng)).status).toBe(200);
  expect(troubles(okng)).toEqual([]);
});

it('work on stored samples as jobs comes to what its answer would be', async () => {
  const okng = await start({ BDI_MIN_OK_SAMPLES: '4' });
  const { role_id, roi_id } = model;
  const upload = async (label: string, pictures: readonly PartPicture[]) => {
    const stored = await postForm(`${okng.url}/datasets/${label}/upload`, model, filesOf(pictures));
    expect(stored.status, JSON.stringify(stored.body)).toBe(200);
  };
  await upload('ok', good.slice(0, 8));
  await upload('ng', partPictures('test/scratch').slice(0, 3));
  const ask = async (path: string, body: FormData | string, headers: Fields) => {
    const type: Fields = typeof body === 'string' ? { 'Content-Type': 'application/json' } : {};
    const response = await fetch(okng.url + path, { method: 'POST', body, headers: { ...type, ...headers } });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const fitForm = () => {
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...model, use_dataset: 'true' })) form.append(name, value);
    return form;
  };
  const json = (fields: object) => () => JSON.stringify({ role_id, roi_id, ...fields });
  const same = ({ request_id: _, calibrated_at_utc: __, ...body }: Record<string, unknown>) => body;
  for (const [path, body, step] of [
    ['/fit_ok', fitForm, 'coreset'],
    ['/calibrate_dataset', json({}), 'samples'],
    ['/infer_dataset', json({ include_heatmap: true }), 'samples'],
  ] as const) {
    const accepted = await ask(path, body(), { Prefer: 'respond-async' });
    expect(accepted.status, JSON.stringify(accepted.body)).toBe(202);
    for await (const _ of eventsOf(okng, accepted.body as unknown as Job));
    const { body: job } = await jobAt(okng, accepted.body as unknown as Job);
    expect(job, JSON.stringify(job.error)).toMatchObject({ kind: path.slice(1), state: 'succeeded', step });
    expect(job.done).toBe(job.total);
    const waited = await ask(path, body(), {});
    expect(waited.status).toBe(200);
    expect(same(job.result ?? {})).toEqual(same(waited.body));
  }
  expect(troubles(okng)).toEqual([]);
});

describe('the old model keeps serving', () => {
  it('when a job is cancelled between two pictures, and when a queued one is', async () => {
    const okng = await start();
    await postFit(okng, good.slice(0, 3));
    const before = [modelFiles(), (await infer(okng)).body.score];
    const first = await fitJob(okng, many);
    const second = await fitJob(okng, many);
    await begun(okng, first);
    for (const job of [second, first]) {
      expect(await cancel(okng, job)).toMatchObject({ status: 200, body: { state: 'cancelled', status_code: 409 } });
    }
    expect((await jobAt(okng, first)).body.done).toBeLessThan(many.length);
    expect((await jobAt(okng, second)).body.started_at_utc).toBeNull();
    expect([modelFiles(), (await infer(okng)).body.score]).toEqual(before);
    // Nothing is in the way of the next fit of the same model.
    expect((await postFit(okng, good)).status).toBe(200);
    expect(troubles(okng)).toEqual([]);
  });

  it('when a caller who waits hangs up', async () => {
    const okng = await start();
    await postFit(okng, good.slice(0, 3));
    const before = [modelFiles(), (await infer(okng)).body.score];
    const form = new FormData();
    for (const [name, value] of Object.entries(model)) form.append(name, value);
    for (const { name, bytes } of many) form.append('images', new File([bytes as Uint8Array<ArrayBuffer>], name));
    const hangUp = new AbortController();
    const answer = fetch(`${okng.url}/fit_ok`, { method: 'POST', body: form, signal: hangUp.signal });
    // A fit at another scale is refused anyhow: with these words as soon as the first fit has begun.
    const refused = async () => {
      const { body } = await postFit(okng, good.slice(0, 1), { mm_per_px: '7' });
      return (body as unknown as { code: string }).code;
    };
    for (let i = 0; i < 200 && (await refused()) !== 'fit_in_progress'; i++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    hangUp.abort();
    await expect(answer).rejects.toThrow();
    const dropped = () => okng.log.some(({ code }) => code === 'request_aborted');
    for (let i = 0; i < 200 && !dropped(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
    expect(dropped()).toBe(true);
    expect([modelFiles(), (await infer(okng)).body.score]).toEqual(before);
    expect((await postFit(okng, good)).status).toBe(200);
  });

  it('when the process is killed: what had ended is kept, what had not is interrupted', async () => {
    const okng = await start();
    const key = { 'Idempotency-Key': 'night shift' };
    const done = await fitJob(okng, good.slice(0, 3), key);
    for await (const _ of eventsOf(okng, done));
    const kept = await jobAt(okng, done);
    const before = [modelFiles(), (await infer(okng)).body.score];
    const cut = await fitJob(okng, many);
    const waiting = await fitJob(okng, many);
    await begun(okng, cut);
    expect(await okng.kill('SIGKILL')).toBe('SIGKILL');

    const again = await start();
    const { jobs } = (await get<JobList>(`${again.url}/jobs`)).body;
    expect(jobs.map(({ id, state, status_code }) => [id, state, status_code])).toEqual([
      [waiting.id, 'interrupted', 503],
      [cut.id, 'interrupted', 503],
      [done.id, 'succeeded', 200],
    ]);
    const { request_id: _, ...told } = (await jobAt(again, done)).body;
    const { request_id: __, ...toldBefore } = kept.body;
    expect(told).toEqual(toldBefore);
    expect((await jobAt(again, cut)).body.error).toMatchObject({
      code: 'job_interrupted',
      error: expect.stringContaining('while the job was running'),
    });
    expect((await fitJob(again, good.slice(0, 3), key)).id).toBe(done.id);
    expect((await fitJob(again, good.slice(0, 3))).id).not.toBe(done.id);
    const inLine = (await get<JobList>(`${again.url}/jobs?state=queued,running`)).body.jobs;
    for (const job of inLine) for await (const end of eventsOf(again, { ...job, request_id: '' })) void end;
    expect([modelFiles(), (await infer(again)).body.score].map((value) => typeof value)).toEqual(['object', 'number']);
    expect((await infer(again)).body.score).toBe(before[1]);
  });
});

describe('a shutdown', () => {
  it.each([
    ['20', true],
    ['0', false],
  ])('of at most %s s interrupts jobs at once, tells who follows them, and ends with 0', async (timeout, clean) => {
    const okng = await start({ BDI_SHUTDOWN_TIMEOUT_S: timeout });
    await postFit(okng, good.slice(0, 3));
    const before = modelFiles();
    const job = await fitJob(okng, many);
    const queued = await fitJob(okng, many);
    await begun(okng, job);
    const following = (async () => {
      let last: JobEvent | undefined;
      for await (const event of eventsOf(okng, job)) last = event;
      return last;
    })();
    expect(await okng.kill('SIGTERM')).toBe(0);
    expect(await following).toMatchObject({ event: 'end', job: { state: 'interrupted', status_code: 503 } });
    expect(okng.log.at(-1)).toMatchObject({ msg: 'stopped', clean });
    expect(troubles(okng)).toEqual([]);
    expect(modelFiles()).toEqual(before);

    const again = await start();
    for (const { id } of [job, queued]) {
      expect((await get<Job>(`${again.url}/jobs/${id}`)).body).toMatchObject({
        state: 'interrupted',
        error: { error: expect.stringMatching(/shut down before .* nothing was changed/) },
      });
    }
  });
});

it('one who follows a job and is cut off costs nothing', async () => {
  const okng = await start();
  const job = await fitJob(okng, many);
  await Promise.all(Array.from({ length: 20 }, () => begun(okng, job)));
  expect((await cancel(okng, job)).body.state).toBe('cancelled');
  expect((await get(`${okng.url}/health`)).status).toBe(200);
  expect(await okng.kill('SIGTERM')).toBe(0);
  expect(okng.log.at(-1)).toMatchObject({ msg: 'stopped', clean: true });
  expect(troubles(okng)).toEqual([]);
});
