import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../config.ts';
import type { EvaluationReport, SetReport } from '../evaluation/evaluation_report.ts';
import { htmlReport } from '../evaluation/html_report.ts';
import { textTable } from '../evaluation/text_table.ts';
import { createService } from '../service.ts';
import { readPictureSet } from './picture_folders.ts';
import { endWith, exitCodes, tell } from './program.ts';
import { createProgress } from './progress.ts';

interface EvaluateOptions {
  readonly extractor?: string;
  readonly coresetRate?: string;
  readonly scoreMode?: string;
  readonly positionMib?: string;
  readonly kShot?: number;
  readonly seeds: number;
  readonly json?: string;
  readonly html?: string;
  readonly shown: number;
  readonly modelsDir?: string;
}

/** `okng evaluate`: how good an extractor and its settings are on given pictures. */
export function evaluateCommand(cli: Command): Command {
  return cli
    .command('evaluate')
    .description(
      'Measure on sets of pictures: fit the good ones, score the others, print the metrics with 95 % intervals. ' +
        'A set is a folder with train/good, test/<kind> and, for pixel metrics, ground_truth/<kind>; or with ok and ng.',
    )
    .argument('<dirs...>', 'sets of pictures')
    .option('--extractor <name>', 'embedded, an installed extractor, or the path of a model card (EXTRACTOR)')
    .option('--coreset-rate <rate>', 'share of the patches a memory keeps (CORESET_RATE)')
    .option('--score-mode <mode>', 'percentile or top_share (BDI_SCORE_MODE)')
    .option('--position-mib <n>', 'MiB for patches with their places, 0: none (BDI_POSITION_MIB)')
    .option('--k-shot <k>', 'only K good pictures in the memory, chosen by the seed', wholeNumber)
    .option('--seeds <n>', 'repeat with the seeds 0 to n - 1', wholeNumber, 1)
    .option('--json <file>', 'write everything that was found as JSON')
    .option('--html <file>', 'write a report to look at: histograms, missed defects, false alarms')
    .option('--shown <n>', 'pictures per list of the HTML report', wholeNumber, 12)
    .option('--models-dir <dir>', 'folder of installed extractors (BDI_MODELS_DIR); no memory is written there')
    .action(async (folders: readonly string[], options: EvaluateOptions) => {
      await endWith(async () => {
        const config = loadConfig(undefined, {
          ...(options.extractor !== undefined && { EXTRACTOR: options.extractor }),
          ...(options.coresetRate !== undefined && { CORESET_RATE: options.coresetRate }),
          ...(options.scoreMode !== undefined && { BDI_SCORE_MODE: options.scoreMode }),
          ...(options.positionMib !== undefined && { BDI_POSITION_MIB: options.positionMib }),
          ...(options.modelsDir !== undefined && { BDI_MODELS_DIR: options.modelsDir }),
        });
        const memories = await mkdtemp(join(tmpdir(), 'okng-evaluate-'));
        const service = await createService(config, tell, memories);
        try {
          const sets: SetReport[] = [];
          for (const folder of folders) {
            for (let seed = 0; seed < options.seeds; seed++) {
              const set = await readPictureSet(folder, seed);
              const progress = createProgress();
              const report = await service
                .evaluate(set, {
                  kShot: options.kShot ?? null,
                  seed,
                  shown: options.html === undefined && options.json === undefined ? 0 : options.shown,
                  onProgress: (phase, done, total) => progress.update(`${set.name}: ${phase}`, done, total),
                })
                .finally(() => progress.end());
              sets.push(report);
            }
          }
          const report: EvaluationReport = {
            okng_version: service.version,
            created_at_utc: new Date().toISOString(),
            command: `okng ${process.argv.slice(2).join(' ')}`,
            machine: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}`,
            sets,
          };
          process.stdout.write(textTable(report));
          if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`);
          if (options.html !== undefined) await writeFile(options.html, htmlReport(report));
          return exitCodes.done;
        } finally {
          await service.close();
          await rm(memories, { recursive: true, force: true });
        }
      });
    });
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number above 0.');
  return value;
}
