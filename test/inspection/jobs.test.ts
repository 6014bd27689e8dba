import { describe, expect, it } from 'vitest';
import { InspectionError } from '../../src/errors.ts';
import { createJobs, type Job, type JobHooks, type JobKind, kept, type NewJob } from '../../src/inspection/jobs.ts';
import type { JobRecord, JobStore } from '../../src/store/job_store.ts';

/** Jobs on a store in memory and a clock that stands still until a test moves it. */
function someJobs({ limit = 8, records = [] as readonly JobRecord[], damaged = [] as readonly string[] } = {}) {
  const stored = new Map<string, JobRecord>(records.map((record) => [record.id, record]));
  const results = new Map<string, string>();
  const notices: string[] = [];
  const faults = { save: null as Error | null, slowTurns: 0 };
  let nowMs = Date.parse('2026-01-02T03:04:05Z');
  const store: JobStore = {
    list: async () => ({ records: [...stored.values()], damaged }),
    save: async (record, result) => {
      const turns = faults.slowTurns;
      faults.slowTurns = 0;
      for (let i = 0; i < turns; i++) await turn();
      await Promise.resolve();
      if (faults.save !== null) throw faults.save;
      stored.set(record.id, record);
      if (result !== undefined) results.set(record.id, result);
    },
    readResult: async (id) => {
      const text = results.get(id);
      return text === undefined ? undefined : JSON.parse(text);
    },
    remove: async (ids) => {
      for (const id of ids) {
        stored.delete(id);
        results.delete(id);
      }
    },
    removeStaleTemps: async () => 0,
  };
  const jobs = createJobs({ store, now: () => new Date(nowMs), limit, notify: (message) => notices.push(message) });
  return {
    jobs,
    stored,
    results,
    notices,
    faults,
    pass: (ms: number) => {
      nowMs += ms;
    },
    submit: (work: NewJob['work'], changes: Partial<NewJob> = {}) =>
      jobs.submit({ kind: 'fit_ok', key, requestId: 'r 1', repeat: null, work, ...changes }),
  };
}

