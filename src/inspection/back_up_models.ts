import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { InspectionError } from '../errors.ts';
import { type BackupOrder, type BackupSummary, writeBackup } from '../store/backup.ts';
import { writeNewFile } from '../store/new_file.ts';
import { realFolder } from '../store/stored_file.ts';

export interface BackupRequest extends Omit<BackupOrder, 'origin'> {
  /** A path outside the models folder, or where the bytes go. */
  readonly to: string | ((bytes: Uint8Array) => Promise<void>);
  /** Whether a file of this name may be replaced. */
  readonly replace: boolean;
  readonly okngVersion: string;
  readonly now: () => Date;
  /** Ends the work; nothing is left of the file. */
  readonly signal?: AbortSignal;
}

/**
 * Writes all models, calibrations, datasets, recipes and audit files into one archive, beside a service that goes on.
 *
 * @see writeBackup for what belongs together
 * @throws InspectionError `not_found` without a models folder; `invalid_value` for a file in it, or one that is there; as
 *   {@link writeBackup} and {@link writeNewFile}; `request_aborted`
 */
export async function backUpModels({
  to,
  replace,
  okngVersion,
  now,
  signal,
  ...order
}: BackupRequest): Promise<BackupSummary> {
  const models = await realFolder(order.modelsDir, []);
  if (models === undefined) {
    throw new InspectionError('not_found', 'There is no models folder. Name the one to back up (--models-dir).');
  }
  const origin = { created_at_utc: now().toISOString(), okng_version: okngVersion };
  const backUp = (write: (bytes: Uint8Array) => Promise<void>) =>
    writeBackup(
      async (bytes) => {
        if (signal?.aborted === true) throw new InspectionError('request_aborted', 'The backup was broken off.');
        await write(bytes);
      },
      { ...order, origin },
    );
  if (typeof to !== 'string') return await backUp(to);
  await requireOutside(to, models);
  return await writeNewFile(to, replace, backUp);
}

/** A backup in the folder that it is made for is lost with it. */
async function requireOutside(file: string, models: string): Promise<void> {
  const path = resolve(file);
  const folder = await realpath(dirname(path)).catch(() => dirname(path));
  if (!join(folder, basename(path)).startsWith(join(models, sep))) return;
  throw new InspectionError(
    'invalid_value',
    'The archive would lie in the models folder, and be lost with it. Name a file elsewhere, best on another disk.',
  );
}
