import { basename } from 'node:path';
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { loadConfig } from '../config.ts';
import {
  type AddedModel,
  addModel,
  fetchModel,
  listModels,
  type Precision,
  precisions,
  publishedWeightsNames,
  removeModel,
  verifyModel,
} from '../model_library.ts';
import { endWith, exitCodes, tell } from './program.ts';
import { createProgress } from './progress.ts';

interface FolderOptions {
  readonly modelsDir?: string;
  readonly json?: boolean;
}

interface AddOptions extends FolderOptions {
  readonly name?: string;
  readonly inputSize: InputSize;
  readonly blocks?: readonly number[];
  readonly precision: Precision;
  readonly replace?: boolean;
}

interface InputSize {
  readonly height: number;
  readonly width: number;
}

/** `okng model`: the extractors that are installed. */
export function modelCommand(cli: Command): Command {
  const model = cli.command('model').description('Install and look after extractors such as DINOv2.');
  withAddOptions(withFolder(model.command('add')))
    .description(
      'Make an extractor of a published DINOv2 weights file (model.safetensors of ViT-S, B or L with patch 14, with or without registers; timm, Hugging Face or Meta names).',
    )
    .argument('<file>', 'the weights, .safetensors')
    .action(async (file: string, options: AddOptions) => {
      await endWith(async () => {
        report(await add(file, basename(file), options), options);
        return exitCodes.done;
      });
    });
  withAddOptions(withFolder(model.command('fetch')))
    .description('Download published weights, if there is internet, and make an extractor of them.')
    .addArgument(new Argument('<weights>', 'whose').choices(publishedWeightsNames))
    .option('--mirror <url>', 'address in place of https://huggingface.co (BDI_MODEL_MIRROR)')
    .action(async (weights: string, options: AddOptions & { readonly mirror?: string }) => {
      await endWith(async () => {
        report(await fetchAndAdd(weights, options), options);
        return exitCodes.done;
      });
    });
  withFolder(model.command('list'))
    .description('What is installed.')
    .action(async (options: FolderOptions) => {
      await endWith(async () => {
        const rows = await listModels(modelsDirOf(options));
        process.stdout.write(options.json === true ? `${JSON.stringify(rows)}\n` : table(rows));
        return exitCodes.done;
      });
    });
  withFolder(model.command('verify'))
    .description('Compare model files with the hashes in their cards and run each once; all of them without a name.')
    .argument('[name]', 'one extractor')
    .action(async (name: string | undefined, options: FolderOptions) => {
      await endWith(() => verify(name, options));
    });
  withFolder(model.command('remove'))
    .description('Remove an installed extractor. Memories fitted with it stay, and are of no use without it.')
    .argument('<name>', 'the extractor')
    .action(async (name: string, options: FolderOptions) => {
      await endWith(async () => {
        await removeModel(modelsDirOf(options), name);
        process.stdout.write(options.json === true ? `${JSON.stringify({ removed: name })}\n` : `Removed ${name}.\n`);
        return exitCodes.done;
      });
    });
  return model;
}

function withFolder(command: Command): Command {
  return command
    .option('--models-dir <dir>', 'folder of models (BDI_MODELS_DIR)')
    .option('--json', 'print the result as JSON');
}

function withAddOptions(command: Command): Command {
  return command
    .option('--name <name>', 'name of the extractor (default: the network, such as vit_small_patch14_dinov2.lvd142m)')
    .option('--input-size <px>', "the network's input: SIDE or HEIGHTxWIDTH, multiples of 14", inputSize, {
      height: 448,
      width: 448,
    })
    .option('--blocks <list>', 'blocks whose outputs are the embeddings, from 0 (default: the last three)', blockList)
    .addOption(
      new Option('--precision <precision>', 'auto keeps int8 where it is faster on this machine and agrees with fp32')
        .choices([...precisions])
        .default('auto'),
    )
    .option('--replace', 'replace an extractor of this name');
}

async function add(file: string, source: string, options: AddOptions): Promise<AddedModel> {
  const progress = createProgress();
  const config = configOf(options);
  return addModel(
    config.modelsDir,
    { ...orderOf(options, config.threads), path: file, source },
    progress.update,
  ).finally(() => progress.end());
}

