import { randomUUID } from 'node:crypto';
import { basename, join, sep } from 'node:path';
import { InspectionError } from '../errors.ts';
import { disk, writeAll } from './disk.ts';
import { inParallel } from './in_parallel.ts';

/**
 * Every change of the store goes through this module. A file is written under a temp name in its own folder, synced,
 * then renamed: a reader sees the whole old file or the whole new one, after a power cut as well.
 */

export const TEMP_PREFIX = '.tmp-';
/**
 * Files written at the same time: syncs that wait together share one trip to the disk. Node has four threads for files;
 * the fourth stays free for those who read meanwhile.
 */
const WRITERS = 3;

/**
 * One file to be, without its folder. With `sameAs`, the path of a synced file of the store, it becomes another name of that
 * file where the file system has hard links, else a copy.
 */
export type NewFile =
  | { readonly name: string; readonly bytes: Uint8Array }
  | { readonly name: string; readonly sameAs: string };

/** One step of a commit: let a staged file (or several, in their order) appear by name, or let an old file vanish. */
export type CommitStep = { readonly publish: string | readonly string[] } | { readonly remove: string };

/** What a failed commit does with the files it has published: leave them, or remove them again, the last one first. */
export type AfterFailure = 'keep' | 'take_back';

/** Files written and synced under temp names, invisible until committed. Commit or discard exactly once. */
export interface StagedFiles {
  /** Where a staged file lies until it is published. */
  pathOf(name: string): string;
  /**
   * Takes the steps in order and syncs the folder after each, so that a power cut keeps a prefix of them. Without steps:
   * publishes every file in the order given. A failure discards what is not yet published and leaves the steps already
   * taken; its text names the files that are new by then.
   *
   * @param afterFailure `take_back` only for names that nobody else uses: what stood there before is not brought back. A
   *   disk that refuses the removals too keeps the first of the files, and the text names them
   */
  commit(steps?: readonly CommitStep[], afterFailure?: AfterFailure): Promise<void>;
  /** Removes the temps that are left, as far as the disk lets it: what stays is swept later. Safe after a commit, never fails. */
  discard(): Promise<void>;
}

/** The `code` of a Node file error (`ENOENT`, ...), else undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

const unavailable: ReadonlySet<string> = new Set([
  ...['EACCES', 'EPERM', 'EROFS', 'EIO', 'EMFILE', 'ENFILE', 'ESTALE'],
  // Not what was expected there: a link in a circle, a file in place of a folder or the other way, a folder gone meanwhile.
  ...['ELOOP', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENOTEMPTY', 'ENOENT'],
]);

/**
 * Names what a plant can mend: a full disk or quota `storage_full`; missing rights, a read-only or failing disk, too many
 * open files, something else where a folder must be `storage_unavailable`. Any other error is returned as it is.
 *
 * @param replaced names of the files that were replaced before it failed
 */
export function storageError(error: unknown, replaced: readonly string[] = []): unknown {
  const errno = errnoOf(error);
  const names = replaced.map((name) => `'${name}'`).join(', ');
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new InspectionError(
      'storage_full',
      `The disk (or quota) of the models folder is full; ${names === '' ? 'nothing' : `only ${names}`} was replaced. Free some space and send the request again.`,
      { cause: error },
    );
  }
  if (errno !== undefined && unavailable.has(errno)) {
    return new InspectionError(
      'storage_unavailable',
      `The models folder cannot be used now (${errno}); ${names === '' ? '' : `only ${names} was replaced; `}check its rights, the disk and the log.`,
      { cause: error },
    );
  }
  return error;
}

/** Whether a name is a temp file's: listings and readers pass over these. */
export function isTempName(name: string): boolean {
  return name.startsWith(TEMP_PREFIX);
}

/** Makes renames, removals and new names in `folder` last through a power cut, where the platform can. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder to sync it; NTFS journals names by itself.
  if (process.platform === 'win32') return;
  const handle = await disk.open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // Some network and FUSE file systems know no sync of folders: there is nothing more to do on them.
    if (errnoOf(error) !== 'EINVAL' && errnoOf(error) !== 'ENOTSUP') throw error;
  } finally {
    await handle.close();
  }
}

async function removeIfThere(path: string): Promise<boolean> {
  try {
    await disk.unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function writeTemp(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await disk.open(path, 'wx');
  try {
    await writeAll(handle, bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What file systems without hard links answer, and those that allow a file no further one. */
const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EXDEV', 'EMLINK']);

