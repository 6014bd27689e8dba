import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { InspectionError } from '../errors.ts';
import type { CalibrateRequest, Calibration } from '../inspection/calibrate_model.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { type Inspector, type PlaceOptions, scaleFor, withInspector } from './inspector.ts';
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
} from './program.ts';
import { createProgress } from './progress.ts';
import { type PictureScores, scorePictures } from './score_pictures.ts';

interface CalibrateOptions extends ModelOptions, PlaceOptions {
  readonly ok?: string;
  readonly leaveOneOut?: boolean;
  readonly fromDir?: readonly string[];
  readonly ng?: string;
  readonly ngDir?: readonly string[];
  readonly shape?: string;
  readonly skipUnreadable?: boolean;
  readonly maxOverkill?: number;
  readonly confidence?: number;
  readonly reviewThreshold?: number;
  readonly mmPerPx?: number;
  readonly areaMm2Thr?: number;
  readonly scorePercentile?: number;
  readonly json?: boolean;
}

/** `okng calibrate`: scores of good and bad parts become a threshold. */
export function calibrateCommand(cli: Command): Command {
  return withModelOptions(cli.command('calibrate'))
    .description('Choose a threshold from parts that are not in the memory, or from their scores.')
    .option('--ok <file>', 'scores of good parts: a JSON list, one number per line, or the output of infer --json')
    .option('--leave-one-out', 'instead of --ok: the scores the pictures of the fit would have outside the memory')
    .option('--from-dir <dirs...>', 'instead of --ok: folders of pictures of good parts, which are scored first')
    .option('--ng <file>', 'scores of bad parts, as --ok')
    .addOption(new Option('--ng-dir <dirs...>', 'instead of --ng: folders of pictures of bad parts').conflicts('ng'))
    .option('--shape <json>', 'ROI in the pictures of these folders, as in POST /infer')
    .option('--skip-unreadable', 'calibrate from the other pictures when some cannot be scored')
    .option('--mm-per-px <n>', "millimetres per pixel (default: the recipe's value)", positiveNumber)
    .option('--area-mm2-thr <n>', 'smallest reported region in mm²', nonNegativeNumber)
    .option('--score-percentile <n>', 'percentile of the OK scores', percentileNumber)
    .option('--max-overkill <share>', 'promise that at most this share of good parts is judged NG', shareNumber)
    .option('--confidence <share>', 'of that promise (default: 0.95)', shareNumber)
    .option('--review-threshold <score>', 'from here to the threshold the verdict is review', anyNumber)
    .option('--json', 'print the calibration as JSON')
    .action(async (options: CalibrateOptions) => {
      await withInspector(options, async (inspector, signal) => {
        const { ok, leaveOneOut, fromDir } = options;
        if ([ok, leaveOneOut, fromDir].filter((source) => source !== undefined).length !== 1) {
          tell('give either --ok <file> or --leave-one-out or --from-dir <dirs...>.');
          return exitCodes.usage;
        }
        const scores = await scoresFor(inspector, options, signal);
        const calibration = await inspector.calibrate({
          key: modelKeyOf(options),
          ...scores,
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

async function scoresFor(
  inspector: Inspector,
  options: CalibrateOptions,
  signal: AbortSignal,
): Promise<Pick<CalibrateRequest, 'okScores' | 'ngScores'>> {
  const { ok, ng, fromDir = [], ngDir = [] } = options;
  const okScores = ok === undefined ? null : await readScores(ok);
  const ngScores = ng === undefined ? [] : await readScores(ng);
  if (fromDir.length === 0 && ngDir.length === 0) return { okScores, ngScores };
  const order = {
    key: modelKeyOf(options),
    mmPerPx: await scaleFor(inspector, options),
    shape: parseShapeText(options.shape ?? ''),
    ok: fromDir,
    ng: ngDir,
  };
  const progress = createProgress();
  const found = await scorePictures(inspector, order, { onProgress: progress.update, signal }).finally(() =>
    progress.end(),
  );
  for (const fault of found.faults) tell(fault);
  if (found.faults.length > 0 && options.skipUnreadable !== true) {
    throw new InspectionError(
      'unreadable_image',
      `Pictures that could not be scored: ${found.faults.length}. Nothing was calibrated; mend or remove them, or give --skip-unreadable.`,
    );
  }
  if (fromDir.length > 0 && found.okScores.length === 0) throw noneLeft(found);
  for (const remark of remarksOn(found)) tell(remark);
  return {
    okScores: fromDir.length > 0 ? found.okScores : okScores,
    ngScores: ng === undefined ? found.ngScores : ngScores,
  };
}

function remarksOn({ okInMemory, ngInMemory, memoryTells }: PictureScores): readonly string[] {
  return [
    ...(okInMemory.length > 0
      ? [`left out, because they are in the memory and score lower than their like: ${listed(okInMemory)}.`]
      : []),
    ...(ngInMemory.length > 0
      ? [
          `warning: bad parts are in the memory, so their like will pass as good: ${listed(ngInMemory)}. Fit again without.`,
        ]
      : []),
    ...(memoryTells
      ? []
      : [
          'warning: the memory does not say which pictures it was made from. Those of them that are here score too low, and so is the threshold; fit again to be sure.',
        ]),
  ];
}

const mostListed = 5;

function listed(files: readonly string[]): string {
  const more = files.length - mostListed;
  return files.slice(0, mostListed).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function noneLeft({ okInMemory }: PictureScores): InspectionError {
  return new InspectionError(
    'insufficient_ok_samples',
    okInMemory.length > 0
      ? `No good part is left to calibrate from: ${okInMemory.length} pictures are in the memory. Give pictures of other good parts, or --leave-one-out for the scores that those of the fit would have outside it.`
      : 'No good part is left to calibrate from: none of the pictures could be scored.',
  );
}

/** Fewer good parts have not shown how much good parts differ; `threshold_promise.ts` counts how many a promise takes. */
const fewOkScores = 20;

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
    ...(guarantee === null && ok < fewOkScores
      ? [`Warning: ${ok} OK scores are few for a threshold; 59 can promise what it throws away (--max-overkill 0.05).`]
      : []),
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
