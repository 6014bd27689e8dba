import { type Command, Option } from 'commander';
import type { FitReport } from '../inspection/fit_model.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { type ScoreMode, scoreModes } from '../patchcore/image_score.ts';
import { type PlaceOptions, withInspector } from './inspector.ts';
import { picturePaths, readPicture } from './pictures.ts';
import { exitCodes, type ModelOptions, modelKeyOf, positiveNumber, withModelOptions } from './program.ts';
import { createProgress } from './progress.ts';

interface FitOptions extends ModelOptions, PlaceOptions {
  readonly mmPerPx: number;
  readonly memoryFit?: boolean;
  readonly scoreMode?: ScoreMode;
  readonly positions: boolean;
  readonly shape?: string;
  readonly json?: boolean;
}

const calibrationAdvice: Record<FitReport['calibration'], string | null> = {
  none: null,
  kept: null,
  stale: 'The calibration made before belongs to the old memory and is no longer used: calibrate again.',
  damaged: 'The calibration file is damaged: calibrate again.',
};

function remarks({ positionWeight, suspects, thinned }: FitReport): readonly string[] {
  return [
    ...(thinned === null
      ? []
      : [
          `The memory was chosen among ${thinned.patchesKept} of the patches (BDI_FIT_PATCHES); each of the others is at most ${(Math.ceil(thinned.radius * 1000) / 1000).toFixed(3)} from one of these.`,
        ]),
    ...(positionWeight > 0
      ? [`The parts lie alike: patches are also compared by their place, with weight ${positionWeight.toFixed(2)}.`]
      : []),
    ...suspects.map(
      ({ name, score }) => `Warning: ${name} looks bad to the other pictures (score ${score.toFixed(4)}): is it good?`,
    ),
  ];
}

/** `okng fit`: good pictures become a memory. */
export function fitCommand(cli: Command): Command {
  return withModelOptions(cli.command('fit'))
    .description('Fit the memory of one role and ROI from good pictures.')
    .argument('<paths...>', 'picture files, or folders of them')
    .requiredOption('--mm-per-px <n>', 'millimetres per pixel of the pictures', positiveNumber)
    .option('--memory-fit', 'keep every patch instead of a coreset')
    .addOption(new Option('--score-mode <mode>', 'how maps become scores (BDI_SCORE_MODE)').choices([...scoreModes]))
    .option('--no-positions', 'never compare patches by their place')
    .option('--shape <json>', 'ROI of the pictures, as in POST /infer: patches outside stay out of the memory')
    .option('--json', 'print the result as JSON')
    .action(async (paths: readonly string[], options: FitOptions) => {
      await withInspector(options, async (inspector, signal) => {
        const progress = createProgress();
        const pictures = await Promise.all((await picturePaths(paths)).map(readPicture));
        const report = await inspector
          .fit(
            {
              key: modelKeyOf(options),
              mmPerPx: options.mmPerPx,
              keepAll: options.memoryFit === true,
              scoreMode: options.scoreMode,
              positions: options.positions,
              shape: parseShapeText(options.shape ?? ''),
              pictures,
            },
            { onProgress: progress.update, signal },
          )
          .finally(() => progress.end());
        if (options.json === true) {
          process.stdout.write(`${JSON.stringify(report)}\n`);
        } else {
          process.stdout.write(
            `Fitted ${options.role} / ${options.roi} with ${report.extractorName}: ${report.pictures} pictures, ${report.embeddings} patches, ${report.coresetSize} kept.\n`,
          );
          for (const sentence of remarks(report)) process.stdout.write(`${sentence}\n`);
          const advice = calibrationAdvice[report.calibration];
          if (advice !== null) process.stdout.write(`${advice}\n`);
        }
        return exitCodes.done;
      });
    });
}
