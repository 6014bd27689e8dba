import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import { errnoOf, storageError, TEMP_PREFIX } from './atomic_write.ts';
import { disk, writeAll } from './disk.ts';
import { hasEnded, type ProcessIdentity, thisProcess } from './process_identity.ts';

/**
 * Keeps processes that share a models folder apart while one of them changes a model: a file that names its owner. Readers
 * need no lock.
 *
 * Taken over: at once from a process of this host that has ended, and from any owner that has not renewed it for
 * {@link LockTiming.expiryMs}, by the clock of the one who waits. It is named as temp files are, so that no listing shows it
 * and one that nobody asks for any more is swept with them.
 */

export interface LockTiming {
  /** How long to wait for another owner. Longer than the expiry, or what a lost host left could not be taken over. */
  readonly patienceMs: number;
  /** An owner renews three times in this time. */
  readonly expiryMs: number;
}

export const lockTiming: LockTiming = { patienceMs: 20_000, expiryMs: 15_000 };

export interface HeldLock {
  /**
   * Called before a step that cannot be taken back: a process that was halted for long may have lost its lock.
   *
   * @throws InspectionError `not_ready`; `storage_unavailable` where the disk does not tell
   */
  requireHeld(): Promise<void>;
}

interface Found {
  readonly text: string;
  readonly renewedMs: number;
}

const ownerSchema = z.object({
  token: z.string(),
  pid: z.int(),
  thread: z.int(),
  started: z.string(),
  host: z.string(),
  since_utc: z.string(),
});
type Owner = z.infer<typeof ownerSchema>;

/** Tokens of this thread's locks: one of ours that is not among them could not be removed when it was given back. */
const held = new Set<string>();

/** A file without an owner is one that is being written, or whose writer was ended in that moment. */
const ownerlessMs = 1000;
const lookAgainMs = 20;

/**
 * Runs `work` while no other process (and no other caller here) holds the lock of `name` in `folder`.
 *
 * @param folder exists already
 * @param name at most 245 characters, fit for a file name
 * @throws InspectionError `not_ready` when another owner keeps it for longer than the patience; `storage_full`,
 *   `storage_unavailable`; what `work` throws
 */
export async function withLock<T>(
  folder: string,
  name: string,
  work: (lock: HeldLock) => Promise<T>,
  timing: LockTiming = lockTiming,
): Promise<T> {
  const path = join(folder, `${TEMP_PREFIX}lock-${name}`);
  const owner: Owner = { token: randomUUID(), ...thisProcess, since_utc: new Date().toISOString() };
  const text = JSON.stringify(owner);
  // Before the file is there: who waits here and reads it must know that it is not abandoned.
  held.add(owner.token);
  await acquire(path, text, timing).catch((error: unknown) => {
    held.delete(owner.token);
    throw error;
  });
  const renewal = setInterval(() => {
    const now = new Date();
    // One that cannot be renewed will be lost; `requireHeld` finds that out.
    disk.utimes(path, now, now).catch(() => undefined);
  }, timing.expiryMs / 3).unref();
  const isOurs = async () => {
    try {
      return (await find(path))?.text === text;
    } catch (error) {
      throw storageError(error);
    }
  };
  try {
    return await work({
      requireHeld: async () => {
        if (await isOurs()) return;
        throw new InspectionError(
          'not_ready',
          'This process was halted for so long that another one took over the change of this model; nothing was changed. Send the request again.',
        );
      },
    });
  } finally {
    clearInterval(renewal);
    // What was done is done: a lock that stays on a failing disk is taken over by whoever comes next.
    await Promise.allSettled([isOurs().then((ours) => (ours ? disk.unlink(path) : undefined))]);
    // Not before: one who waits here would take it over, and what we then remove would be his.
    held.delete(owner.token);
  }
}

async function acquire(path: string, text: string, { patienceMs, expiryMs }: LockTiming): Promise<void> {
  const started = performance.now();
  let watched: (Found & { readonly sinceMs: number }) | undefined;
  try {
    while (!(await create(path, text))) {
      const found = await find(path);
      if (found === undefined) continue;
      const now = performance.now();
      if (watched?.text !== found.text || watched.renewedMs !== found.renewedMs) watched = { ...found, sinceMs: now };
      const owner = ownerOf(found.text);
      const expired = now - watched.sinceMs >= (owner === undefined ? ownerlessMs : expiryMs);
      if (expired || (owner !== undefined && isAbandoned(owner))) {
        // What was read may have been given back since, and another's lock lie there.
        if ((await find(path))?.text === found.text) await takeAway(path, found.text);
      } else if (now - started >= patienceMs) {
        throw new InspectionError(
          'not_ready',
          `Another process has been changing this model since ${owner?.since_utc ?? 'a moment'}; nothing was changed. Send the request again when it is done.`,
        );
      } else {
        await sleep(lookAgainMs);
      }
    }
  } catch (error) {
    throw storageError(error);
  }
}

async function create(path: string, text: string): Promise<boolean> {
  try {
    const handle = await disk.open(path, 'wx');
    try {
      await writeAll(handle, Buffer.from(text));
    } catch (error) {
      await Promise.allSettled([disk.unlink(path)]);
      throw error;
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function find(path: string): Promise<Found | undefined> {
  try {
    return { text: await disk.readFile(path, 'utf8'), renewedMs: (await disk.stat(path)).mtimeMs };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function ownerOf(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function isAbandoned(owner: Owner): boolean {
  return isThisThread(owner) ? !held.has(owner.token) : hasEnded(owner);
}

function isThisThread({ pid, thread, started, host }: ProcessIdentity): boolean {
  const { pid: ourPid, thread: ourThread, started: ourStart, host: ourHost } = thisProcess;
  return pid === ourPid && thread === ourThread && started === ourStart && host === ourHost;
}

/** Two may want to take over the same lock: the second must not take away what the first has by then. */
async function takeAway(path: string, text: string): Promise<void> {
  const aside = join(dirname(path), TEMP_PREFIX + randomUUID());
  try {
    await disk.rename(path, aside);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    if ((await find(aside))?.text !== text) await disk.link(aside, path);
  } catch (error) {
    // A third one has it by now; its first owner finds out before its next decisive step.
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  await disk.unlink(aside);
}
