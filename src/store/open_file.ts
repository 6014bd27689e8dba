import { constants } from 'node:fs';
import { InspectionError } from '../errors.ts';
import { errnoOf, storageError } from './atomic_write.ts';
import { type DiskFile, disk } from './disk.ts';

/** Read at a time. */
const PIECE_BYTES = 1024 * 1024;

/** A file as it was when it was opened: whoever replaces or removes it meanwhile does not change what is read here. */
export interface OpenFile {
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
  /**
   * Its bytes, once. A piece is good until the next one is asked for. What was appended since it was opened is left out.
   *
   * @throws InspectionError `not_ready` when someone has cut it short in place
   */
  content(): AsyncGenerator<Uint8Array>;
  close(): Promise<void>;
}

/** Undefined when there is no such file, or no plain file: links are not followed. @throws InspectionError `storage_unavailable` */
export async function openStoredFile(path: string): Promise<OpenFile | undefined> {
  let handle: DiskFile | undefined;
  try {
    // A pipe would otherwise wait for a writer.
    handle = await disk.open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    const facts = await handle.stat();
    if (facts.isFile()) return opened(handle, facts.size, facts.mtimeMs);
    await handle.close();
    return undefined;
  } catch (error) {
    await handle?.close();
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw storageError(error);
  }
}

function opened(handle: DiskFile, sizeBytes: number, modifiedAtMs: number): OpenFile {
  return {
    sizeBytes,
    modifiedAtMs,
    async *content() {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, sizeBytes));
      for (let at = 0; at < sizeBytes; ) {
        const bytesRead = await read(handle, piece.subarray(0, sizeBytes - at), at);
        if (bytesRead === 0) {
          throw new InspectionError(
            'not_ready',
            'A stored file became shorter while it was read: something other than okng writes in the models folder. Stop it and try again.',
          );
        }
        at += bytesRead;
        yield piece.subarray(0, bytesRead);
      }
    },
    close: () => handle.close(),
  };
}

async function read(handle: DiskFile, into: Uint8Array, at: number): Promise<number> {
  try {
    return (await handle.read(into, 0, into.length, at)).bytesRead;
  } catch (error) {
    throw storageError(error);
  }
}
