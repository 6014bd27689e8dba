import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { InspectionError } from '../errors.ts';
import {
  exitCodes,
  type ModelOptions,
  modelKeyOf,
  percentileNumber,
  positiveNumber,
  withModelOptions,
  withService,
} from './program.ts';

interface CalibrateOptions extends ModelOptions {
  readonly ok: string;
  readonly ng?: string;
  readonly mmPerPx?: number;
  readonly areaMm2Thr?: number;
  readonly scorePercentile?: number;
  readonly json?: boolean;
  readonly modelsDir?: string;
}

/** `okng calibrate`: scores of good and bad parts become a threshold. */
export function calibrateCommand(cli: Command): Command {
  return withModelOptions(cli.command('calibrate'))
    .description('Choose a threshold from scores of parts that are not in the memory.')
    .requiredOption(
      '--ok <file>',
      'scores of good parts: a JSON list, one number per line, or the output of infer --json',
    )
    .option('--ng <file>', 'scores of bad parts, likewise')
    .option('--mm-per-px <n>', "millimetres per pixel (default: the recipe's value)", positiveNumber)
    .option('--area-mm2-thr <n>', 'smallest reported region in mm²', positiveNumber)
    .option('--score-percentile <n>', 'percentile of the OK scores', percentileNumber)
    .option('--json', 'print the calibration as JSON')
    .action(async (options: CalibrateOptions) => {
      await withService(options, async (service) => {
        const calibration = await service.calibrate({
          key: modelKeyOf(options),
          okScores: await readScores(options.ok),
          ngScores: options.ng === undefined ? [] : await readScores(options.ng),
          mmPerPx: options.mmPerPx ?? null,
          areaMm2Thr: options.areaMm2Thr ?? null,
          scorePercentile: options.scorePercentile ?? null,
        });
        if (options.json === true) process.stdout.write(`${JSON.stringify(calibration)}\n`);
        else {
          process.stdout.write(
            `Threshold ${calibration.threshold.toFixed(4)} from ${calibration.n_ok} OK (${calibration.score_percentile}th percentile ${calibration.p99_ok.toFixed(4)}) and ${calibration.n_ng} NG scores${calibration.p5_ng === null ? '' : ` (5th percentile ${calibration.p5_ng.toFixed(4)})`}.\n`,
          );
          if (calibration.p5_ng !== null && calibration.p5_ng <= calibration.p99_ok) {
            process.stdout.write(
              'Warning: OK and NG scores overlap; bad parts scored below the threshold would pass.\n',
            );
          }
        }
        return exitCodes.done;
      });
    });
}

/**
 * Scores from a file: a JSON list of numbers, or lines that are each a number or a JSON object with a `score`.
 *
 * @throws InspectionError `not_found`, `invalid_value` naming the line
 */
export async function readScores(path: string): Promise<readonly number[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new InspectionError('not_found', `There is no readable file ${JSON.stringify(path)}.`, { cause });
  });
  const whole = parse(text);
  if (Array.isArray(whole)) return whole.map((item, index) => requireScore(item, path, `item ${index + 1}`));
  const lines = text.split('\n').map((line) => line.trim());
  const scores = lines.flatMap((line, index) =>
    line === '' ? [] : [requireScore(parse(line), path, `line ${index + 1}`)],
  );
  if (scores.length === 0) throw new InspectionError('invalid_value', `${JSON.stringify(path)} holds no scores.`);
  return scores;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function requireScore(item: unknown, path: string, where: string): number {
  const value = typeof item === 'object' && item !== null && 'score' in item ? item.score : item;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new InspectionError(
    'invalid_value',
    `${JSON.stringify(path)}, ${where}: a finite number or an object with a score is expected.`,
  );
}
