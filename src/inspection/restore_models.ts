import { type ArchiveContents, type ArchiveOrigin, readArchive } from '../store/archive.ts';
import { archiveBytes, unpackArchive } from '../store/restore.ts';

export interface RestoreRequest {
  /** The archive: a path, or its bytes. */
  readonly from: string | AsyncIterable<Uint8Array>;
  /** Absent or empty. */
  readonly modelsDir: string;
  /** Only read and compare all of it; the models folder is not looked at. */
  readonly dryRun: boolean;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

export interface RestoreReport extends ArchiveOrigin {
  readonly dry_run: boolean;
  readonly files: number;
  /** Of the files. */
  readonly bytes: number;
}

/**
 * Makes a models folder of an archive, or only proves that it could.
 *
 * @throws InspectionError as {@link unpackArchive}; `not_found`, `storage_unavailable` for the archive itself
 */
export async function restoreModels({ from, modelsDir, dryRun, onProgress }: RestoreRequest): Promise<RestoreReport> {
  const bytes = typeof from === 'string' ? archiveBytes(from, onBytes(onProgress)) : from;
  const contents: ArchiveContents = dryRun ? await readArchive(bytes) : await unpackArchive(bytes, modelsDir);
  const { origin, files } = contents;
  return {
    dry_run: dryRun,
    created_at_utc: origin.created_at_utc,
    okng_version: origin.okng_version,
    files: files.length,
    bytes: files.reduce((sum, { size_bytes }) => sum + size_bytes, 0),
  };
}

/** In megabytes, as people count archives. */
function onBytes(onProgress: RestoreRequest['onProgress']) {
  return (done: number, total: number) => onProgress?.('archive (MB)', Math.ceil(done / 1e6), Math.ceil(total / 1e6));
}
