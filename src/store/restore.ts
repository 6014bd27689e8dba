import { basename, dirname, join, resolve } from 'node:path';
import { InspectionError } from '../errors.ts';
import { type ArchiveContents, readArchive } from './archive.ts';
import { errnoOf, storageError, syncFolder, TEMP_PREFIX } from './atomic_write.ts';
import { disk, writeAll } from './disk.ts';
import { inParallel } from './in_parallel.ts';
import { withLock } from './model_lock.ts';
import type { StoredFile } from './stored_places.ts';

/** Read of an archive at a time. */
const READ_BYTES = 1024 * 1024;
/** Files synced at the same time. */
const SYNCERS = 3;
/** A models folder's name in the name of what lies beside it: whole, but for names that leave no room. */
const NAME_PART = 60;

/**
 * Makes a models folder of an archive: unpacked beside it, compared, synced, then renamed. Whatever happens before the rename
 * leaves nothing in the models folder, and the next call removes what a crash left beside it.
 *
 * Files belong to the user who runs this, and so does the folder, even where an empty one was somebody else's.
 *
 * @param bytes of the archive; pieces that stay as they are
 * @param modelsDir absent or empty, and not the root of a file system
 * @throws InspectionError `invalid_value` for another models folder; `damaged_file` as {@link readArchive};
 *   `storage_full`, `storage_unavailable`; `not_ready` while another one is restored there
 */
export async function unpackArchive(bytes: AsyncIterable<Uint8Array>, modelsDir: string): Promise<ArchiveContents> {
  const target = await realPathOf(resolve(modelsDir));
  const parent = dirname(target);
  try {
    await disk.mkdir(parent, { recursive: true });
    await requireEmpty(target);
    const mark = `restore-${basename(target).slice(0, NAME_PART)}`;
    return await withLock(parent, mark, async () => {
      const temp = join(parent, TEMP_PREFIX + mark);
      await disk.rm(temp, { recursive: true, force: true });
      await disk.mkdir(temp);
      try {
        const contents = await unpack(bytes, temp);
        await putInPlace(temp, target);
        return contents;
      } catch (error) {
        await Promise.allSettled([disk.rm(temp, { recursive: true, force: true })]);
        throw error;
      }
    });
  } catch (error) {
    throw storageError(error);
  }
}

/**
 * A file's bytes from its beginning.
 *
 * @param onBytes is told how many were read, of how many
 * @throws InspectionError `not_found`, `storage_unavailable`
 */
export async function* archiveBytes(
  path: string,
  onBytes: (done: number, total: number) => void = () => undefined,
): AsyncGenerator<Uint8Array> {
  try {
    const file = await disk.open(path, 'r');
    try {
      const total = (await file.stat()).size;
      for (let done = 0; ; ) {
        const piece = new Uint8Array(READ_BYTES);
        const { bytesRead } = await file.read(piece, 0, READ_BYTES, null);
        if (bytesRead === 0) break;
        done += bytesRead;
        onBytes(done, total);
        yield piece.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof InspectionError || errnoOf(error) === undefined) throw error;
    throw new InspectionError(
      errnoOf(error) === 'ENOENT' ? 'not_found' : 'storage_unavailable',
      `The archive ${JSON.stringify(path)} cannot be read (${errnoOf(error)}). Check its name and its rights.`,
      { cause: error },
    );
  }
}

async function unpack(bytes: AsyncIterable<Uint8Array>, folder: string): Promise<ArchiveContents> {
  const folders = new Set<string>([folder]);
  const contents = await readArchive(bytes, async (file, content) => {
    await makeFolders(folder, file, folders);
    await writeNew(join(folder, ...file.segments), content);
  });
  await inParallel(contents.files, SYNCERS, async ({ path, modified_at_ms }) => {
    const restored = join(folder, path);
    // What a sample without a meta is described by.
    await disk.utimes(restored, new Date(modified_at_ms), new Date(modified_at_ms));
    const handle = await disk.open(restored, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
  for (const made of [...folders].reverse()) await syncFolder(made);
  return contents;
}

async function makeFolders(root: string, { segments }: StoredFile, made: Set<string>): Promise<void> {
  for (let depth = 1; depth < segments.length; depth++) {
    const folder = join(root, ...segments.slice(0, depth));
    if (made.has(folder)) continue;
    await disk.mkdir(folder);
    made.add(folder);
  }
}

async function writeNew(path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  // `wx`: names that differ in their case only are one on some disks.
  const handle = await disk.open(path, 'wx');
  try {
    for await (const piece of content) await writeAll(handle, piece);
  } finally {
    await handle.close();
  }
}

/** @throws InspectionError `invalid_value` */
async function requireEmpty(target: string): Promise<void> {
  const names = await disk.readdir(target).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    if (errnoOf(error) !== 'ENOTDIR') throw error;
    throw new InspectionError('invalid_value', 'The models folder is a file. Name another one (--models-dir).');
  });
  if (names === undefined) return;
  if (names.length > 0) throw notEmpty(names);
  if ((await disk.stat(target)).dev === (await disk.stat(dirname(target))).dev) return;
  throw new InspectionError(
    'invalid_value',
    'The models folder is the root of a file system of its own, which nothing can be renamed to. Restore into a folder in it, and start okng with that one (BDI_MODELS_DIR).',
  );
}

function notEmpty(names: readonly string[] = []): InspectionError {
  const some = names.length === 0 ? '' : ` (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''})`;
  return new InspectionError(
    'invalid_value',
    `The models folder is not empty${some}; nothing was restored. Restore into an empty or absent folder (--models-dir), and take over from there what is wanted (okng import).`,
  );
}

async function putInPlace(temp: string, target: string): Promise<void> {
  try {
    // Elsewhere a rename replaces an empty folder by itself.
    if (process.platform === 'win32') await disk.rmdir(target).catch(() => undefined);
    await disk.rename(temp, target);
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw notEmpty();
    throw error;
  }
  await syncFolder(dirname(target));
}

async function realPathOf(path: string): Promise<string> {
  try {
    return await disk.realpath(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return path;
    throw storageError(error);
  }
}
