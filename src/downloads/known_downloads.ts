import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InspectionError } from '../errors.ts';
import { errnoOf } from '../store/atomic_write.ts';
import { replaceFile, stored } from './durable_files.ts';

/** What a published file was when it was downloaded for the first time. */
export interface KnownDownload {
  /** Lower-case hex. */
  readonly sha256: string;
  readonly bytes: number;
  /** ISO 8601, UTC. */
  readonly firstDownloadedAtUtc: string;
}

/** Below `<modelsDir>/extractors`. */
export const knownDownloadsName = 'known_downloads.json';

/** One entry as it is stored. */
interface StoredEntry {
  readonly sha256: string;
  readonly bytes: number;
  readonly first_downloaded_at_utc: string;
}

/**
 * What the file at `path` (below the publisher's base, so that it is the same for every mirror) was the first time.
 *
 * @throws InspectionError `damaged_file` when the record cannot be read: then nothing says what may be trusted
 */
export async function knownDownload(modelsDir: string, path: string): Promise<KnownDownload | undefined> {
  const entries = await readEntries(modelsDir);
  const entry = Object.hasOwn(entries, path) ? entries[path] : undefined;
  if (entry === undefined) return undefined;
  return { sha256: entry.sha256, bytes: entry.bytes, firstDownloadedAtUtc: entry.first_downloaded_at_utc };
}

/**
 * Records a first download; other entries stay, an entry of the same path is replaced. Not for two processes at a time.
 *
 * @throws InspectionError `damaged_file`, `storage_full`, `storage_unavailable`
 */
export async function rememberDownload(modelsDir: string, path: string, known: KnownDownload): Promise<void> {
  const { sha256, bytes, firstDownloadedAtUtc } = known;
  const entries: Record<string, StoredEntry> = {
    ...(await readEntries(modelsDir)),
    [path]: { sha256, bytes, first_downloaded_at_utc: firstDownloadedAtUtc },
  };
  const folder = join(modelsDir, 'extractors');
  await stored(folder, () => mkdir(folder, { recursive: true }));
  await replaceFile(join(folder, knownDownloadsName), `${JSON.stringify(entries, null, 2)}\n`);
}

async function readEntries(modelsDir: string): Promise<Readonly<Record<string, StoredEntry>>> {
  const path = join(modelsDir, 'extractors', knownDownloadsName);
  const text = await stored(path, () => textOf(path));
  if (text === undefined) return {};
  const entries = parsed(text);
  if (isObject(entries) && Object.values(entries).every(isEntry)) return entries as Record<string, StoredEntry>;
  throw new InspectionError(
    'damaged_file',
    `extractors/${knownDownloadsName} in the models folder is damaged. It says which downloads may be trusted: restore it, or delete it to trust the next download of each file anew.`,
  );
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEntry(value: unknown): value is StoredEntry {
  return (
    isObject(value) &&
    typeof value.sha256 === 'string' &&
    /^[0-9a-f]{64}$/.test(value.sha256) &&
    Number.isSafeInteger(value.bytes) &&
    typeof value.first_downloaded_at_utc === 'string'
  );
}
