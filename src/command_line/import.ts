import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import type { ImportedModel, ImportedSamples, ImportReport, Outcome } from '../inspection/import_models.ts';
import { endWith, exitCodes, tell } from './program.ts';
import { createProgress } from './progress.ts';

interface ImportOptions {
  readonly replace?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly modelsDir?: string;
}

/** `okng import`: another models folder, such as the predecessor's, becomes part of ours. */
export function importCommand(cli: Command): Command {
  return cli
    .command('import')
    .description(
      "Take over a models folder of the service before okng, or another one of okng's: memories, calibrations, scales and datasets. Nothing is changed there.",
    )
    .argument('<dir>', 'the folder to take over')
    .option('--replace', 'replace models and samples that are here with other content')
    .option('--dry-run', 'only tell what would be taken over')
    .option('--json', 'print the result as JSON')
    .option('--models-dir <dir>', 'folder of models to import to (BDI_MODELS_DIR)')
    .action(async (source: string, { replace, dryRun, json, modelsDir }: ImportOptions) => {
      await endWith(async () => {
        const config = loadConfig(undefined, modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir });
        const progress = createProgress();
        // sharp comes with it, which commands that talk to a running service must not load.
        const { importFolder } = await import('../model_import.ts');
        const report = await importFolder(config, {
          source,
          replace: replace === true,
          dryRun: dryRun === true,
          onProgress: progress.update,
        }).finally(() => progress.end());
        if (json === true) process.stdout.write(`${JSON.stringify(report)}\n`);
        else for (const line of reportLines(report)) process.stdout.write(`${line}\n`);
        if (report.refused === 0) return exitCodes.done;
        tell(`refused: ${report.refused}. Everything else ${dryRun === true ? 'would be' : 'was'} taken over.`);
        return exitCodes.failed;
      });
    });
}

const words: Readonly<Record<Outcome, string>> = {
  new: 'taken over',
  replaced: 'replaced',
  there_already: 'there already',
  refused: 'REFUSED',
};

function reportLines({ dry_run, models, scales, datasets, passed_over }: ImportReport): readonly string[] {
  return [
    ...(dry_run ? ['Dry run, nothing is written. What would become of it:'] : []),
    ...scales.map(
      ({ recipe_id, mm_per_px, outcome, problem }) =>
        `Scale of recipe ${recipe_id}: ${mm_per_px ?? 'none'} mm/px; ${words[outcome]}.${problem === null ? '' : ` ${problem}`}`,
    ),
    ...models.map(modelLine),
    ...adviceLines(models),
    ...datasets.map(samplesLine),
    ...datasets.flatMap(({ refused }) => refused.map(({ filename, problem }) => `  ${filename}: ${problem}`)),
    ...passed_over.map(({ path, reason }) => `Passed over: ${path} (${reason}).`),
  ];
}

const indexWords = {
  good: 'index good',
  was_missing: 'index missing, made anew',
  was_damaged: 'index damaged, made anew',
  was_different: "index not the memory's, made anew",
} as const;

function modelLine(model: ImportedModel): string {
  const { role_id, roi_id, recipe_id, model_key, file, memory, outcome, problems } = model;
  const name = role_id === null || roi_id === null ? `file ${file}` : `${role_id} / ${roi_id}`;
  const key = model_key === null || model_key === roi_id ? '' : `, model_key ${model_key}`;
  const facts =
    memory === null
      ? []
      : [
          `${memory.rows} × ${memory.width} on a ${memory.grid.join(' × ')} grid`,
          indexWords[memory.index],
          memory.calibrated ? 'calibrated' : 'no calibration',
          memory.origin === 'unknown' ? 'of unknown origin' : 'made by okng',
          memory.extractors.length === 0
            ? 'no extractor here is for it'
            : `for the extractor ${memory.extractors.join(', ')}`,
        ];
  const fate = [...facts, words[outcome]].join('; ');
  return [`Model ${name} in recipe ${recipe_id}${key}: ${fate}.`, ...problems].join(' ');
}

/** What to do is mostly the same for all of them. */
function adviceLines(models: readonly ImportedModel[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const { memory } of models) {
    if (memory?.advice != null) counts.set(memory.advice, (counts.get(memory.advice) ?? 0) + 1);
  }
  return [...counts].map(([advice, count]) => `Models without an extractor here: ${count}. ${advice}`);
}

function samplesLine({ role_id, roi_id, recipe_id, label, refused, ...counts }: ImportedSamples): string {
  const name = role_id === null || roi_id === null ? 'with a hashed name' : `${role_id} / ${roi_id}`;
  const told = [
    ...(['new', 'replaced', 'there_already'] as const).map((outcome) => [counts[outcome], words[outcome]] as const),
    [refused.length, words.refused] as const,
  ];
  const parts = told.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  return `Dataset ${name} in recipe ${recipe_id}, ${label}: ${parts.join(', ')}.`;
}
