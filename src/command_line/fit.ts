import type { Command } from 'commander';
import { picturePaths, readPicture } from './pictures.ts';
import { exitCodes, type ModelOptions, positiveNumber, withModelOptions, withService } from './program.ts';
import { createProgress } from './progress.ts';

interface FitOptions extends ModelOptions {
  readonly mmPerPx: number;
  readonly memoryFit?: boolean;
  readonly json?: boolean;
  readonly modelsDir?: string;
}

/** `okng fit`: good pictures become a memory. */
export function fitCommand(cli: Command): Command {
  return withModelOptions(cli.command('fit'))
    .description('Fit the memory of one role and ROI from good pictures.')
    .argument('<paths...>', 'picture files, or folders of them')
    .requiredOption('--mm-per-px <n>', 'millimetres per pixel of the pictures', positiveNumber)
    .option('--memory-fit', 'keep every patch instead of a coreset')
    .option('--json', 'print the result as JSON')
    .action(async (paths: readonly string[], options: FitOptions) => {
      await withService(options, async (service) => {
        const progress = createProgress();
        const pictures = await Promise.all((await picturePaths(paths)).map(readPicture));
        const report = await service
          .fit(
            {
              key: {
                recipeId: options.recipe,
                modelKey: options.modelKey ?? options.roi,
                roleId: options.role,
                roiId: options.roi,
              },
              mmPerPx: options.mmPerPx,
              keepAll: options.memoryFit === true,
              pictures,
            },
            { onProgress: (phase, done, total) => progress.update(phase, done, total) },
          )
          .finally(() => progress.end());
        if (options.json === true) {
          process.stdout.write(`${JSON.stringify(report)}\n`);
        } else {
          process.stdout.write(
            `Fitted ${options.role} / ${options.roi} with ${report.extractorName}: ${report.pictures} pictures, ${report.embeddings} patches, ${report.coresetSize} kept.\n`,
          );
          if (report.calibration === 'stale') {
            process.stdout.write(
              'The calibration made before belongs to the old memory and is no longer used: calibrate again.\n',
            );
          }
        }
        return exitCodes.done;
      });
    });
}
