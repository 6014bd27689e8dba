import { randomUUID } from 'node:crypto';
import { type ErrorCode, InspectionError } from '../errors.ts';
import type { JobProgress, JobRecord, JobState, JobStore } from '../store/job_store.ts';
import { encodeJson } from '../store/stored_file.ts';
import { etaSeconds, type Pace, withReport } from './job_pace.ts';
import { createTurns } from './turns.ts';

export { type JobState, jobStates, type RepeatKey } from '../store/job_store.ts';

/** The work that may be a job, by the name of its endpoint. */
export const jobKinds = ['fit_ok', 'calibrate_dataset', 'infer_dataset'] as const;
export type JobKind = (typeof jobKinds)[number];

/** A job as it is at one moment. */
export interface Job extends JobRecord {
  /** Seconds until its step is expected to end; null when that cannot be told, and when it does not run. */
  readonly etaS: number | null;
  /** Another number whenever anything but `etaS` has changed. */
  readonly version: number;
}

export interface JobHooks {
  readonly id: string;
  /**
   * Aborts when the job is to end: the work then throws `request_aborted` or `shutting_down` soon, with nothing changed, or
   * comes to its end all the same.
   */
  readonly signal: AbortSignal;
  readonly onProgress: (step: string, done: number, total: number) => void;
}

/** @returns what can be written as JSON */
export type JobWork = (hooks: JobHooks) => Promise<object>;

export interface NewJob extends Pick<JobRecord, 'key' | 'requestId' | 'repeat'> {
  readonly kind: JobKind;
  /** Everything it holds, pictures for instance, stays in memory until the job ends. */
  readonly work: JobWork;
}

export interface JobFilter {
  /** Empty: all. */
  readonly states: readonly JobState[];
  readonly kinds: readonly JobKind[];
  readonly limit: number;
}

/**
 * Long work whose callers do not wait. One job runs at a time, in the order they came, so that an inspection on the line
 * waits for one picture of one job at most. Ended jobs are kept for a while, across restarts of the service as well; what a
 * job has yet to do is not, so one that was queued or running when the service ended is `interrupted`.
 */
export interface Jobs {
  /**
   * Queues the work; it is on disk when this returns. A request that brings the key of an earlier one gets that job.
   *
   * @throws InspectionError `queue_full`, `idempotency_key_reused`, `shutting_down`, `storage_full`, `storage_unavailable`
   */
  submit(job: NewJob): Promise<Job>;
  /** Whether a request with this `Idempotency-Key` has become a job. */
  knows(idempotencyKey: string): boolean;
  /** The newest first. */
  list(filter: JobFilter): readonly Job[];
  /** Null: there is none, or it is not kept any more. */
  find(id: string): Job | null;
  /** What the work returned, as JSON has it; null unless the job has succeeded. */
  result(id: string): Promise<unknown>;
  /**
   * Cancels a job and waits until it has ended, which takes one picture or so. Cancelling it again changes nothing.
   *
   * @returns the cancelled job; null as in {@link Jobs.find}
   * @throws InspectionError `job_ended` when it came to its end in another way
   */
  cancel(id: string): Promise<Job | null>;
  /** Resolves when the job is not as given any more, or the signal fires. */
  changed(job: Job, signal: AbortSignal): Promise<void>;
  /** Reads the kept jobs. Call once, before the first `submit`, and only in the process that serves this models folder. */
  restore(): Promise<void>;
  /** Takes no more jobs, interrupts those there are, and waits until they have ended. */
  close(): Promise<void>;
}

export interface JobParts {
  readonly store: JobStore;
  readonly now: () => Date;
  /** Jobs queued or running; one more is refused. */
  readonly limit: number;
  /** Told what failed without a caller to hear it. */
  readonly notify: (message: string, details: Readonly<Record<string, unknown>>) => void;
}

/** How much of what has ended is kept; the newest is kept whatever its size. */
export const kept = { jobs: 200, days: 7, resultBytes: 256 * 1024 * 1024 } as const;

interface Entry {
  record: JobRecord;
  version: number;
  pace: Pace | null;
  /** Null once the job ends: what it holds goes with it. */
  work: JobWork | null;
  readonly stop: AbortController;
  /** What the job becomes when it is stopped. */
  stopAs: Stopped;
  /** The result as JSON text where it could not be stored. */
  unstored: string | null;
  readonly watchers: Set<() => void>;
  /** Resolves when the job is on disk; rejects when it was not taken. */
  accepted: Promise<void>;
  ended: Promise<void> | null;
}

type Stopped = 'cancelled' | 'interrupted';
type Failure = NonNullable<JobRecord['error']>;

interface Outcome {
  readonly state: Exclude<JobState, 'queued' | 'running'>;
  readonly error?: Failure;
  /** JSON text */
  readonly result?: string;
}

