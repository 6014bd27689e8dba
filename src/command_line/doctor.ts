import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { endWith, exitCodes } from './program.ts';
import { createProgress } from './progress.ts';

interface DoctorOptions {
  readonly deep?: boolean;
  readonly json?: boolean;
  readonly modelsDir?: string;
}

/** `okng doctor`: what is wrong with a models folder, and what to do. */
export function doctorCommand(cli: Command): Command {
  return cli
    .command('doctor')
    .description(
      'Check a models folder: memories, generations, calibrations, datasets, extractors, audit, jobs, rights and space. Changes nothing. Ends with 1 when something is wrong.',
    )
    .option('--deep', 'decode every picture and compare every extractor with its hash as well')
    .option('--json', 'print the result as JSON')
    .option('--models-dir <dir>', 'folder of models (BDI_MODELS_DIR)')
    .action(async ({ deep, json, modelsDir }: DoctorOptions) => {
      await endWith(async () => {
        const config = loadConfig(undefined, modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir });
        const progress = createProgress();
        // sharp comes with it, which commands that talk to a running service must not load.
        const { examineModelsFolder } = await import('../models_doctor.ts');
        const examination = await examineModelsFolder(config, {
          deep: deep === true,
          onProgress: progress.update,
        }).finally(() => progress.end());
        const { findings, errors, warnings } = examination;
        const lines = findings.map(
          ({ level, place, what, what_to_do }) =>
            `${level.padEnd(7)}  ${place}: ${what}${what_to_do === null ? '' : ` ${what_to_do}`}`,
        );
        const text = [...lines, `Errors: ${errors}, warnings: ${warnings}.`].join('\n');
        process.stdout.write(json === true ? `${JSON.stringify(examination)}\n` : `${text}\n`);
        return errors === 0 ? exitCodes.done : exitCodes.failed;
      });
    });
}
