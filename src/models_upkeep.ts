import type { Config } from './config.ts';
import { type BackupRequest, backUpModels } from './inspection/back_up_models.ts';
import { type RestoreReport, type RestoreRequest, restoreModels } from './inspection/restore_models.ts';
import { okngVersion } from './okng_version.ts';
import type { BackupSummary } from './store/backup.ts';

export type { RestoreReport } from './inspection/restore_models.ts';
export type { BackupSummary } from './store/backup.ts';

/** What `okng backup` and `okng restore` do. No extractor and no picture is loaded. */
export async function backUpFolder(
  { modelsDir }: Pick<Config, 'modelsDir'>,
  request: Omit<BackupRequest, 'modelsDir' | 'okngVersion' | 'now'>,
): Promise<BackupSummary> {
  return await backUpModels({ ...request, modelsDir, okngVersion: okngVersion(), now: () => new Date() });
}

export async function restoreFolder(
  { modelsDir }: Pick<Config, 'modelsDir'>,
  request: Omit<RestoreRequest, 'modelsDir'>,
): Promise<RestoreReport> {
  return await restoreModels({ ...request, modelsDir });
}
