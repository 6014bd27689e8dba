import { randomUUID } from 'node:crypto';
import { basename, dirname } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf, syncFolder } from './atomic_write.ts';
import { disk, writeAll } from './disk.ts';

/**
 * Makes one file outside the store out of many pieces: written beside its place, synced, then given its name. A failure leaves
 * what was there; a crash may leave the file beside it, `<name>.<uuid>.tmp`.
 *
 * @param replace whether a file that is there may be replaced
 * @param work is given what takes the pieces one after the other; whatever it throws is thrown on
 * @throws InspectionError `invalid_value` when the file is there and may not be replaced; `storage_full`,
 *   `storage_unavailable` for the file's own disk
 */
export async function writeNewFile<T>(
  path: string,
  replace: boolean,
  work: (write: (bytes: Uint8Array) => Promise<void>) => Promise<T>,
): Promise<T> {
  const name = basename(path);
  const step = async <R>(run: () => Promise<R>): Promise<R> => {
    try {
      return await run();
    } catch (error) {
      throw fileError(name, error);
    }
  };
  await step(() => requireFree(path, replace));
  const temp = `${path}.${randomUUID()}.tmp`;
  const handle = await step(() => disk.open(temp, 'wx'));
  try {
    const result = await work((bytes) => step(() => writeAll(handle, bytes)));
    await step(() => handle.sync());
    await handle.close();
    await step(() => publish(temp, path, replace));
    return result;
  } catch (error) {
    await Promise.allSettled([handle.close()]);
    await Promise.allSettled([disk.rm(temp, { force: true })]);
    throw error;
  }
}

async function publish(temp: string, path: string, replace: boolean): Promise<void> {
  if (replace || !(await linked(temp, path))) {
    await requireFree(path, replace);
    await disk.rename(temp, path);
  }
  await syncFolder(dirname(path));
}

/** Unlike a rename it never replaces what appeared meanwhile. False where the file system has no links. */
async function linked(temp: string, path: string): Promise<boolean> {
  try {
    await disk.link(temp, path);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') throw taken(basename(path));
    return false;
  }
  await disk.rm(temp);
  return true;
}

async function requireFree(path: string, replace: boolean): Promise<void> {
  const there = await disk.lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (there !== undefined && (!replace || there.isDirectory())) throw taken(basename(path), there.isDirectory());
}

function taken(name: string, isFolder = false): InspectionError {
  return new InspectionError(
    'invalid_value',
    isFolder
      ? `'${name}' is a folder. Name a file in it.`
      : `There is a file '${name}' already; nothing was written. Name another one, or replace it (--replace).`,
  );
}

function fileError(name: string, error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno === undefined || error instanceof InspectionError) return error;
  return errno === 'ENOSPC' || errno === 'EDQUOT'
    ? new InspectionError(
        'storage_full',
        `The disk (or quota) is full before '${name}' is; nothing of it is left. Free some space, or name a file on another disk.`,
        { cause: error },
      )
    : new InspectionError(
        'storage_unavailable',
        `The file '${name}' cannot be written (${errno}). Check that its folder is there and that this user may write in it.`,
        { cause: error },
      );
}
