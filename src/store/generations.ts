import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InspectionError } from '../errors.ts';
import {
  type CommitStep,
  createFolder,
  ensureFolder,
  moveFolder,
  type NewFile,
  removeFolder,
  removeTempFolders,
  type StagedFiles,
  stageFiles,
  writeFileAtomically,
} from './atomic_write.ts';
import { type CalibrationFile, decodeCalibration, encodeCalibration } from './calibration_file.ts';
import { decodeGeneration, encodeGeneration, type GenerationMaker, type GenerationRecord } from './generation_file.ts';
import { type LockTiming, lockTiming, withLock } from './model_lock.ts';
import { readModelMemory } from './model_memory.ts';
import type { ModelPlace } from './places.ts';
import { sha256Hex } from './sha256.ts';
import { damagedFile, fileFacts, fileStamp, listEntries, readStoredFile } from './stored_file.ts';

/**
 * The memories that a place has had, each with its own calibration, in `generations/<base>/<number>/` beside the live files.
 *
 * Which generation answers is told by one file alone, the place's npz: a generation is live when the npz is its memory, by
 * content. So the rename of the npz switches memory and calibration together. Index and calibration beside the npz are
 * copies, for the predecessor.
 */

export const GENERATIONS_FOLDER = 'generations';
const MEMORY_FILE = 'memory.npz';
const RECORD_FILE = 'generation.json';
const DAMAGED = 'damaged-';
/** Records kept decoded; one holds up to 2000 scores. */
const decodedMost = 256;

export interface GenerationOptions {
  /** How many are kept, the newest ones; the live one always. At least 1. */
  readonly keep: number;
  readonly now: () => Date;
  readonly lock: LockTiming;
  /** A memory whose last write is younger may still be being written, and is not damaged for certain. */
  readonly quietMs: number;
}

const defaults: GenerationOptions = { keep: 3, now: () => new Date(), lock: lockTiming, quietMs: 2000 };

/** What of a memory that was read tells its generation. */
export interface ReadMemory {
  readonly stamp: string;
  readonly memoryId: string;
  /** As its file says. */
  readonly generation: number;
}

/** What belongs to a memory at its place. */
export interface BoundToMemory {
  /** For a memory without a generation the one it will get. */
  readonly generation: number;
  /** Its own; where it has none, the one beside the npz, whose `memory_id` tells whose it is. */
  readonly calibration: CalibrationFile | undefined;
}

/** The numbers of a place. */
export interface GenerationNumbers {
  /** Of the memory asked about; null without one. */
  readonly own: number | null;
  /** Of the next memory. */
  readonly next: number;
}

/** A memory on its way to a place. */
export interface Publication {
  /** In the place's folder, the npz among them. */
  readonly staged: StagedFiles;
  /** Makes the npz the live one, with what is to change beside it. */
  readonly steps: readonly CommitStep[];
  readonly npz: Uint8Array;
  readonly memoryId: string;
  /** As its file says; it gets this number, or the next one that is free above all. */
  readonly generation: number;
  readonly madeBy: GenerationMaker;
  /** Its calibration, given the one that counts until now. */
  readonly calibrationAfter: (before: CalibrationFile | undefined) => CalibrationFile | undefined;
}

/** What became of a memory that could not be read. `changed`: it is another file by now, or can be read after all. */
export type Replacement = { readonly generation: number } | 'no_good_one' | 'changed';

export interface ListedGeneration extends GenerationRecord {
  readonly live: boolean;
}

/**
 * Errors of every method: `damaged_file`, `storage_full`, `storage_unavailable`; of those that change something as well
 * `not_ready` when another process is changing the same model for too long. A change that fails before the npz is replaced
 * has changed nothing that answers.
 */
export interface Generations {
  /** Reads one small file, or two. */
  boundTo(place: ModelPlace, memory: ReadMemory): Promise<BoundToMemory>;
  numbersOf(place: ModelPlace, memory: ReadMemory | null): Promise<GenerationNumbers>;
  /** Those that can be restored, and the live one; newest first. */
  list(place: ModelPlace): Promise<readonly ListedGeneration[]>;
  /** Where a kept generation's memory lies. @throws InspectionError `not_found`, `damaged_file` when it lies there no more */
  addressOf(place: ModelPlace, generation: number): Promise<{ readonly path: string; readonly stamp: string }>;
  /** Makes a memory the one that answers, as the newest generation; what answered before is kept, older ones are pruned. */
  publish(place: ModelPlace, publication: Publication): Promise<void>;
  /**
   * Gives the live memory a calibration; where there is no memory it waits beside its place.
   *
   * @param stamp of the memory it was made for
   * @throws InspectionError `not_ready` when another memory is live
   */
  calibrate(place: ModelPlace, calibration: CalibrationFile, stamp?: string): Promise<void>;
  /** Makes a kept generation the live one again, with its number and its calibration. @throws InspectionError `not_found` */
  rollBack(place: ModelPlace, generation: number): Promise<void>;
  /**
   * Sets a memory that cannot be read aside among the generations, by a name with the time, and makes the newest good
   * generation live. Waits until nobody has written to the file for two seconds. Cost: reads kept memories until one is good.
   */
  replaceDamaged(place: ModelPlace, stamp: string): Promise<Replacement>;
  /** Runs work that nobody else may interfere with; none of the methods above may be called in it. */
  alone<T>(place: ModelPlace, work: () => Promise<T>): Promise<T>;
}

