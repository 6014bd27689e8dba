import { basename, join, sep } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf, isTempName, storageError } from './atomic_write.ts';
import { disk } from './disk.ts';

/** Every look at the store's files goes through this module; every change through `atomic_write.ts`. */

/** One read call may not exceed 2 GiB. */
const READ_STEP_BYTES = 1024 * 1024 * 1024;

/** A file's whole content and the stamp that belongs to exactly this content. */
export interface FileContent {
  readonly bytes: Uint8Array;
  /** Size, mtime in ns and inode: another text means that someone replaced the file. */
  readonly stamp: string;
}

interface FileIdentity {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ino: bigint;
}

export function stampText({ size, mtimeNs, ino }: FileIdentity): string {
  return `${size}-${mtimeNs}-${ino}`;
}

function isAbsence(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
}

/** The stamp of a regular file (links followed); undefined when there is none. */
export async function fileStamp(path: string): Promise<string | undefined> {
  try {
    const found = await disk.stat(path, { bigint: true });
    return found.isFile() ? stampText(found) : undefined;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw storageError(error);
  }
}

/**
 * Reads a file as a whole; undefined when there is none. The bytes start at offset 0 of their own buffer, so arrays can
 * be views of them. A file that is replaced meanwhile does not matter: the handle stays with the old one.
 */
export async function readStoredFile(path: string): Promise<FileContent | undefined> {
  try {
    const handle = await disk.open(path, 'r');
    try {
      const found = await handle.stat({ bigint: true });
      if (!found.isFile()) return undefined;
      const bytes = new Uint8Array(Number(found.size));
      let filled = 0;
      while (filled < bytes.length) {
        const step = Math.min(READ_STEP_BYTES, bytes.length - filled);
        const { bytesRead } = await handle.read(bytes, filled, step, filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return { bytes: bytes.subarray(0, filled), stamp: stampText(found) };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw storageError(error);
  }
}

/** The names in a folder, sorted by code unit, temps left out; empty when there is no such folder. */
export async function listFolder(folder: string): Promise<string[]> {
  try {
    return (await disk.readdir(folder)).filter((name) => !isTempName(name)).sort();
  } catch (error) {
    if (isAbsence(error)) return [];
    throw storageError(error);
  }
}

/** What a folder holds itself: names sorted by code unit, temps left out, and links too, wherever they lead. */
export interface FolderEntries {
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

/** The regular files and the folders in a folder; none when there is no such folder. Looks at no file. */
export async function listEntries(folder: string): Promise<FolderEntries> {
  try {
    const entries = (await disk.readdir(folder, { withFileTypes: true })).filter(({ name }) => !isTempName(name));
    const namesOf = (kind: 'isFile' | 'isDirectory') =>
      entries.filter((entry) => entry[kind]()).map(({ name }) => name);
    return { files: namesOf('isFile').sort(), folders: namesOf('isDirectory').sort() };
  } catch (error) {
    if (isAbsence(error)) return { files: [], folders: [] };
    throw storageError(error);
  }
}

/**
 * The real path of the folder `root/segments…`, undefined when there is none. `root` itself may be a link; below it no
 * link is followed, not even one that stays inside, because it would lead from one owner's files to another's.
 *
 * @param segments names of ours, never a caller's text
 * @throws InspectionError `damaged_file` when a link leads elsewhere, or (where the file system ignores case) the folder
 *   there is written differently, so another's
 */
export async function realFolder(root: string, segments: readonly string[]): Promise<string | undefined> {
  try {
    const expected = join(await disk.realpath(root), ...segments);
    if ((await disk.realpath(expected)) === expected) return expected;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw storageError(error);
  }
  throw new InspectionError(
    'damaged_file',
    `The folder '${segments.join('/')}' of the store leads elsewhere, through a link or because the disk ignores case; ` +
      'nothing was read or changed there. Replace the link by a folder, or choose another name.',
  );
}

/**
 * Refuses a file that a link leads to from `root` (itself allowed to be a link) to somewhere outside. Links that stay inside
 * may be; so may a file that is not there.
 *
 * @throws InspectionError `damaged_file`, by the file's name in the store
 */
export async function requireInside(root: string, path: string): Promise<void> {
  try {
    const [realRoot, real] = await Promise.all([disk.realpath(root), disk.realpath(path)]);
    if (real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) return;
  } catch (error) {
    if (isAbsence(error)) return;
    throw storageError(error);
  }
  throw damagedFile(basename(path), 'it, or a folder above it, is a link that leads out of the models folder');
}

/** A regular file as it lies in its folder. */
export interface FileFacts {
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
}

/** The facts of a regular file; undefined when there is none, or something else (a link is not followed). */
export async function fileFacts(path: string): Promise<FileFacts | undefined> {
  try {
    const found = await disk.lstat(path);
    return found.isFile() ? { sizeBytes: found.size, modifiedAtMs: found.mtimeMs } : undefined;
  } catch (error) {
    if (isAbsence(error) || isImpossibleName(error)) return undefined;
    throw storageError(error);
  }
}

/**
 * Finds a regular file by a name that may be a caller's text: found exactly when {@link listEntries} of the folder has
 * this name, letter for letter, but without reading the whole folder.
 *
 * @param folder as {@link realFolder} gives it
 * @param name without a path separator or NUL
 */
export async function findFile(folder: string, name: string): Promise<FileFacts | undefined> {
  const path = join(folder, name);
  try {
    // Follows links and, where case is ignored, tells the name as it is stored: any difference is another file.
    if ((await disk.realpath(path)) !== path) return undefined;
  } catch (error) {
    if (isAbsence(error) || isImpossibleName(error)) return undefined;
    throw storageError(error);
  }
  return fileFacts(path);
}

/** No file can have the name, or links lead in a circle. */
function isImpossibleName(error: unknown): boolean {
  return errnoOf(error) === 'ENAMETOOLONG' || errnoOf(error) === 'ELOOP' || errnoOf(error) === 'EINVAL';
}

/** Says that a file of the store cannot be used, by its own name: never by a path of this host. */
export function damagedFile(fileName: string, what: string, cause?: unknown): InspectionError {
  return new InspectionError(
    'damaged_file',
    `The stored file '${fileName}' is damaged: ${what}. Restore it from a backup or make it anew.`,
    { cause },
  );
}

/** @throws InspectionError `damaged_file` when the bytes are not JSON in UTF-8 */
export function decodeJson(bytes: Uint8Array, fileName: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw damagedFile(fileName, 'it is not JSON text in UTF-8', error);
  }
}

/**
 * JSON text of a value. `JSON.stringify` would turn NaN and Infinity into null without a word, so they are refused.
 *
 * @throws InspectionError `internal_error` naming the key of the number that is not finite
 */
export function encodeJson(value: unknown, indent?: number): string {
  const refuse = (key: string, part: unknown) => {
    if (typeof part === 'number' && !Number.isFinite(part)) {
      throw new InspectionError('internal_error', `'${key}' is ${part}; only finite numbers are stored.`);
    }
    return part;
  };
  return JSON.stringify(value, refuse, indent);
}
