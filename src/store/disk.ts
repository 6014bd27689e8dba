import {
  copyFile,
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  unlink,
  utimes,
} from 'node:fs/promises';

/** What the store asks of an open file. */
export type DiskFile = Pick<FileHandle, 'read' | 'write' | 'stat' | 'sync' | 'datasync' | 'truncate' | 'close'>;

/**
 * Every file operation of the store and of the audit, with Node's meaning and errors. An object and not imports, so that the
 * tests can put something in its place that fails: each call in turn.
 */
export const disk = {
  open: (path: string, flags: string | number): Promise<DiskFile> => open(path, flags),
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  unlink,
  utimes,
};

export type Disk = typeof disk;

/** Writes all of `bytes` where the file stands, in as many calls as the system takes for it. */
export async function writeAll(file: DiskFile, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const step = Math.min(WRITE_STEP_BYTES, bytes.length - written);
    written += (await file.write(bytes, written, step)).bytesWritten;
  }
}

/** One call may not exceed 2 GiB; smaller steps cost nothing. */
const WRITE_STEP_BYTES = 64 * 1024 * 1024;