/** A place while its lock is held. */
interface Opened {
  readonly records: readonly GenerationRecord[];
  readonly live: GenerationRecord | undefined;
  readonly requireHeld: () => Promise<void>;
}

type NewGeneration = Pick<Publication, 'npz' | 'memoryId' | 'generation' | 'madeBy'> & {
  /** Of the file that is, or will be, the live one. */
  readonly npzPath: string;
  readonly calibration: CalibrationFile | undefined;
  readonly liveSince: string | null;
};

/** Touches nothing until a method is called. */
export function createGenerations(modelsDir: string, options: Partial<GenerationOptions> = {}): Generations {
  const { keep, now, lock, quietMs } = { ...defaults, ...options };
  // By path: of live files whose stamp does not tell which record they are, so that each is read once.
  const comparisons = new Map<string, { readonly stamp: string; readonly sha256: string }>();
  // By path: every inspection asks for one, and thousands of scores take time to parse and to check.
  const decoded = new Map<string, { readonly stamp: string; readonly record: GenerationRecord }>();

  const timeText = () => now().toISOString();
  const folderOf = ({ folder, base }: ModelPlace) => join(folder, GENERATIONS_FOLDER, base);
  const memoryFile = (place: ModelPlace, generation: number) => join(folderOf(place), `${generation}`, MEMORY_FILE);

  async function alone<T>(place: ModelPlace, work: (requireHeld: () => Promise<void>) => Promise<T>): Promise<T> {
    const folder = await ensureFolder(modelsDir, place.segments);
    return await withLock(folder, place.base, ({ requireHeld }) => work(requireHeld), lock);
  }

  async function readRecord(place: ModelPlace, generation: number): Promise<GenerationRecord | undefined> {
    const name = `${generation}/${RECORD_FILE}`;
    const path = join(folderOf(place), name);
    const known = decoded.get(path);
    if (known !== undefined && known.stamp === (await fileStamp(path))) return known.record;
    const file = await readStoredFile(path);
    decoded.delete(path);
    if (file === undefined) return undefined;
    const record = decodeGeneration(file.bytes, name);
    decoded.set(path, { stamp: file.stamp, record });
    const [oldest] = decoded.keys();
    if (decoded.size > decodedMost && oldest !== undefined) decoded.delete(oldest);
    return record;
  }

  /** By number. One that cannot be read is left out; {@link highestOf} knows its number all the same. */
  async function readRecords(place: ModelPlace): Promise<readonly GenerationRecord[]> {
    const numbers = (await listEntries(folderOf(place))).folders.filter((name) => /^[1-9]\d*$/.test(name)).map(Number);
    const records: GenerationRecord[] = [];
    for (const generation of numbers.sort((a, b) => a - b)) {
      const record = await unlessDamaged(() => readRecord(place, generation));
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  /** Damaged ones count: their numbers were told in answers. */
  async function highestOf(place: ModelPlace): Promise<number> {
    const { folders } = await listEntries(folderOf(place));
    return Math.max(0, ...folders.map((name) => Number(/^(?:damaged-)?([1-9]\d*)(?:-|$)/.exec(name)?.[1] ?? 0)));
  }

  async function numberFor(place: ModelPlace, wanted: number): Promise<number> {
    return Math.max(wanted, (await highestOf(place)) + 1);
  }

  /** The record of a memory that was read from the live file. The stamp of a file that is written to in place may come again. */
  async function recordFor(
    place: ModelPlace,
    { stamp, memoryId, generation }: ReadMemory,
  ): Promise<GenerationRecord | undefined> {
    const likely = await unlessDamaged(() => readRecord(place, generation));
    const record =
      likely?.npz_stamp === stamp ? likely : await recordOf(await readRecords(place), place.npzPath, stamp);
    return record?.memory_id === memoryId ? record : undefined;
  }

  /** The record of the live file: by its stamp, else (a copy, or restored from a backup) by all its bytes. */
  async function recordOf(
    records: readonly GenerationRecord[],
    npzPath: string,
    stamp: string,
  ): Promise<GenerationRecord | undefined> {
    const same = records.find(({ npz_stamp }) => npz_stamp === stamp);
    const sizeBytes = (await fileFacts(npzPath))?.sizeBytes;
    if (same !== undefined || !records.some(({ npz_bytes }) => npz_bytes === sizeBytes)) return same;
    const compared = comparisons.get(npzPath);
    if (compared?.stamp === stamp) return records.find(({ npz_sha256 }) => npz_sha256 === compared.sha256);
    const file = await readStoredFile(npzPath);
    if (file?.stamp !== stamp) return undefined;
    const sha256 = await sha256Hex(file.bytes);
    comparisons.set(npzPath, { stamp, sha256 });
    return records.find(({ npz_sha256 }) => npz_sha256 === sha256);
  }

  async function writeRecord(place: ModelPlace, record: GenerationRecord): Promise<GenerationRecord> {
    const folder = join(folderOf(place), `${record.generation}`);
    await writeFileAtomically(folder, { name: RECORD_FILE, bytes: encodeGeneration(record) });
    return record;
  }

  async function markLive(place: ModelPlace, record: GenerationRecord): Promise<GenerationRecord> {
    const stamp = (await fileStamp(place.npzPath)) ?? record.npz_stamp;
    return await writeRecord(place, { ...record, live_since_utc: timeText(), npz_stamp: stamp });
  }

  async function add(place: ModelPlace, made: NewGeneration): Promise<GenerationRecord> {
    const record: GenerationRecord = {
      generation: await numberFor(place, made.generation),
      made_by: made.madeBy,
      created_at_utc: timeText(),
      live_since_utc: made.liveSince,
      memory_id: made.memoryId,
      npz_bytes: made.npz.byteLength,
      npz_sha256: await sha256Hex(made.npz),
      npz_stamp: (await fileStamp(made.npzPath)) ?? '',
      calibration: made.calibration ?? null,
    };
    const folder = await ensureFolder(modelsDir, [...place.segments, GENERATIONS_FOLDER, place.base]);
    await createFolder(folder, `${record.generation}`, [
      { name: MEMORY_FILE, sameAs: made.npzPath },
      { name: RECORD_FILE, bytes: encodeGeneration(record) },
    ]);
    return record;
  }

  /**
   * Looks at a place whose lock is held, and ends what a crash left half done there: generations that never were live go,
   * one that is live is marked so, and a live memory without a generation (the predecessor's) becomes one.
   */
  async function open(place: ModelPlace, requireHeld: () => Promise<void>): Promise<Opened> {
    await removeTempFolders(folderOf(place));
    const found = await readRecords(place);
    const stamp = await fileStamp(place.npzPath);
    const match = stamp === undefined ? undefined : await recordOf(found, place.npzPath, stamp);
    const records: GenerationRecord[] = [];
    for (const record of found) {
      if (record.live_since_utc !== null || record === match) records.push(record);
      else await removeFolder(folderOf(place), `${record.generation}`);
    }
    let live = match;
    if (live?.live_since_utc === null) live = await markLive(place, live);
    if (live === undefined && stamp !== undefined) live = await adopt(place, stamp);
    // A copy, or restored: known by its stamp from now on.
    if (live !== undefined && stamp !== undefined && live.npz_stamp !== stamp)
      live = await writeRecord(place, { ...live, npz_stamp: stamp });
    const beside = live?.calibration === null ? await unlessDamaged(() => readBeside(place)) : undefined;
    // Written by an okng that knows no generations.
    if (live !== undefined && beside?.memory_id === live.memory_id)
      live = await writeRecord(place, { ...live, calibration: beside as CalibrationFile });
    const others = records.filter(({ generation }) => generation !== live?.generation);
    return { records: live === undefined ? others : [...others, live], live, requireHeld };
  }

  /** Undefined when it cannot be read, or is replaced meanwhile by someone who takes no lock. */
  async function adopt(place: ModelPlace, stamp: string): Promise<GenerationRecord | undefined> {
    const memory = await unlessDamaged(() => readModelMemory(place.npzPath));
    const file = await readStoredFile(place.npzPath);
    if (memory?.stamp !== stamp || file?.stamp !== stamp) return undefined;
    const beside = await unlessDamaged(() => readBeside(place));
    const isOthers = beside?.memory_id != null && beside.memory_id !== memory.memoryId;
    return await add(place, {
      npzPath: place.npzPath,
      npz: file.bytes,
      memoryId: memory.memoryId,
      generation: memory.metadata.generation ?? 1,
      madeBy: 'found',
      calibration: isOthers ? undefined : beside,
      liveSince: timeText(),
    });
  }

  /** Makes a good memory among the generations the live one: one rename, which brings its calibration with it. */
  async function restore(place: ModelPlace, record: GenerationRecord, { requireHeld }: Opened): Promise<void> {
    const [npz, index, calibration] = [place.npzPath, place.indexPath, place.calibrationPath].map((path) =>
      basename(path),
    ) as [string, string, string];
    const files: NewFile[] = [{ name: npz, sameAs: memoryFile(place, record.generation) }];
    if (record.calibration !== null) files.push({ name: calibration, bytes: encodeCalibration(record.calibration) });
    const staged = await stageFiles(place.folder, files);
    try {
      await requireHeld();
      await staged.commit([
        { remove: index },
        { remove: calibration },
        ...files.map(({ name }) => ({ publish: name })),
      ]);
    } finally {
      await staged.discard();
    }
    await afterwards(() => markLive(place, record));
  }

  /** Whether a kept memory still is what it was when it was recorded. */
  async function isGood(place: ModelPlace, { generation, npz_bytes, npz_sha256 }: GenerationRecord): Promise<boolean> {
    const path = memoryFile(place, generation);
    if ((await fileFacts(path))?.sizeBytes !== npz_bytes) return false;
    const file = await readStoredFile(path);
    return file !== undefined && (await sha256Hex(file.bytes)) === npz_sha256;
  }

  async function newestGood(place: ModelPlace, records: readonly GenerationRecord[]) {
    const bad: GenerationRecord[] = [];
    for (const record of records.toSorted((a, b) => b.generation - a.generation)) {
      if (await isGood(place, record)) return { good: record, bad };
      bad.push(record);
    }
    return { good: undefined, bad };
  }

  async function setAside(place: ModelPlace, stamp: string, bad: readonly GenerationRecord[]): Promise<void> {
    const time = timeText().replace(/[-:.]/g, '');
    const folder = await ensureFolder(modelsDir, [...place.segments, GENERATIONS_FOLDER, place.base]);
    let isAmongThem = false;
    for (const { generation } of bad) {
      isAmongThem ||= (await fileStamp(memoryFile(place, generation))) === stamp;
      await moveFolder(folder, `${generation}`, `${DAMAGED}${generation}-${time}`);
    }
    if (isAmongThem) return;
    const files: NewFile[] = [{ name: `${DAMAGED}${time}.npz`, sameAs: place.npzPath }];
    if ((await fileStamp(place.calibrationPath)) !== undefined)
      files.push({ name: `${DAMAGED}${time}_calib.json`, sameAs: place.calibrationPath });
    await (await stageFiles(folder, files)).commit();
  }

  async function quiet({ npzPath }: ModelPlace): Promise<void> {
    const facts = await fileFacts(npzPath);
    const ageMs = facts === undefined ? quietMs : Date.now() - facts.modifiedAtMs;
    if (ageMs < quietMs) await sleep(quietMs - Math.max(0, ageMs));
  }

  async function prune(place: ModelPlace, { records }: Opened, liveGeneration: number): Promise<void> {
    const numbers = new Set([...records.map(({ generation }) => generation), liveGeneration]);
    const old = [...numbers].sort((a, b) => b - a).slice(keep);
    for (const generation of old) {
      if (generation !== liveGeneration) await removeFolder(folderOf(place), `${generation}`);
    }
  }

  function requireKept(records: readonly GenerationRecord[], wanted: number): GenerationRecord {
    const kept = records.filter(({ live_since_utc }) => live_since_utc !== null);
    const record = kept.find(({ generation }) => generation === wanted);
    if (record !== undefined) return record;
    const numbers = kept.map(({ generation }) => generation).join(', ');
    throw new InspectionError(
      'not_found',
      `There is no generation ${wanted} of this model; ${numbers === '' ? 'none is kept' : `kept are ${numbers}`} (BDI_KEEP_GENERATIONS sets how many).`,
    );
  }

  return {
    async boundTo(place, memory) {
      const own = await recordFor(place, memory);
      const beside = own?.calibration == null ? await readBeside(place) : undefined;
      // Where its record is damaged, the copy beside it may still be good; without one nobody may be judged silently.
      if (own === undefined && beside?.memory_id !== memory.memoryId) await readRecord(place, memory.generation);
      return {
        generation: own?.generation ?? (await numberFor(place, memory.generation)),
        calibration: own?.calibration ?? beside,
      };
    },
    async numbersOf(place, memory) {
      const record = memory === null ? undefined : await recordFor(place, memory);
      const own = record?.generation ?? (memory === null ? null : await numberFor(place, memory.generation));
      return { own, next: Math.max(own ?? 0, await highestOf(place)) + 1 };
    },
    async list(place) {
      const records = await readRecords(place);
      const stamp = await fileStamp(place.npzPath);
      const live = stamp === undefined ? undefined : await recordOf(records, place.npzPath, stamp);
      return records
        .filter((record) => record === live || record.live_since_utc !== null)
        .map((record) => ({ ...record, live: record === live }))
        .reverse();
    },
    async addressOf(place, generation) {
      requireKept(await readRecords(place), generation);
      const path = memoryFile(place, generation);
      const stamp = await fileStamp(path);
      if (stamp === undefined) throw damagedFile(`${generation}/${MEMORY_FILE}`, 'it is gone');
      return { path, stamp };
    },
    publish: (place, { staged, steps, calibrationAfter, ...publication }) =>
      alone(place, async (requireHeld) => {
        const opened = await open(place, requireHeld);
        const before = opened.live?.calibration ?? (await unlessDamaged(() => readBeside(place)));
        const calibration = calibrationAfter(before);
        const npzPath = staged.pathOf(basename(place.npzPath));
        const sha256 = await sha256Hex(publication.npz);
        const same = opened.records.find(({ npz_sha256 }) => npz_sha256 === sha256);
        const record =
          same === undefined
            ? await add(place, { ...publication, npzPath, calibration, liveSince: null })
            : await writeRecord(place, { ...same, calibration: calibration ?? null });
        try {
          await requireHeld();
          await staged.commit(steps);
        } catch (error) {
          // What the caller must hear is the first failure; what this leaves, the next change sweeps.
          await Promise.allSettled([staged.discard(), open(place, requireHeld)]);
          throw error;
        }
        await afterwards(async () => {
          await markLive(place, record);
          await prune(place, opened, record.generation);
        });
      }),
    calibrate: async (place, calibration, stamp) => {
      const file = { name: basename(place.calibrationPath), bytes: encodeCalibration(calibration) };
      await alone(place, async (requireHeld) => {
        const { live } = await open(place, requireHeld);
        if (stamp !== undefined && (await fileStamp(place.npzPath)) !== stamp) {
          throw new InspectionError(
            'not_ready',
            'The model was replaced while it was calibrated; nothing was changed. Send the request again.',
          );
        }
        if (live !== undefined) await writeRecord(place, { ...live, calibration });
        await writeFileAtomically(place.folder, file);
      });
    },
    rollBack: (place, generation) =>
      alone(place, async (requireHeld) => {
        const opened = await open(place, requireHeld);
        const record = requireKept(opened.records, generation);
        if (opened.live?.generation === generation) return;
        if (!(await isGood(place, record)))
          throw damagedFile(`${generation}/${MEMORY_FILE}`, 'it does not match its checksum');
        await restore(place, record, opened);
      }),
    replaceDamaged: async (place, stamp) => {
      if ((await newestGood(place, await readRecords(place))).good === undefined) return 'no_good_one';
      await quiet(place);
      return await alone(place, async (requireHeld) => {
        const isSame = async () => (await fileStamp(place.npzPath)) === stamp;
        if (!(await isSame())) return 'changed';
        if ((await unlessDamaged(() => readModelMemory(place.npzPath))) !== undefined || !(await isSame()))
          return 'changed';
        const opened = await open(place, requireHeld);
        const { good, bad } = await newestGood(place, opened.records);
        if (good === undefined) return 'no_good_one';
        await setAside(place, stamp, bad);
        await restore(place, good, opened);
        return { generation: good.generation };
      });
    },
    alone: (place, work) => alone(place, work),
  };
}

/** The calibration beside a place's npz. @throws InspectionError `damaged_file` */
export async function readBeside({ calibrationPath }: ModelPlace): Promise<CalibrationFile | undefined> {
  const file = await readStoredFile(calibrationPath);
  return file && decodeCalibration(file.bytes, basename(calibrationPath));
}

/** What the next change does as well: the change it follows is done, so it must not be told as failed. */
async function afterwards(work: () => Promise<unknown>): Promise<void> {
  await Promise.allSettled([work()]);
}

async function unlessDamaged<T>(
  read: () => Promise<T>,
  onDamaged: (error: InspectionError) => void = () => undefined,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof InspectionError) || error.code !== 'damaged_file') throw error;
    onDamaged(error);
    return undefined;
  }
}