async function fetchAndAdd(weights: string, options: AddOptions & { readonly mirror?: string }): Promise<AddedModel> {
  const progress = createProgress();
  const config = configOf(options);
  const stop = new AbortController();
  const abort = () => stop.abort();
  process.once('SIGINT', abort).once('SIGTERM', abort);
  try {
    return await fetchModel(
      { ...config, modelMirror: options.mirror ?? config.modelMirror },
      { ...orderOf(options, config.threads), weights, signal: stop.signal },
      progress.update,
    );
  } finally {
    process.off('SIGINT', abort).off('SIGTERM', abort);
    progress.end();
  }
}

function orderOf({ name, inputSize: size, blocks, precision, replace }: AddOptions, threads: number) {
  return { name: name ?? null, ...size, blocks: blocks ?? null, precision, threads, replace: replace === true };
}

function report({ card, precision, trial, bytes, remarks }: AddedModel, { json }: FolderOptions): void {
  if (json === true) {
    process.stdout.write(
      `${JSON.stringify({ name: card.name, precision, bytes, trial, sha256: card.sha256, remarks })}\n`,
    );
    return;
  }
  process.stdout.write(`Installed ${card.name}: ${card.description}\n`);
  process.stdout.write(`${card.embedding_width} numbers per patch, ${mebibytes(bytes)} MiB, sha256 ${card.sha256}.\n`);
  if (trial !== null) {
    process.stdout.write(
      `Measured here: fp32 ${trial.fp32Ms.toFixed(0)} ms, int8 ${trial.int8Ms.toFixed(0)} ms per picture; int8 agrees with fp32 by a cosine of ${trial.meanCosine.toFixed(5)} in the mean, ${trial.worstCosine.toFixed(4)} at worst.\n`,
    );
  }
  for (const remark of remarks) process.stdout.write(`${remark}\n`);
  process.stdout.write('Start okng (again): it is used by itself, unless EXTRACTOR names another. Fit again.\n');
}

async function verify(name: string | undefined, options: FolderOptions): Promise<number> {
  const { modelsDir, threads } = configOf(options);
  const rows = await listModels(modelsDir);
  const names = name === undefined ? rows.filter(({ folder }) => folder !== null).map((row) => row.name) : [name];
  const results: { name: string; ok: boolean; problem: string | null }[] = [];
  for (const one of names) {
    try {
      await verifyModel(modelsDir, one, threads);
      results.push({ name: one, ok: true, problem: null });
    } catch (error) {
      results.push({ name: one, ok: false, problem: error instanceof Error ? error.message : String(error) });
    }
  }
  if (options.json === true) process.stdout.write(`${JSON.stringify(results)}\n`);
  else if (results.length === 0) tell('No extractor is installed; the embedded one is built in.');
  else for (const { name: one, ok, problem } of results) process.stdout.write(`${one}: ${ok ? 'good' : problem}\n`);
  return results.every(({ ok }) => ok) ? exitCodes.done : exitCodes.failed;
}

function table(rows: Awaited<ReturnType<typeof listModels>>): string {
  const cells = rows.map((row) => [
    row.name,
    row.state,
    row.precision ?? '–',
    row.input ?? '–',
    row.width === null ? '–' : String(row.width),
    row.bytes === null ? '–' : `${mebibytes(row.bytes)} MiB`,
    row.problem ?? '',
  ]);
  const all = [['extractor', 'state', 'precision', 'input', 'width', 'file', ''], ...cells];
  const widths = (all[0] as string[]).map((_, column) => Math.max(...all.map((row) => (row[column] as string).length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(column === row.length - 1 ? 0 : (widths[column] as number)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function configOf({ modelsDir }: FolderOptions) {
  return loadConfig(undefined, modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir });
}

function modelsDirOf(options: FolderOptions): string {
  return configOf(options).modelsDir;
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}

function inputSize(text: string): InputSize {
  const found = /^(\d{1,4})(?:x(\d{1,4}))?$/i.exec(text.trim());
  if (found === null) throw new InvalidArgumentError('It must be a side such as 448, or HEIGHTxWIDTH such as 280x560.');
  const height = Number(found[1]);
  return { height, width: found[2] === undefined ? height : Number(found[2]) };
}

function blockList(text: string): readonly number[] {
  const parts = text.split(',').map((part) => part.trim());
  if (!parts.every((part) => /^\d{1,3}$/.test(part))) {
    throw new InvalidArgumentError('It must be whole numbers from 0 with commas between, such as 9,10,11.');
  }
  return parts.map(Number);
}
