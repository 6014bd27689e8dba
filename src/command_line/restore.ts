import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { endWith, exitCodes } from './program.ts';
import { createProgress } from './progress.ts';

interface RestoreOptions {
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly modelsDir?: string;
}

/** `okng restore`: a models folder from what `okng backup` wrote. */
export function restoreCommand(cli: Command): Command {
  return cli
    .command('restore')
    .description(
      'Make a models folder of an archive that okng backup wrote. The folder must be empty or absent; a damaged archive leaves it so.',
    )
    .argument('<file>', 'the archive; - for stdin')
    .option('--dry-run', 'only read the whole archive and compare it with its checksums')
    .option('--json', 'print the result as JSON')
    .option('--models-dir <dir>', 'folder of models to make (BDI_MODELS_DIR)')
    .action(async (file: string, { dryRun, json, modelsDir }: RestoreOptions) => {
      await endWith(async () => {
        const config = loadConfig(undefined, modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir });
        const progress = createProgress();
        const { restoreFolder } = await import('../models_upkeep.ts');
        const report = await restoreFolder(config, {
          from: file === '-' ? process.stdin : file,
          dryRun: dryRun === true,
          onProgress: progress.update,
        }).finally(() => progress.end());
        const { created_at_utc, okng_version, files, bytes } = report;
        const made = `${files} files, ${(bytes / 1e6).toFixed(1)} MB, backed up ${created_at_utc} by okng ${okng_version}`;
        const text = dryRun === true ? `The archive is good: ${made}.` : `Restored ${made}.`;
        process.stdout.write(json === true ? `${JSON.stringify(report)}\n` : `${text}\n`);
        return exitCodes.done;
      });
    });
}
