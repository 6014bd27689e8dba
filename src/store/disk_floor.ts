import { dirname } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf, storageError } from './atomic_write.ts';
import { disk } from './disk.ts';

/** The bytes that are free for us on the disk of a folder; null where its file system does not tell. */
export type FreeBytes = (folder: string) => Promise<number | null>;

/** Space that is left free, so that what is being written when it gets tight comes to its end. */
export interface DiskFloor {
  /** @throws InspectionError `storage_full` when less is free */
  requireRoom(): Promise<void>;
  /** What there is to say when less is free; else null. */
  shortage(): Promise<string | null>;
}

/** @param minFreeBytes 0: there is always room */
export function diskFloor(folder: string, minFreeBytes: number, freeBytes: FreeBytes = freeBytesAt): DiskFloor {
  async function shortage(): Promise<string | null> {
    const free = minFreeBytes === 0 ? null : await freeBytes(folder);
    if (free === null || free >= minFreeBytes) return null;
    return `The disk of the models folder has ${inMib(free)} MiB left and must keep ${inMib(minFreeBytes)} (BDI_MIN_FREE_MIB): nothing more is stored, inspections go on. Free some space.`;
  }
  return {
    shortage,
    async requireRoom() {
      const sentence = await shortage();
      if (sentence !== null) throw new InspectionError('storage_full', sentence);
    },
  };
}

/**
 * As the system tells it. The folder need not exist: what it would be made in counts.
 *
 * @throws InspectionError `storage_unavailable`
 */
async function freeBytesAt(folder: string): Promise<number | null> {
  try {
    const { blocks, bavail, bsize } = await disk.statfs(folder);
    // Some network file systems tell of no blocks at all.
    return blocks === 0 ? null : bavail * bsize;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && dirname(folder) !== folder) return await freeBytesAt(dirname(folder));
    if (errnoOf(error) === 'ENOSYS' || errnoOf(error) === 'ENOTSUP') return null;
    throw storageError(error);
  }
}

function inMib(bytes: number): number {
  return Math.floor(bytes / (1024 * 1024));
}
