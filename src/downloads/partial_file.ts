import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf, syncFolder } from '../store/atomic_write.ts';
import { stored } from './durable_files.ts';

const READ_STEP_BYTES = 1024 * 1024;

/** Which file the bytes of a part belong to: two files must never be joined. */
export interface Origin {
  /** Without login. */
  readonly url: string;
  /** For If-Range: a strong ETag in its quotes, or an HTTP date; null when the server gave neither. */
  readonly validator: string | null;
  /** In the publisher's own words, lower-case hex, or null. */
  readonly publishedSha256: string | null;
  /** Of the whole file in bytes, or null when nobody says. */
  readonly length: number | null;
}

/**
 * A file on its way: `<target>.part`, beside it `<target>.part.json` with its origin and `<target>.part.lock` while
 * somebody writes. Nothing appears under the target's own name before {@link publish}.
 */
export interface PartialFile {
  /** Bytes that are there. */
  readonly size: number;
  /** How many of them an earlier download left. */
  readonly resumed: number;
  /** Null when the bytes cannot be told apart from another file's: start anew. */
  readonly origin: Origin | null;
  /** Forgets the bytes and begins a file of this origin. */
  start(origin: Origin): Promise<void>;
  append(bytes: Uint8Array): Promise<void>;
  /** Reads the whole part: what is checked is what lies on the disk. @returns lower-case hex */
  sha256(): Promise<string>;
  /** Syncs the bytes and lets them appear under the target's name, replacing what is there. */
  publish(): Promise<void>;
  /** Removes the part: its bytes are worth nothing. */
  discard(): Promise<void>;
  /**
   * Lets go of the file and its lock, once and at last. The part stays for the next time unless it is empty, published or
   * discarded.
   */
  close(): Promise<void>;
}

/**
 * Opens what an earlier download of `target` left, or begins a new part. Makes the target's folder where it is missing.
 *
 * @throws InspectionError `download_failed` while another process downloads the same target; `storage_unavailable`,
 *   `storage_full`, as every method of the part
 */
export async function openPartialFile(target: string): Promise<PartialFile> {
  const path = `${target}.part`;
  const originPath = `${path}.json`;
  const lockPath = `${path}.lock`;
  await stored(target, () => mkdir(dirname(target), { recursive: true }));
  await stored(target, () => requireNoFolder(target));
  await stored(lockPath, () => lock(lockPath));

  let handle: FileHandle;
  let size: number;
  try {
    handle = await stored(path, () => open(path, constants.O_RDWR | constants.O_CREAT));
    size = await stored(path, async () => (await handle.stat()).size);
  } catch (error) {
    await rm(lockPath, { force: true });
    throw error;
  }
  let origin = await readOrigin(originPath);
  let resumed = size;

  return {
    get size() {
      return size;
    },
    get resumed() {
      return resumed;
    },
    get origin() {
      return origin;
    },
    start: (next) =>
      stored(path, async () => {
        // In this order: at no time do old bytes lie beside the new origin, nor new bytes beside the old one.
        await rm(originPath, { force: true });
        await handle.truncate(0);
        await handle.sync();
        size = 0;
        resumed = 0;
        await writeFile(originPath, JSON.stringify(next));
        origin = next;
      }),
    append: (bytes) =>
      stored(path, async () => {
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, size);
          done += bytesWritten;
          size += bytesWritten;
        }
      }),
    sha256: () =>
      stored(path, async () => {
        const hash = createHash('sha256');
        const buffer = Buffer.alloc(READ_STEP_BYTES);
        for (let at = 0; at < size; ) {
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
          if (bytesRead === 0) break;
          hash.update(buffer.subarray(0, bytesRead));
          at += bytesRead;
        }
        return hash.digest('hex');
      }),
    publish: () =>
      stored(target, async () => {
        await handle.sync();
        await handle.close();
        await rename(path, target);
        await rm(originPath, { force: true });
        await syncFolder(dirname(target));
      }),
    discard: () =>
      stored(path, async () => {
        await handle.close();
        await rm(originPath, { force: true });
        await rm(path, { force: true });
      }),
    close: () =>
      stored(path, async () => {
        await handle.close();
        if (size === 0) {
          await rm(originPath, { force: true });
          await rm(path, { force: true });
        }
        await rm(lockPath, { force: true });
      }),
  };
}

/** A rename cannot replace a folder; better to know before the download than after. */
async function requireNoFolder(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isDirectory()) return;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new InspectionError('storage_unavailable', `'${basename(path)}' must be a file but is a folder. Move it away.`);
}

/** Two writers would leave holes in one part. The lock of a process that is gone counts for nothing. */
async function lock(path: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    const owner = Number(await readFile(path, 'utf8').catch(() => ''));
    if (attempt > 0 || isRunning(owner)) {
      throw new InspectionError(
        'download_failed',
        `Another download of this file is running (process ${owner}). Wait for it; if there is none, delete ${basename(path)}.`,
      );
    }
    await rm(path, { force: true });
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process may not be signalled, but it is there.
    return errnoOf(error) === 'EPERM';
  }
}

/** Null for a file that is absent, cut short or not ours. */
async function readOrigin(path: string): Promise<Origin | null> {
  try {
    const value = JSON.parse(await readFile(path, 'utf8')) as Partial<Record<keyof Origin, unknown>> | null;
    const { url, validator, publishedSha256, length } = value ?? {};
    if (typeof url !== 'string' || !isTextOrNull(validator) || !isTextOrNull(publishedSha256)) return null;
    return length === null || Number.isSafeInteger(length)
      ? { url, validator, publishedSha256, length: length as number | null }
      : null;
  } catch {
    return null;
  }
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}
