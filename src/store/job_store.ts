import { join } from 'node:path';
import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import { ensureFolder, removeFiles, removeStaleTemps, stageFiles } from './atomic_write.ts';
import { inParallel } from './in_parallel.ts';
import type { ModelKey } from './places.ts';
import { damagedFile, decodeJson, encodeJson, listFolder, readStoredFile } from './stored_file.ts';

/** Every state a job can be in; the last four are ends. */
export const jobStates = ['queued', 'running', 'succeeded', 'failed', 'cancelled', 'interrupted'] as const;
export type JobState = (typeof jobStates)[number];

/** What lasts of a job: `jobs/<id>.json`. Its result lies beside it, because it may be a thousand times as large. */
export interface JobRecord {
  /** A UUID of ours. */
  readonly id: string;
  /** The endpoint that does this work. */
  readonly kind: string;
  readonly state: JobState;
  readonly key: ModelKey;
  /** Of the request that the job came with. */
  readonly requestId: string;
  readonly createdAtUtc: string;
  readonly startedAtUtc: string | null;
  readonly endedAtUtc: string | null;
  /** The last that was heard; on disk that of the end. */
  readonly progress: JobProgress | null;
  /** Why it did not succeed. */
  readonly error: { readonly code: string; readonly sentence: string } | null;
  /** Size of the result's file; 0 without one. */
  readonly resultBytes: number;
  /** By which a repeated request is known; null where the request brought no key. */
  readonly repeat: RepeatKey | null;
}

export interface JobProgress {
  readonly step: string;
  /** 0..total */
  readonly done: number;
  readonly total: number;
}

/** A request's `Idempotency-Key` and the hash of all that it asks for. */
export interface RepeatKey {
  readonly key: string;
  readonly fingerprint: string;
}

/**
 * Jobs on disk, in the folder `jobs` of the models folder. Of two writers of one job the later one wins: write one job's
 * records one after the other.
 *
 * Errors of every method: `storage_full`, `storage_unavailable`, `damaged_file` as named.
 */
export interface JobStore {
  /**
   * Every record, the oldest first, and the names of files that are no record; those are left as they are. Removes the
   * results that an interrupted {@link JobStore.remove} has left.
   */
  list(): Promise<{ readonly records: readonly JobRecord[]; readonly damaged: readonly string[] }>;
  /**
   * Replaces the record; a result is there before the record that tells of it.
   *
   * @param result JSON text
   */
  save(record: JobRecord, result?: string): Promise<void>;
  /** Undefined when there is none. @throws InspectionError `damaged_file` */
  readResult(id: string): Promise<unknown>;
  /** Records first: none is left without the result it tells of. */
  remove(ids: readonly string[]): Promise<void>;
  /** @see removeStaleTemps */
  removeStaleTemps(nowMs: number, olderThanMs: number): Promise<number>;
}

export const JOBS_FOLDER = 'jobs';
const RECORD_SUFFIX = '.json';
const RESULT_SUFFIX = '.result.json';

/** Records read at the same time: they are small, and Node has four threads for files. */
const READERS = 3;

const idText = z.uuid();
const text = z.string();

const recordSchema = z
  .object({
    id: idText,
    kind: text,
    state: z.enum(jobStates),
    recipe_id: text,
    model_key: text,
    role_id: text,
    roi_id: text,
    request_id: text,
    created_at_utc: z.iso.datetime(),
    started_at_utc: z.iso.datetime().nullable(),
    ended_at_utc: z.iso.datetime().nullable(),
    progress: z.object({ step: text, done: z.number(), total: z.number() }).nullable(),
    error: z.object({ code: text, sentence: text }).nullable(),
    result_bytes: z.number().int().nonnegative(),
    repeat: z.object({ key: text, fingerprint: text }).nullable(),
  })
  .transform(
    (file): JobRecord => ({
      id: file.id,
      kind: file.kind,
      state: file.state,
      key: { recipeId: file.recipe_id, modelKey: file.model_key, roleId: file.role_id, roiId: file.roi_id },
      requestId: file.request_id,
      createdAtUtc: file.created_at_utc,
      startedAtUtc: file.started_at_utc,
      endedAtUtc: file.ended_at_utc,
      progress: file.progress,
      error: file.error,
      resultBytes: file.result_bytes,
      repeat: file.repeat,
    }),
  );

