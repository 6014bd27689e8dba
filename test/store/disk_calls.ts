import { type Disk, type DiskFile, disk } from '../../src/store/disk.ts';

/** A call of the store's disk that is about to be made; those of an open file come with the path it was opened by. */
export interface DiskCall {
  readonly name: keyof Disk | keyof DiskFile;
  readonly path: string;
  /** Whether it may change what is on the disk. */
  readonly changes: boolean;
}

/** Runs before each call. What it throws is thrown in place of the call; `half` lets a write take only half of its bytes. */
export type BeforeCall = (call: DiskCall) => 'half' | undefined;

const real: Readonly<Disk> = { ...disk };
const readings: ReadonlySet<string> = new Set(['lstat', 'readdir', 'readFile', 'realpath', 'stat', 'statfs', 'read']);
const syncs: ReadonlySet<string> = new Set(['sync', 'datasync']);
const fileCalls = ['read', 'write', 'stat', 'sync', 'datasync', 'truncate'] as const;

let open = 0;
let beforeCall: BeforeCall = () => undefined;

/** Files that were opened while the disk was watched and are not closed. */
export const openFiles = (): number => open;

/**
 * Puts `before` ahead of every call of this thread's store and audit, until {@link leaveDisk}. Syncs are asked for and not made:
 * they take most of the time, and nothing of them is to be seen without pulling the plug.
 */
export function watchDisk(before: BeforeCall): void {
  beforeCall = before;
  for (const name of Object.keys(real) as (keyof Disk)[]) {
    if (name === 'open') continue;
    const call = real[name] as (...given: never[]) => unknown;
    const watched = async (...given: never[]) => {
      beforeCall({ name, path: String(given[0]), changes: !readings.has(name) });
      return await call(...given);
    };
    Object.assign(disk, { [name]: watched });
  }
  disk.open = async (path, flags) => {
    beforeCall({ name: 'open', path, changes: typeof flags === 'string' && flags !== 'r' });
    return watchedFile(await real.open(path, flags), path);
  };
}

/** As it was, for files that are open as well. */
export function leaveDisk(): void {
  Object.assign(disk, real);
  beforeCall = () => undefined;
  open = 0;
}

function watchedFile(file: DiskFile, path: string): DiskFile {
  open++;
  let isOpen = true;
  const watched: Partial<DiskFile> = {
    close: async () => {
      if (isOpen) open--;
      isOpen = false;
      await file.close();
    },
  };
  for (const name of fileCalls) {
    const call = file[name].bind(file) as (...given: unknown[]) => unknown;
    Object.assign(watched, {
      [name]: async (...given: unknown[]) => {
        const part = beforeCall({ name, path, changes: !readings.has(name) });
        if (syncs.has(name)) return undefined;
        if (part !== 'half') return await call(...given);
        const [bytes, offset, length] = given as [Uint8Array, number, number];
        return await call(bytes, offset, Math.ceil(length / 2));
      },
    });
  }
  return watched as DiskFile;
}