export function createJobs({ store, now, limit, notify }: JobParts): Jobs {
  /** In the order they came. */
  const entries = new Map<string, Entry>();
  const waiting: Entry[] = [];
  // Records of one job are written one after the other.
  const turns = createTurns();
  let running: Promise<void> | null = null;
  let closing: Promise<void> | null = null;

  const viewOf = ({ record, version, pace }: Entry): Job => {
    const etaS = record.state === 'running' && pace !== null ? etaSeconds(pace, now().getTime()) : null;
    return { ...record, etaS, version };
  };

  const change = (entry: Entry, changes: Partial<JobRecord>): void => {
    entry.record = { ...entry.record, ...changes };
    entry.version++;
    for (const wake of entry.watchers) wake();
  };

  const save = (record: JobRecord, result?: string): Promise<void> =>
    turns.take(record.id, () => store.save(record, result));

  const withKey = (idempotencyKey: string): Entry | undefined =>
    [...entries.values()].find(({ record }) => record.repeat?.key === idempotencyKey);

  function startNext(): void {
    if (running !== null || closing !== null) return;
    const next = waiting.shift();
    if (next === undefined) return;
    running = run(next).finally(() => {
      running = null;
      startNext();
    });
  }

  async function run(entry: Entry): Promise<void> {
    const { work, stop } = entry;
    // Cancelled while it waited.
    if (work === null) return;
    const started = now();
    change(entry, { state: 'running', startedAtUtc: started.toISOString() });
    await save(entry.record).catch((error) =>
      notify('a job could not be stored', { job_id: entry.record.id, err: error }),
    );
    await end(entry, stop.signal.aborted ? stoppedAs(entry.stopAs) : await outcomeOf(entry, work, started));
  }

  async function outcomeOf(entry: Entry, work: JobWork, started: Date): Promise<Outcome> {
    const { id } = entry.record;
    const { signal } = entry.stop;
    const onProgress = (step: string, done: number, total: number) => {
      if (entry.ended !== null) return;
      const progress: JobProgress = { step, done, total };
      entry.pace = withReport(entry.pace, progress, now().getTime(), started.getTime());
      change(entry, { progress });
    };
    try {
      return { state: 'succeeded', result: encodeJson(await work({ id, signal, onProgress })) };
    } catch (error) {
      if (!(error instanceof InspectionError)) {
        notify('a job failed', { job_id: id, err: error });
        return { state: 'failed', error: ourFailure };
      }
      // Another failure is told as what it is, also by work that was to end: it may have come after a change.
      if (signal.aborted && gaveUp.has(error.code)) return stoppedAs(entry.stopAs);
      return { state: 'failed', error: { code: error.code, sentence: error.message } };
    }
  }

  /** The record is on disk before anybody sees the end: a crash between would turn it into another. */
  function end(entry: Entry, outcome: Outcome): Promise<void> {
    entry.work = null;
    entry.ended ??= (async () => {
      const { state, error = null, result } = outcome;
      const resultBytes = result === undefined ? 0 : Buffer.byteLength(result);
      const changes = { state, error, resultBytes, endedAtUtc: now().toISOString() };
      try {
        await save({ ...entry.record, ...changes }, result);
      } catch (failure) {
        entry.unstored = result ?? null;
        notify('the end of a job could not be stored', { job_id: entry.record.id, state, err: failure });
      }
      change(entry, changes);
      await forgetOld();
    })();
    return entry.ended;
  }

  async function stopEntry(entry: Entry, stopAs: Stopped): Promise<void> {
    if (!entry.stop.signal.aborted) {
      entry.stopAs = stopAs;
      entry.stop.abort();
    }
    if (entry.record.state === 'queued') await end(entry, stoppedAs(entry.stopAs));
    else while (!isEnded(entry.record.state)) await changed(entry, entry.version);
  }

  async function forgetOld(): Promise<void> {
    const oldestMs = now().getTime() - kept.days * 24 * 3600 * 1000;
    const endedMs = ({ record }: Entry) => Date.parse(record.endedAtUtc ?? record.createdAtUtc);
    const latestFirst = [...entries.values()]
      .filter(({ record }) => isEnded(record.state))
      .reverse()
      .sort((a, b) => endedMs(b) - endedMs(a));
    let bytes = 0;
    const old = latestFirst.filter((entry, i) => {
      bytes += entry.record.resultBytes;
      return i >= kept.jobs || (i > 0 && bytes > kept.resultBytes) || endedMs(entry) < oldestMs;
    });
    if (old.length === 0) return;
    const ids = old.map(({ record }) => record.id);
    for (const id of ids) entries.delete(id);
    try {
      await store.remove(ids);
    } catch (error) {
      notify('old jobs could not be removed', { jobs: ids.length, err: error });
    }
  }

  return {
    async submit({ kind, key, requestId, repeat, work }) {
      const earlier = repeat === null ? undefined : withKey(repeat.key);
      if (earlier !== undefined && repeat !== null) {
        if (earlier.record.repeat?.fingerprint !== repeat.fingerprint) throw keyReused(repeat.key);
        await earlier.accepted;
        return viewOf(earlier);
      }
      if (closing !== null) {
        throw new InspectionError('shutting_down', 'The service is shutting down and takes no more jobs.');
      }
      const unended = [...entries.values()].filter(({ record }) => !isEnded(record.state)).length;
      if (unended >= limit) {
        throw new InspectionError(
          'queue_full',
          `${unended} jobs are queued or running; send the request again when one has ended (BDI_QUEUE_LIMIT sets the limit).`,
        );
      }
      const record: JobRecord = {
        id: randomUUID(),
        kind,
        state: 'queued',
        key,
        requestId,
        createdAtUtc: now().toISOString(),
        startedAtUtc: null,
        endedAtUtc: null,
        progress: null,
        error: null,
        resultBytes: 0,
        repeat,
      };
      const entry = newEntry(record, work, save(record));
      entries.set(record.id, entry);
      try {
        await entry.accepted;
      } catch (error) {
        entries.delete(record.id);
        throw error;
      }
      waiting.push(entry);
      startNext();
      // The service may have begun to shut down meanwhile.
      await entry.ended;
      return viewOf(entry);
    },

    knows: (idempotencyKey) => withKey(idempotencyKey) !== undefined,

    list: ({ states, kinds, limit }) =>
      [...entries.values()]
        .reverse()
        .filter(({ record }) => states.length === 0 || states.includes(record.state))
        .filter(({ record }) => kinds.length === 0 || (kinds as readonly string[]).includes(record.kind))
        .slice(0, limit)
        .map(viewOf),

    find: (id) => {
      const entry = entries.get(id);
      return entry === undefined ? null : viewOf(entry);
    },

    async result(id) {
      const entry = entries.get(id);
      if (entry === undefined || entry.record.resultBytes === 0) return null;
      return entry.unstored === null ? ((await store.readResult(id)) ?? null) : JSON.parse(entry.unstored);
    },

    async cancel(id) {
      const entry = entries.get(id);
      if (entry === undefined) return null;
      await stopEntry(entry, 'cancelled');
      const { state } = entry.record;
      if (state === 'cancelled') return viewOf(entry);
      throw new InspectionError(
        'job_ended',
        `Job ${id} has ended as ${state}; it can be cancelled no more, and what it did stays done.`,
      );
    },

    async changed({ id, version }, signal) {
      const entry = entries.get(id);
      if (entry !== undefined) await changed(entry, version, signal);
    },

    async restore() {
      const { records, damaged } = await store.list();
      for (const name of damaged) notify('a kept job cannot be read and is passed over', { file: name });
      for (const record of records) {
        const entry = newEntry(record, null, Promise.resolve());
        entries.set(record.id, entry);
        if (isEnded(record.state)) continue;
        // Who runs it is gone. It must not stay in a state that will never end.
        await end(entry, { state: 'interrupted', error: crashed[record.state === 'queued' ? 'queued' : 'running'] });
      }
      await forgetOld();
    },

    close() {
      closing ??= (async () => {
        const unended = [...entries.values()].filter(({ record }) => !isEnded(record.state));
        await Promise.all(unended.map((entry) => stopEntry(entry, 'interrupted')));
        await running;
      })();
      return closing;
    },
  };
}

