import type { Command } from 'commander';
import type { GenerationSummary, ModelSummary } from '../inspection/manage_models.ts';
import { type PlaceOptions, withInspector } from './inspector.ts';
import {
  exitCodes,
  type ModelOptions,
  modelKeyOf,
  positiveInteger,
  withModelOptions,
  withPlaceOptions,
} from './program.ts';

interface JsonOption {
  readonly json?: boolean;
}

/** `okng models`: what is fitted, the memories that a model has had, and the way back to one of them. */
export function modelsCommand(cli: Command): Command {
  const models = cli.command('models').description('The fitted models: list them, and go back to an earlier memory.');

  withPlaceOptions(models.command('list').description('Every model, and whether it is calibrated.'))
    .option('--json', 'print one JSON object per model')
    .action(async (options: PlaceOptions & JsonOption) => {
      await withInspector(options, async (inspector) => {
        print(await inspector.models.list(), options, modelLine);
        return exitCodes.done;
      });
    });

  withModelOptions(models.command('generations').description('The memories that a model has had, newest first.'))
    .option('--json', 'print one JSON object per memory')
    .action(async (options: ModelOptions & PlaceOptions & JsonOption) => {
      await withInspector(options, async (inspector) => {
        print(await inspector.models.generations(modelKeyOf(options)), options, generationLine);
        return exitCodes.done;
      });
    });

  withModelOptions(models.command('rollback').description('Let an earlier memory answer again, with its calibration.'))
    .requiredOption('--generation <number>', 'its number, as "okng models generations" tells it', positiveInteger)
    .option('--json', 'print the result as JSON')
    .action(async (options: ModelOptions & PlaceOptions & JsonOption & { readonly generation: number }) => {
      await withInspector(options, async (inspector) => {
        const rollback = await inspector.models.rollBack(modelKeyOf(options), options.generation);
        print([rollback], options, ({ model_generation, previous_model_generation, threshold }) => {
          const before = previous_model_generation === null ? '' : ` instead of ${previous_model_generation}`;
          return `Generation ${model_generation} answers now${before}; ${thresholdWords(threshold)}.`;
        });
        return exitCodes.done;
      });
    });
  return models;
}

function print<T>(rows: readonly T[], { json }: JsonOption, line: (row: T) => string): void {
  for (const row of rows) process.stdout.write(`${json === true ? JSON.stringify(row) : line(row)}\n`);
}

function modelLine(model: ModelSummary): string {
  const { role_id, roi_id, recipe_id, model_key, file, rows, width, extractor, threshold, calib_stale } = model;
  const name = role_id === null || roi_id === null ? `file ${file}` : `${role_id} / ${roi_id}`;
  const key = model_key === null || model_key === roi_id ? '' : `, model_key ${model_key}`;
  const facts =
    model.problem === null
      ? [
          `generation ${model.model_generation}`,
          `${rows} × ${width}`,
          extractor ?? 'of unknown origin',
          ...(model.fitted_at_utc === null ? [] : [`fitted ${model.fitted_at_utc}`]),
          `${thresholdWords(threshold)}${calib_stale ? ' (stale)' : ''}`,
        ]
      : [model.problem];
  return `${name} in recipe ${recipe_id}${key}: ${facts.join('; ')}`;
}

function generationLine({ model_generation, live, made_by, created_at_utc, threshold }: GenerationSummary): string {
  const facts = [`${made_by} ${created_at_utc}`, thresholdWords(threshold), ...(live ? ['it answers'] : [])];
  return `${model_generation}: ${facts.join('; ')}`;
}

function thresholdWords(threshold: number | null): string {
  return threshold === null ? 'not calibrated' : `threshold ${threshold}`;
}