/** Touches nothing until a method is called; the folder need not exist. */
export function createJobStore(modelsDir: string): JobStore {
  const folder = join(modelsDir, JOBS_FOLDER);

  return {
    async list() {
      const { records, damaged, leftovers } = await readJobs(modelsDir);
      await removeFiles(folder, leftovers);
      return { records, damaged };
    },

    async save(record, result) {
      const files = [{ name: recordName(record.id), bytes: encodeRecord(record) }];
      if (result !== undefined) {
        files.unshift({ name: resultName(record.id), bytes: new TextEncoder().encode(result) });
      }
      const staged = await stageFiles(await ensureFolder(modelsDir, [JOBS_FOLDER]), files);
      // A job that is refused must not be found by the next process.
      await staged.commit(undefined, record.state === 'queued' ? 'take_back' : 'keep');
    },

    async readResult(id) {
      const file = await readStoredFile(join(folder, resultName(id)));
      return file && decodeJson(file.bytes, resultName(id));
    },

    async remove(ids) {
      await removeFiles(
        folder,
        ids.flatMap((id) => [recordName(id), resultName(id)]),
      );
    },

    removeStaleTemps: (nowMs, olderThanMs) => removeStaleTemps(folder, nowMs, olderThanMs),
  };
}

/** What a folder of jobs holds. Names are those of files in it. */
export interface FoundJobs {
  /** The oldest first. */
  readonly records: readonly JobRecord[];
  /** What is no record. */
  readonly damaged: readonly string[];
  /** Results that an interrupted {@link JobStore.remove} has left: their records are gone. */
  readonly leftovers: readonly string[];
}

/** Looks at the jobs of a models folder and changes nothing. Errors: as {@link JobStore.list}. */
export async function readJobs(modelsDir: string): Promise<FoundJobs> {
  const folder = join(modelsDir, JOBS_FOLDER);
  const names = await listFolder(folder);
  const recordNames = names.filter((name) => name.endsWith(RECORD_SUFFIX) && !name.endsWith(RESULT_SUFFIX));
  const known = new Set(recordNames);
  const leftovers = names.filter((name) => {
    const id = name.slice(0, -RESULT_SUFFIX.length);
    return name === resultName(id) && idText.safeParse(id).success && !known.has(recordName(id));
  });
  const damaged: string[] = [];
  const records = await inParallel(recordNames, READERS, async (name) => {
    try {
      const file = await readStoredFile(join(folder, name));
      return file && decodeRecord(file.bytes, name);
    } catch (error) {
      if (!(error instanceof InspectionError) || error.code !== 'damaged_file') throw error;
      damaged.push(name);
      return undefined;
    }
  });
  return { records: records.filter((record) => record !== undefined).sort(byCreation), damaged, leftovers };
}

function recordName(id: string): string {
  return id + RECORD_SUFFIX;
}

function resultName(id: string): string {
  return id + RESULT_SUFFIX;
}

function byCreation(a: JobRecord, b: JobRecord): number {
  return Date.parse(a.createdAtUtc) - Date.parse(b.createdAtUtc) || (a.id < b.id ? -1 : 1);
}

function encodeRecord({ key, ...record }: JobRecord): Uint8Array {
  const file: z.input<typeof recordSchema> = {
    id: record.id,
    kind: record.kind,
    state: record.state,
    recipe_id: key.recipeId,
    model_key: key.modelKey,
    role_id: key.roleId,
    roi_id: key.roiId,
    request_id: record.requestId,
    created_at_utc: record.createdAtUtc,
    started_at_utc: record.startedAtUtc,
    ended_at_utc: record.endedAtUtc,
    progress: record.progress,
    error: record.error,
    result_bytes: record.resultBytes,
    repeat: record.repeat,
  };
  return new TextEncoder().encode(`${encodeJson(file, 2)}\n`);
}

function decodeRecord(bytes: Uint8Array, name: string): JobRecord {
  const record = recordSchema.safeParse(decodeJson(bytes, name));
  if (!record.success) {
    const [issue] = record.error.issues;
    throw damagedFile(name, `'${issue?.path.join('.') ?? ''}': ${issue?.message ?? 'unusable'}`, record.error);
  }
  if (recordName(record.data.id) !== name) throw damagedFile(name, `it is the record of job ${record.data.id}`);
  return record.data;
}