async function linkOrCopy(from: string, path: string): Promise<void> {
  try {
    await disk.link(from, path);
  } catch (error) {
    if (!withoutLinks.has(errnoOf(error) ?? '')) throw error;
    await disk.copyFile(from, path);
    const handle = await disk.open(path, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

/**
 * Makes `root/segments…` one folder at a time, syncing each parent, and gives its path.
 *
 * Covers symbolic links: a segment that is a link must lead to a folder inside `root` (itself allowed to be a link, such
 * as a mounted volume). Not covered: someone who swaps a folder for a link while we write, and hard links, which folders
 * cannot have. The last file name needs no check, because a rename replaces a link instead of following it.
 *
 * @param segments names of ours, never a caller's text
 * @throws InspectionError `damaged_file` when a segment leads outside or is not a folder; `storage_full`
 */
export async function ensureFolder(root: string, segments: readonly string[]): Promise<string> {
  try {
    await disk.mkdir(root, { recursive: true });
    const realRoot = await disk.realpath(root);
    let folder = root;
    for (const segment of segments) {
      const parent = folder;
      folder = join(parent, segment);
      if (await makeFolder(folder)) await syncFolder(parent);
      const real = await realTarget(folder);
      if (real?.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep) !== true) {
        throw new InspectionError(
          'damaged_file',
          `The folder '${segments.join('/')}' of the store leads out of the store (or nowhere) through the link '${segment}'; ` +
            'nothing was written. Replace the link by a folder.',
        );
      }
      if (!(await disk.lstat(real)).isDirectory()) {
        throw new InspectionError(
          'damaged_file',
          `'${segment}' in the store must be a folder but is a file. Move that file away.`,
        );
      }
    }
    return folder;
  } catch (error) {
    throw storageError(error);
  }
}

/** Where a path leads through its links; undefined for a link that leads nowhere. */
async function realTarget(path: string): Promise<string | undefined> {
  try {
    return await disk.realpath(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** @returns whether it was made now */
async function makeFolder(folder: string): Promise<boolean> {
  try {
    await disk.mkdir(folder);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** A rename cannot replace a folder; found out in the middle of a commit, that would leave half of it. */
async function requireNoFolder(folder: string, name: string): Promise<void> {
  try {
    if (!(await disk.lstat(join(folder, name))).isDirectory()) return;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  throw new InspectionError(
    'damaged_file',
    `'${name}' in the store must be a file but is a folder. Move that folder away.`,
  );
}

/**
 * Writes and syncs several files of one folder under temp names. Nothing is visible before {@link StagedFiles.commit}.
 *
 * @param folder exists already
 * @throws InspectionError `storage_full`; `damaged_file` when a folder stands where a file must; every temp is removed
 *   before any throw
 */
export async function stageFiles(folder: string, files: readonly NewFile[]): Promise<StagedFiles> {
  const temps = new Map<string, string>();
  const replaced: string[] = [];

  async function discard(): Promise<void> {
    const left = [...temps.values()];
    temps.clear();
    await Promise.allSettled(left.map(removeIfThere));
  }

  function pathOf(name: string): string {
    const temp = temps.get(name);
    if (temp === undefined) throw new InspectionError('internal_error', `The file '${name}' is not staged.`);
    return temp;
  }

  async function publish(name: string): Promise<void> {
    await disk.rename(pathOf(name), join(folder, name));
    temps.delete(name);
    replaced.push(name);
  }

  async function takeBack(): Promise<void> {
    const anyPublished = replaced.length > 0;
    for (let last = replaced.at(-1); last !== undefined; last = replaced.at(-1)) {
      await removeIfThere(join(folder, last));
      replaced.pop();
    }
    if (anyPublished) await syncFolder(folder);
  }

  async function commit(
    steps: readonly CommitStep[] = files.map(({ name }) => ({ publish: name })),
    afterFailure: AfterFailure = 'keep',
  ): Promise<void> {
    try {
      for (const step of steps) {
        if ('publish' in step) {
          for (const name of [step.publish].flat()) await publish(name);
        } else if (!(await removeIfThere(join(folder, step.remove)))) {
          continue;
        }
        await syncFolder(folder);
      }
    } catch (error) {
      // A disk that failed once may fail again here; what the caller must hear is the first failure and what is left.
      await Promise.allSettled([afterFailure === 'take_back' ? takeBack() : undefined]);
      await discard();
      throw storageError(error, replaced);
    }
  }

  try {
    await inParallel(files, WRITERS, async (file) => {
      await requireNoFolder(folder, file.name);
      const temp = join(folder, `${TEMP_PREFIX}${randomUUID()}`);
      temps.set(file.name, temp);
      await ('bytes' in file ? writeTemp(temp, file.bytes) : linkOrCopy(file.sameAs, temp));
    });
  } catch (error) {
    await discard();
    throw storageError(error);
  }
  return { pathOf, commit, discard };
}

/**
 * Replaces (or makes) one file as a whole.
 *
 * @param folder exists already
 * @throws InspectionError `storage_full`; the old file stays
 */
export async function writeFileAtomically(folder: string, file: NewFile): Promise<void> {
  const staged = await stageFiles(folder, [file]);
  await staged.commit();
}

/**
 * Makes a folder with files: complete and synced before it appears by its name.
 *
 * @param parent exists already
 * @param name nothing has this name yet
 * @throws InspectionError `storage_full`, `storage_unavailable`; nothing by that name is there then
 */
export async function createFolder(parent: string, name: string, files: readonly NewFile[]): Promise<void> {
  const temp = join(parent, `${TEMP_PREFIX}${randomUUID()}`);
  try {
    await disk.mkdir(temp);
    const staged = await stageFiles(temp, files);
    await staged.commit([{ publish: files.map((file) => file.name) }]);
    await moveFolder(parent, basename(temp), name);
  } catch (error) {
    await Promise.allSettled([disk.rm(temp, { recursive: true, force: true })]);
    throw storageError(error);
  }
}

/** Gives a folder another name in its parent. @throws InspectionError `storage_unavailable`, `storage_full` */
export async function moveFolder(parent: string, from: string, to: string): Promise<void> {
  try {
    await disk.rename(join(parent, from), join(parent, to));
    await syncFolder(parent);
  } catch (error) {
    throw storageError(error);
  }
}

/**
 * Removes files of one folder in the order given and syncs the folder once.
 *
 * @param names plain names in `folder`; those that are not there are passed over
 * @returns how many were there
 * @throws InspectionError `storage_unavailable` or `storage_full`; those before the failing one are gone by then
 */
export async function removeFiles(folder: string, names: readonly string[]): Promise<number> {
  let removed = 0;
  try {
    for (const name of names) if (await removeIfThere(join(folder, name))) removed++;
    if (removed > 0) await syncFolder(folder);
  } catch (error) {
    throw storageError(error);
  }
  return removed;
}

/**
 * Removes a folder with all that lies in it: gone at once for every reader, by a rename, and then from the disk. Links in it
 * are removed, not followed. A crash meanwhile leaves a folder with a temp name: {@link removeTempFolders}.
 *
 * @param parent a folder
 * @param name a plain name in it
 * @returns whether it was there
 * @throws InspectionError `storage_unavailable` or `storage_full`
 */
export async function removeFolder(parent: string, name: string): Promise<boolean> {
  const temp = `${TEMP_PREFIX}${randomUUID()}`;
  try {
    await disk.rename(join(parent, name), join(parent, temp));
    await syncFolder(parent);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw storageError(error);
  }
  await removeTempFolders(parent);
  return true;
}

/**
 * Removes the folders that {@link removeFolder} was at in a killed process; nobody reads them any more, whatever their age.
 *
 * @returns how many were there; 0 when `parent` does not exist
 * @throws InspectionError `storage_unavailable` or `storage_full`
 */
export async function removeTempFolders(parent: string): Promise<number> {
  try {
    const entries = await disk.readdir(parent, { withFileTypes: true });
    const temps = entries.filter((entry) => entry.isDirectory() && isTempName(entry.name));
    for (const { name } of temps) await disk.rm(join(parent, name), { recursive: true, force: true });
    return temps.length;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 0;
    throw storageError(error);
  }
}

/**
 * Removes the temp files a killed process left in `folder` (not below it).
 *
 * @param nowMs the present, in ms since 1970
 * @param olderThanMs temps whose last write is younger stay: they may be another process's that shares the folder and is
 *   writing. 0 only for a caller that knows it is alone
 * @returns how many were removed; 0 when the folder does not exist
 */
export async function removeStaleTemps(folder: string, nowMs: number, olderThanMs: number): Promise<number> {
  let removed = 0;
  for (const name of await namesIn(folder)) {
    if (!isTempName(name)) continue;
    const path = join(folder, name);
    const ageMs = await ageOfFile(path, nowMs);
    if (ageMs !== undefined && ageMs >= olderThanMs && (await removeIfThere(path))) removed++;
  }
  return removed;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await disk.readdir(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}

async function ageOfFile(path: string, nowMs: number): Promise<number | undefined> {
  try {
    const stat = await disk.lstat(path);
    return stat.isFile() ? nowMs - Math.floor(stat.mtimeMs) : undefined;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
