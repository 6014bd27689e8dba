import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { fitOkResponse, type jobListResponse } from '../../src/http/responses.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { type Fields, get, postForm } from './client.ts';
import {
  begun,
  cancel,
  eventsOf,
  filesOf,
  fitJob,
  good,
  infer,
  type Job,
  type JobEvent,
  jobAt,
  many,
  model,
  postFit,
} from './fit_jobs.ts';
import { type OkngProcess, okngOfEachTest } from './process.ts';

/**
 * Jobs of a real process: followed, cancelled, killed, shut down and found again. That the old model serves meanwhile and
 * afterwards is in `previous_model_serves.test.ts`.
 */

type JobList = z.infer<typeof jobListResponse>;

const { start, modelFiles } = okngOfEachTest();

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

it('after the process was killed what had ended is kept, what had not is interrupted', async () => {
  const okng = await start();
  const key = { 'Idempotency-Key': 'night shift' };
  const done = await fitJob(okng, good.slice(0, 3), key);
  for await (const _ of eventsOf(okng, done));
  const kept = await jobAt(okng, done);
  const { score } = (await infer(okng)).body;
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
  for (const job of inLine) for await (const _ of eventsOf(again, job));
  // The same pictures were fitted once more: the same memory, and so the same score.
  expect((await infer(again)).body.score).toBe(score);
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
