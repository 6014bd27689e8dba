import { randomUUID } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf, syncFolder } from '../store/atomic_write.ts';

/**
 * Runs one step on files, and names what a plant can mend when it fails: a full disk or quota `storage_full`, any other
 * error of the file system `storage_unavailable`.
 *
 * @param path of the file it is about; only its name is told
 */
export async function stored<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === undefined || cause instanceof InspectionError) throw cause;
    const name = basename(path);
    throw errno === 'ENOSPC' || errno === 'EDQUOT'
      ? new InspectionError(
          'storage_full',
          `The disk (or quota) is full; ${name} cannot be written. Free some space and start again: what has arrived is kept.`,
          { cause },
        )
      : new InspectionError(
          'storage_unavailable',
          `${name} cannot be written or read (${errno}). Check that its folder is there, that it is a folder, and that this user may write in it.`,
          { cause },
        );
  }
}

/**
 * Replaces (or makes) one small text file as a whole: a reader sees the old one or the new one, after a power cut as well.
 *
 * @throws InspectionError `storage_full`, `storage_unavailable`; the old file stays
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temp = `${path}.${randomUUID()}.tmp`;
  await stored(path, async () => {
    try {
      const handle = await open(temp, 'wx');
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temp, path);
    } catch (error) {
      await rm(temp, { force: true });
      throw error;
    }
    await syncFolder(dirname(path));
  });
}
