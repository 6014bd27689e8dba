import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { InspectionError } from '../errors.ts';
import type { Calibration } from '../inspection/calibrate_model.ts';
import {
  anyNumber,
  exitCodes,
  type ModelOptions,
  modelKeyOf,
  nonNegativeNumber,
  percentileNumber,
  positiveNumber,
  shareNumber,
  tell,
  withModelOptions,
  withService,
} from './program.ts';

interface CalibrateOptions extends ModelOptions {
  readonly ok?: string;
  readonly leaveOneOut?: boolean;
  readonly maxOverkill?: number;
  readonly confidence?: number;
  readonly reviewThreshold?: number;
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
    .option('--ok <file>', 'scores of good parts: a JSON list, one number per line, or the output of infer --json')
    .option('--leave-one-out', 'instead of --ok: the scores the pictures of the fit would have outside the memory')
    .option('--ng <file>', 'scores of bad parts, likewise')
    .option('--mm-per-px <n>', "millimetres per pixel (default: the recipe's value)", positiveNumber)
    .option('--area-mm2-thr <n>', 'smallest reported region in mm²', nonNegativeNumber)
    .option('--score-percentile <n>', 'percentile of the OK scores', percentileNumber)
    .option('--max-overkill <share>', 'promise that at most this share of good parts is judged NG', shareNumber)
    .option('--confidence <share>', 'of that promise (default: 0.95)', shareNumber)
    .option('--review-threshold <score>', 'from here to the threshold the verdict is review', anyNumber)
    .option('--json', 'print the calibration as JSON')
    .action(async (options: CalibrateOptions) => {
      await withService(options, async (service) => {
        if ((options.ok === undefined) !== (options.leaveOneOut === true)) {
          tell('give either --ok <file> or --leave-one-out.');
          return exitCodes.usage;
        }
        const calibration = await service.calibrate({
          key: modelKeyOf(options),
          okScores: options.ok === undefined ? null : await readScores(options.ok),
          ngScores: options.ng === undefined ? [] : await readScores(options.ng),
          mmPerPx: options.mmPerPx ?? null,
          areaMm2Thr: options.areaMm2Thr ?? null,
          scorePercentile: options.scorePercentile ?? null,
          maxOverkill: options.maxOverkill,
          confidence: options.confidence,
          reviewThreshold: options.reviewThreshold,
        });
        if (options.json === true) process.stdout.write(`${JSON.stringify(calibration)}\n`);
        else {
          for (const sentence of calibrationSentences(calibration)) process.stdout.write(`${sentence}\n`);
        }
        return exitCodes.done;
      });
    });
}

function calibrationSentences(calibration: Calibration): readonly string[] {
  const { guarantee, n_ok: ok, n_ng: ng, p5_ng: p5Ng, p99_ok: pOk } = calibration;
  const kind = calibration.ok_scores_from === 'leave_one_out' ? 'leave-one-out OK' : 'OK';
  const percentiles = `${calibration.score_percentile}th percentile ${pOk.toFixed(4)}`;
  return [
    `Threshold ${calibration.threshold.toFixed(4)} from ${ok} ${kind} (${percentiles}) and ${ng} NG scores${p5Ng === null ? '' : ` (5th percentile ${p5Ng.toFixed(4)})`}.`,
    ...(guarantee === null
      ? []
      : [
          `Promise: at most ${percent(guarantee.alpha)} of good parts judged NG, with confidence ${percent(1 - guarantee.delta)}, as long as the scores stay as they are${guarantee.escape_upper_bound === null ? '' : `; at most ${percent(guarantee.escape_upper_bound)} of bad parts like these pass`}.`,
        ]),
    ...(p5Ng !== null && p5Ng <= pOk
      ? ['Warning: OK and NG scores overlap; bad parts scored below the threshold would pass.']
      : []),
    ...(calibration.in_force
      ? []
      : ['Not in force: the memory that answers belongs to another model. Fit this one to have its own threshold.']),
  ];
}

const percent = (share: number) => `${Number((100 * share).toPrecision(3))} %`;

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
