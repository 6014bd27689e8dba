import { open, readdir, stat } from 'node:fs/promises';
import { InspectionError } from '../errors.ts';
import { errnoOf, isTempName, storageError } from './atomic_write.ts';

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

function stampText({ size, mtimeNs, ino }: FileIdentity): string {
  return `${size}-${mtimeNs}-${ino}`;
}

function isAbsence(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
}

/** The stamp of a regular file (links followed); undefined when there is none. */
export async function fileStamp(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path, { bigint: true });
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
    const handle = await open(path, 'r');
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
    return (await readdir(folder)).filter((name) => !isTempName(name)).sort();
  } catch (error) {
    if (isAbsence(error)) return [];
    throw storageError(error);
  }
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