const key = { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' };
const all = { states: [], kinds: [], limit: 100 } as const;

/** Work that a test ends. */
function heldWork() {
  const begun: JobHooks[] = [];
  let settle: { resolve: (result: object) => void; reject: (error: Error) => void };
  const work = (hooks: JobHooks) => {
    begun.push(hooks);
    return new Promise<object>((resolve, reject) => {
      settle = { resolve, reject };
    });
  };
  return {
    work,
    begun,
    succeed: (result: object) => settle.resolve(result),
    fail: (error: Error) => settle.reject(error),
  };
}

/** As a use case does it: it gives up when it is told to. */
const untilStopped = ({ signal }: JobHooks) =>
  new Promise<object>((_, reject) => {
    signal.addEventListener('abort', () => reject(new InspectionError('request_aborted', 'The caller is gone.')));
  });

const turn = () => new Promise((resolve) => setImmediate(resolve));
const never = new AbortController().signal;

async function endOf({ jobs }: ReturnType<typeof someJobs>, { id }: Job): Promise<Job> {
  for (;;) {
    const job = jobs.find(id) as Job;
    if (job.state !== 'queued' && job.state !== 'running') return job;
    await jobs.changed(job, never);
  }
}

describe('a job', () => {
  it('is on disk before it is accepted, runs, and ends with its result', async () => {
    const okng = someJobs();
    const held = heldWork();
    const job = await okng.submit(held.work);
    expect(okng.stored.get(job.id)?.state).toBeDefined();
    expect(job).toMatchObject({ kind: 'fit_ok', key, requestId: 'r 1', createdAtUtc: '2026-01-02T03:04:05.000Z' });
    await turn();
    expect(okng.jobs.find(job.id)).toMatchObject({
      state: 'running',
      startedAtUtc: job.createdAtUtc,
      endedAtUtc: null,
    });
    expect(okng.stored.get(job.id)?.state).toBe('running');
    okng.pass(7000);
    held.succeed({ coreset_size: 3 });
    expect(await endOf(okng, job)).toMatchObject({
      state: 'succeeded',
      endedAtUtc: '2026-01-02T03:04:12.000Z',
      error: null,
      resultBytes: 18,
    });
    expect(await okng.jobs.result(job.id)).toEqual({ coreset_size: 3 });
    expect(okng.stored.get(job.id)).toMatchObject({ state: 'succeeded', resultBytes: 18 });
  });

  it('tells its step, how far it is and how long that will take', async () => {
    const okng = someJobs();
    const held = heldWork();
    const job = await okng.submit(held.work);
    await turn();
    const { onProgress } = held.begun[0] as JobHooks;
    okng.pass(2000);
    onProgress('pictures', 1, 5);
    const before = okng.jobs.find(job.id) as Job;
    expect(before).toMatchObject({ progress: { step: 'pictures', done: 1, total: 5 }, etaS: 8 });
    okng.pass(1000);
    expect(okng.jobs.find(job.id)).toMatchObject({ etaS: 7, version: before.version });
    const change = okng.jobs.changed(before, never);
    onProgress('pictures', 2, 5);
    await change;
    expect(okng.jobs.find(job.id)?.version).toBeGreaterThan(before.version);
    held.succeed({});
    expect(await endOf(okng, job)).toMatchObject({ progress: { done: 2 }, etaS: null });
    expect(okng.stored.get(job.id)?.progress).toEqual({ step: 'pictures', done: 2, total: 5 });
    onProgress('pictures', 3, 5);
    expect(okng.jobs.find(job.id)).toMatchObject({ progress: { done: 2 } });
  });

  it('fails with the code and sentence of its error', async () => {
    const okng = someJobs();
    const job = await okng.submit(async () => {
      throw new InspectionError('unreadable_image', 'a.png is no picture.');
    });
    const ended = await endOf(okng, job);
    expect(ended).toMatchObject({
      state: 'failed',
      error: { code: 'unreadable_image', sentence: 'a.png is no picture.' },
    });
    expect(await okng.jobs.result(job.id)).toBeNull();
    expect(okng.notices).toEqual([]);
  });

  it('that breaks on our own account says so, tells the log, and lets the next one run', async () => {
    const okng = someJobs();
    const broken = await okng.submit(async () => {
      throw new TypeError('secret /etc/path');
    });
    const nan = await okng.submit(async () => ({ score: Number.NaN }));
    const fine = await okng.submit(async () => ({}));
    expect(await endOf(okng, broken)).toMatchObject({ state: 'failed', error: { code: 'internal_error' } });
    expect(JSON.stringify(okng.jobs.find(broken.id))).not.toContain('secret');
    expect(okng.notices).toEqual(['a job failed']);
    expect(await endOf(okng, nan)).toMatchObject({ state: 'failed', error: { code: 'internal_error' } });
    expect((await endOf(okng, fine)).state).toBe('succeeded');
  });

  it('whose end cannot be stored still has it, and the log is told', async () => {
    const okng = someJobs();
    const held = heldWork();
    const job = await okng.submit(held.work);
    await turn();
    okng.faults.save = new InspectionError('storage_full', 'The disk is full.');
    held.succeed({ n: 1 });
    expect((await endOf(okng, job)).state).toBe('succeeded');
    expect(await okng.jobs.result(job.id)).toEqual({ n: 1 });
    expect(okng.notices).toEqual(['the end of a job could not be stored']);
  });

  it('that cannot be stored at its beginning is refused and leaves nothing behind', async () => {
    const okng = someJobs({ limit: 1 });
    okng.faults.save = new InspectionError('storage_full', 'The disk is full.');
    const held = heldWork();
    await expect(okng.submit(held.work)).rejects.toMatchObject({ code: 'storage_full' });
    expect(okng.jobs.list(all)).toEqual([]);
    okng.faults.save = null;
    await okng.submit(held.work);
    await turn();
    expect(held.begun).toHaveLength(1);
  });
});

describe('the queue', () => {
  it('lets one job run at a time, in the order they came', async () => {
    const okng = someJobs();
    const order: string[] = [];
    let atOnce = 0;
    const work = (name: string) => async () => {
      order.push(name);
      expect(++atOnce).toBe(1);
      await turn();
      atOnce--;
      return {};
    };
    const jobs = await Promise.all(['a', 'b', 'c'].map((name) => okng.submit(work(name))));
    expect(jobs.map(({ id }) => okng.jobs.find(id)?.state)).toContain('queued');
    for (const job of jobs) await endOf(okng, job);
    expect(order).toEqual(['a', 'b', 'c']);
  });

  it('is bounded: one more is refused with the limit, until a job has ended', async () => {
    const okng = someJobs({ limit: 2 });
    const held = heldWork();
    const first = await okng.submit(held.work);
    await okng.submit(async () => ({}));
    await expect(okng.submit(async () => ({}))).rejects.toMatchObject({
      code: 'queue_full',
      message: expect.stringMatching(/^2 jobs .*BDI_QUEUE_LIMIT/),
    });
    held.succeed({});
    await endOf(okng, first);
    await okng.submit(async () => ({}));
  });

  it('is listed with the newest first, by state and kind, so many at most', async () => {
    const okng = someJobs();
    const kinds: readonly JobKind[] = ['fit_ok', 'infer_dataset', 'fit_ok'];
    const ids: string[] = [];
    for (const kind of kinds) {
      const job = await okng.submit(async () => ({}), { kind });
      await endOf(okng, job);
      ids.unshift(job.id);
    }
    const held = heldWork();
    ids.unshift((await okng.submit(held.work)).id);
    await turn();
    const listed = (filter: object) => okng.jobs.list({ ...all, ...filter }).map(({ id }) => ids.indexOf(id));
    expect(listed({})).toEqual([0, 1, 2, 3]);
    expect(listed({ limit: 2 })).toEqual([0, 1]);
    expect(listed({ states: ['running'] })).toEqual([0]);
    expect(listed({ states: ['running', 'succeeded'], kinds: ['fit_ok'] })).toEqual([0, 1, 3]);
    expect(listed({ kinds: ['infer_dataset'] })).toEqual([2]);
    expect(listed({ states: ['failed'] })).toEqual([]);
  });
});

describe('cancelling', () => {
  it('ends a running job and waits for that; again is no error', async () => {
    const okng = someJobs();
    const job = await okng.submit(untilStopped);
    await turn();
    const cancelled = await okng.jobs.cancel(job.id);
    expect(cancelled).toMatchObject({ state: 'cancelled', error: { code: 'job_cancelled' } });
    expect(okng.stored.get(job.id)?.state).toBe('cancelled');
    expect(await okng.jobs.cancel(job.id)).toEqual(cancelled);
  });

  it('ends a job that is just about to begin, which then does not', async () => {
    const okng = someJobs();
    const held = heldWork();
    const { id } = await okng.submit(held.work);
    expect((await okng.jobs.cancel(id))?.state).toBe('cancelled');
    expect(held.begun).toEqual([]);
  });

  it('takes a queued job out, which never begins', async () => {
    const okng = someJobs();
    const held = heldWork();
    await okng.submit(held.work);
    const waiting = heldWork();
    const job = await okng.submit(waiting.work);
    const [one, two] = await Promise.all([okng.jobs.cancel(job.id), okng.jobs.cancel(job.id)]);
    expect([one?.state, two?.state]).toEqual(['cancelled', 'cancelled']);
    expect(okng.jobs.find(job.id)).toMatchObject({ startedAtUtc: null });
    held.succeed({});
    const next = await okng.submit(async () => ({}));
    expect((await endOf(okng, next)).state).toBe('succeeded');
    expect(waiting.begun).toEqual([]);
  });

  it.each([
    ['has succeeded', async () => ({}), /succeeded/],
    ['has failed', () => Promise.reject(new InspectionError('no_images', 'None.')), /failed/],
  ])('is refused when the job %s', async (_, work, said) => {
    const okng = someJobs();
    const job = await okng.submit(work);
    await endOf(okng, job);
    await expect(okng.jobs.cancel(job.id)).rejects.toMatchObject({
      code: 'job_ended',
      message: expect.stringMatching(said),
    });
  });

  it('comes too late for work that succeeds all the same, and says so', async () => {
    const okng = someJobs();
    const held = heldWork();
    const job = await okng.submit(held.work);
    await turn();
    const cancelling = okng.jobs.cancel(job.id);
    expect(held.begun[0]?.signal.aborted).toBe(true);
    held.succeed({ n: 1 });
    await expect(cancelling).rejects.toMatchObject({ code: 'job_ended' });
    expect(await okng.jobs.result(job.id)).toEqual({ n: 1 });
  });

  it('hides no failure that came after a change', async () => {
    const okng = someJobs();
    const held = heldWork();
    const job = await okng.submit(held.work);
    await turn();
    const cancelling = okng.jobs.cancel(job.id);
    held.fail(new InspectionError('storage_full', 'The memory was replaced, but its scale could not be written.'));
    await expect(cancelling).rejects.toMatchObject({ code: 'job_ended', message: expect.stringContaining('failed') });
    expect(okng.jobs.find(job.id)).toMatchObject({ state: 'failed', error: { code: 'storage_full' } });
  });

  it('knows no job of another name', async () => {
    const { jobs } = someJobs();
    expect(await jobs.cancel('../etc')).toBeNull();
    expect(jobs.find('../etc')).toBeNull();
    expect(await jobs.result('../etc')).toBeNull();
  });
});

describe('a repeated request', () => {
  const repeat = { key: 'k', fingerprint: 'f' };

  it('gets the same job, running or ended, and the work is done once', async () => {
    const okng = someJobs({ limit: 1 });
    const held = heldWork();
    const [job, again] = await Promise.all([okng.submit(held.work, { repeat }), okng.submit(held.work, { repeat })]);
    expect(again.id).toBe(job.id);
    await turn();
    held.succeed({});
    await endOf(okng, job);
    expect(await okng.submit(held.work, { repeat })).toMatchObject({ id: job.id, state: 'succeeded' });
    expect(held.begun).toHaveLength(1);
    expect([okng.jobs.knows('k'), okng.jobs.knows('other')]).toEqual([true, false]);
  });

  it('that asks for something else is refused', async () => {
    const okng = someJobs();
    await okng.submit(async () => ({}), { repeat });
    await expect(okng.submit(async () => ({}), { repeat: { key: 'k', fingerprint: 'g' } })).rejects.toMatchObject({
      code: 'idempotency_key_reused',
      message: expect.stringContaining('"k"'),
    });
  });

  it('finds no job that was never accepted', async () => {
    const okng = someJobs();
    okng.faults.save = new InspectionError('storage_full', 'The disk is full.');
    const both = await Promise.allSettled([
      okng.submit(async () => ({}), { repeat }),
      okng.submit(async () => ({}), { repeat }),
    ]);
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(okng.jobs.knows('k')).toBe(false);
  });

  it('still finds its job after a restart', async () => {
    const before = someJobs();
    const job = await before.submit(async () => ({}), { repeat });
    await endOf(before, job);
    const after = someJobs({ records: [...before.stored.values()] });
    await after.jobs.restore();
    expect((await after.submit(async () => ({}), { repeat })).id).toBe(job.id);
  });
});

describe('a restart', () => {
  it('keeps what has ended, and calls interrupted what had not', async () => {
    const before = someJobs();
    const done = await before.submit(async () => ({ n: 1 }));
    await endOf(before, done);
    const running = await before.submit(heldWork().work);
    const queued = await before.submit(heldWork().work);
    await turn();
    const after = someJobs({ records: [...before.stored.values()], damaged: ['x.json'] });
    after.pass(60_000);
    await after.jobs.restore();
    expect(after.jobs.list(all).map(({ id, state }) => [id, state])).toEqual([
      [queued.id, 'interrupted'],
      [running.id, 'interrupted'],
      [done.id, 'succeeded'],
    ]);
    expect(after.jobs.find(running.id)).toMatchObject({
      error: {
        code: 'job_interrupted',
        sentence: expect.stringMatching(/while the job was running.*Send the request/),
      },
      endedAtUtc: '2026-01-02T03:05:05.000Z',
    });
    expect(after.jobs.find(queued.id)?.error?.sentence).toMatch(/before the job began; nothing was changed/);
    // And a second restart has nothing left to say.
    expect(after.stored.get(running.id)?.state).toBe('interrupted');
    expect(after.notices).toEqual(['a kept job cannot be read and is passed over']);
  });

  it('finds what was true last, however slow the disk was before', async () => {
    const okng = someJobs();
    okng.faults.slowTurns = 5;
    const submitting = okng.submit(heldWork().work);
    await okng.jobs.close();
    const { id } = await submitting;
    for (let i = 0; i < 10; i++) await turn();
    expect(okng.stored.get(id)?.state).toBe('interrupted');
  });

  it('finds at a shutdown interrupted what was queued or running, and what came too late refused', async () => {
    const okng = someJobs();
    const running = await okng.submit(untilStopped);
    const waiting = heldWork();
    const queued = await okng.submit(waiting.work);
    await turn();
    const late = okng.submit(async () => ({}));
    const closing = okng.jobs.close();
    await expect(okng.submit(async () => ({}))).rejects.toMatchObject({ code: 'shutting_down' });
    await closing;
    expect((await late).state).toBe('interrupted');
    for (const { id } of [running, queued]) {
      expect(okng.stored.get(id)).toMatchObject({
        state: 'interrupted',
        error: { sentence: expect.stringContaining('shut down before') },
      });
    }
    expect(waiting.begun).toEqual([]);
    expect(okng.jobs.close()).toBe(closing);
  });
});

describe('what is kept', () => {
  const ended = (id: string, endedAtUtc: string, resultBytes = 0): JobRecord => ({
    id,
    kind: 'fit_ok',
    state: 'succeeded',
    key,
    requestId: 'r',
    createdAtUtc: endedAtUtc,
    startedAtUtc: endedAtUtc,
    endedAtUtc,
    progress: null,
    error: null,
    resultBytes,
    repeat: null,
  });
  const today = '2026-01-02T03:00:00.000Z';
  const restored = async (records: readonly JobRecord[]) => {
    const okng = someJobs({ records });
    await okng.jobs.restore();
    expect([...okng.stored.keys()].sort()).toEqual(
      okng.jobs
        .list({ ...all, limit: 1000 })
        .map(({ id }) => id)
        .sort(),
    );
    return [...okng.stored.keys()];
  };

  it('are so many jobs at most, the newest', async () => {
    const records = Array.from({ length: kept.jobs + 3 }, (_, i) => ended(`j${i}`, today));
    expect(await restored(records)).toEqual(records.slice(3).map(({ id }) => id));
  });

  it('are those of the last days', async () => {
    expect(
      await restored([ended('old', '2025-12-26T03:04:04.000Z'), ended('new', '2025-12-26T03:04:06.000Z')]),
    ).toEqual(['new']);
  });

  it('are results of so many bytes at most, and the newest whatever its size', async () => {
    const half = kept.resultBytes / 2;
    expect(await restored([ended('a', today, 1), ended('b', today, half), ended('c', today, half)])).toEqual([
      'b',
      'c',
    ]);
    expect(await restored([ended('a', today, 1), ended('b', today, 2 * kept.resultBytes)])).toEqual(['b']);
  });

  it('leave out jobs that have not ended, which stay however many end after them', async () => {
    const okng = someJobs();
    const held = heldWork();
    const old = await okng.submit(held.work);
    const ids: string[] = [];
    for (let i = 0; i < kept.jobs; i++) {
      const { id } = await okng.submit(async () => ({}));
      await okng.jobs.cancel(id);
      ids.push(id);
    }
    expect([...okng.stored.keys()]).toEqual([old.id, ...ids]);
    // It is the oldest, but the last that has ended.
    okng.pass(1000);
    held.succeed({ n: 1 });
    await endOf(okng, old);
    await turn();
    expect([...okng.stored.keys()]).toEqual([old.id, ...ids.slice(1)]);
  });

  it('make room for one that has just ended', async () => {
    const okng = someJobs({ records: Array.from({ length: kept.jobs }, (_, i) => ended(`j${i}`, today)) });
    await okng.jobs.restore();
    const job = await okng.submit(async () => ({}));
    await endOf(okng, job);
    await turn();
    expect(okng.stored.has('j0')).toBe(false);
    expect(okng.stored.has('j1')).toBe(true);
    expect(okng.jobs.find(job.id)).not.toBeNull();
  });
});