export function isEnded(state: JobState): boolean {
  return state !== 'queued' && state !== 'running';
}

function newEntry(record: JobRecord, work: JobWork | null, accepted: Promise<void>): Entry {
  const stop = new AbortController();
  const watchers = new Set<() => void>();
  return {
    record,
    version: 1,
    pace: null,
    work,
    stop,
    stopAs: 'cancelled',
    unstored: null,
    watchers,
    accepted,
    ended: null,
  };
}

function changed(entry: Entry, version: number, signal?: AbortSignal): Promise<void> {
  if (entry.version !== version || signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const wake = () => {
      entry.watchers.delete(wake);
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    entry.watchers.add(wake);
    signal?.addEventListener('abort', wake, { once: true });
  });
}

/** What work throws that ends because it was told to. */
const gaveUp: ReadonlySet<ErrorCode> = new Set(['request_aborted', 'shutting_down']);

const stopSentences: Readonly<Record<Stopped, string>> = {
  cancelled: 'The job was cancelled on request; nothing was changed.',
  interrupted: 'The service was shut down before the job came to its end; nothing was changed. Send the request again.',
};

function stoppedAs(state: Stopped): Outcome {
  return { state, error: { code: `job_${state}`, sentence: stopSentences[state] } };
}

const crashed: Readonly<Record<'queued' | 'running', Failure>> = {
  queued: {
    code: 'job_interrupted',
    sentence: 'The service ended before the job began; nothing was changed. Send the request again.',
  },
  running: {
    code: 'job_interrupted',
    sentence:
      'The service ended while the job was running: what it was to replace is the old one or, if the job was about to end, the new one, and whole in either case. Send the request again.',
  },
};

const ourFailure: Failure = {
  code: 'internal_error',
  sentence: 'The service failed on its own account; its log tells why.',
};

/** Answers a key that comes with another request than before. */
export function keyReused(key: string): InspectionError {
  return new InspectionError(
    'idempotency_key_reused',
    `The Idempotency-Key ${JSON.stringify(key)} came before with another request; send a new key with a new request, and the old one only to repeat the old.`,
  );
}
