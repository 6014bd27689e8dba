import { Command, InvalidArgumentError, Option } from 'commander';
import { createClient, OkngError } from '../client/client.ts';
import { settingRows } from '../config.ts';
import { InspectionError } from '../errors.ts';
import type { FitRequest } from '../inspection/fit_model.ts';
import { checkedId, normalizedRecipeId } from '../inspection/model_names.ts';
import { auditCommand } from './audit.ts';
import { backupCommand } from './backup.ts';
import { calibrateCommand } from './calibrate.ts';
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { fitCommand } from './fit.ts';
import { importCommand } from './import.ts';
import { inferCommand } from './infer.ts';
import { modelCommand } from './model.ts';
import { modelsCommand } from './models.ts';
import { restoreCommand } from './restore.ts';

/** Exit codes, the same for every command. */
export const exitCodes = {
  done: 0,
  /** The work failed: an unreadable picture, a missing model, a full disk. */
  failed: 1,
  /** The command line was not understood. */
  usage: 2,
  /** `infer`: at least one part is NG. */
  ng: 3,
  /** `infer`: no part is NG, but at least one has no verdict because the model is not calibrated. */
  noVerdict: 4,
  /** The configuration cannot be used (EX_CONFIG). */
  config: 78,
  /** Ctrl-C, as a shell counts it. */
  interrupted: 130,
} as const;

/** Which model a command means. */
export interface ModelOptions {
  readonly role: string;
  readonly roi: string;
  readonly recipe: string;
  /** Empty as absent: commander makes an empty text of `undefined`. */
  readonly modelKey?: string;
}

/** The key that {@link withModelOptions} read. */
export function modelKeyOf({ recipe, modelKey, role, roi }: ModelOptions): FitRequest['key'] {
  return {
    recipeId: recipe,
    modelKey: modelKey === undefined || modelKey === '' ? roi : modelKey,
    roleId: role,
    roiId: roi,
  };
}

/** The whole `okng` command line. Nothing runs before `parseAsync`. */
export function createCli(): Command {
  const cli = new Command('okng')
    .description('Tells good parts from bad ones after seeing only good ones.')
    .showHelpAfterError('(okng --help, okng COMMAND --help)')
    .addHelpText('after', settingsHelp())
    .exitOverride((error) => process.exit(error.exitCode === 0 ? exitCodes.done : exitCodes.usage));

  cli
    .command('serve')
    .description('Run the service.')
    .option('--host <host>', 'address to listen on (BDI_BACKEND_HOST)')
    .option('--port <port>', 'port to listen on, 0 for any (BDI_BACKEND_PORT)')
    .option('--models-dir <dir>', 'folder of models (BDI_MODELS_DIR)')
    .action(async (options: { host?: string; port?: string; modelsDir?: string }) => {
      const { runServer } = await import('../serve.ts');
      await runServer({
        ...(options.host !== undefined && { BDI_BACKEND_HOST: options.host }),
        ...(options.port !== undefined && { BDI_BACKEND_PORT: options.port }),
        ...(options.modelsDir !== undefined && { BDI_MODELS_DIR: options.modelsDir }),
      });
    });
  const commands = [
    fitCommand,
    inferCommand,
    calibrateCommand,
    evaluateCommand,
    modelCommand,
    modelsCommand,
    importCommand,
    backupCommand,
    restoreCommand,
    doctorCommand,
    auditCommand,
  ];
  for (const add of commands) add(cli);
  return cli;
}

/** The options that name a model, for every command that needs one. The same names are good as over HTTP. */
export function withModelOptions(command: Command): Command {
  command
    .requiredOption(
      '--role <role>',
      'role_id: the part or station',
      argument((text) => checkedId('role_id', text)),
    )
    .requiredOption(
      '--roi <roi>',
      'roi_id: the region of the part',
      argument((text) => checkedId('roi_id', text)),
    )
    .option('--recipe <recipe>', 'recipe_id, trimmed and lower-cased', argument(recipeOrDefault), 'default')
    .option('--model-key <key>', 'name of the model inside the recipe (default: the ROI)', argument(modelKeyOrEmpty));
  return withPlaceOptions(command);
}

/** The options that say where the work is to be done. */
export function withPlaceOptions(command: Command): Command {
  return command
    .option('--models-dir <dir>', 'folder of models (BDI_MODELS_DIR)')
    .addOption(
      new Option('--url <url>', 'let the okng service that runs there do the work, with its models')
        .argParser(argument(serviceUrl))
        .conflicts('modelsDir'),
    )
    .addOption(
      new Option(
        '--api-key <key>',
        'for a service that asks for one; others on this machine may see a command line',
      ).env('OKNG_API_KEY'),
    );
}

/** Ends the process with `work`'s exit code; what it throws becomes one sentence on stderr. */
export async function endWith(work: () => Promise<number>): Promise<void> {
  let code: number = exitCodes.failed;
  try {
    code = await work();
  } catch (error) {
    code = error instanceof InspectionError && error.code === 'invalid_config' ? exitCodes.config : exitCodes.failed;
    tell(error instanceof Error ? error.message : String(error));
  }
  process.exit(code);
}

/** For the person at the terminal, beside the data on stdout. */
export function tell(message: string): void {
  process.stderr.write(`okng: ${message}\n`);
}

/** A positive number on the command line. */
export function positiveNumber(text: string): number {
  return numberWhere(text, (value) => value > 0, 'It must be a number above 0.');
}

/** A whole number of at least 1 on the command line. */
export function positiveInteger(text: string): number {
  return numberWhere(text, (value) => Number.isSafeInteger(value) && value > 0, 'It must be a whole number above 0.');
}

/** A number of at least 0 on the command line. */
export function nonNegativeNumber(text: string): number {
  return numberWhere(text, (value) => value >= 0, 'It must be a number of at least 0.');
}

/** Any finite number on the command line. */
export function anyNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
}

/** A share on the command line: above 0, below 1. */
export function shareNumber(text: string): number {
  const value = anyNumber(text);
  if (value <= 0 || value >= 1) throw new InvalidArgumentError('It must be above 0 and below 1.');
  return value;
}

/** A number from 0 to 100 on the command line. */
export function percentileNumber(text: string): number {
  return numberWhere(text, (value) => value >= 0 && value <= 100, 'It must be from 0 to 100.');
}

/** A finite decimal number as a form may hold it, `1E-05` too; `Number` alone would take `0x1` and nothing at all. */
function numberWhere(text: string, fits: (value: number) => boolean, rule: string): number {
  const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : Number.NaN;
  if (!Number.isFinite(value) || !fits(value)) throw new InvalidArgumentError(rule);
  return value;
}

/** Empty counts as absent, as in a request. */
function recipeOrDefault(text: string): string {
  return text.trim() === '' ? 'default' : normalizedRecipeId(text);
}

function modelKeyOrEmpty(text: string): string {
  return text === '' ? text : checkedId('model_key', text);
}

function serviceUrl(text: string): string {
  createClient({ url: text });
  return text;
}

/** Lets a refused value be a command line that was not understood. */
function argument<T>(read: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return read(text);
    } catch (error) {
      if (error instanceof InspectionError || error instanceof OkngError) throw new InvalidArgumentError(error.message);
      throw error;
    }
  };
}

function settingsHelp(): string {
  const width = Math.max(...settingRows().map(({ env }) => env.length));
  const lines = settingRows().map(
    ({ env, fallback, about }) => `  ${env.padEnd(width)}  ${about}${fallback === '' ? '' : ` [${fallback}]`}`,
  );
  return `\nEnvironment:\n${lines.join('\n')}\n\nExit codes: 0 done, 1 failed, 2 usage, 3 a part is NG, 4 no verdict (not calibrated), 78 configuration, 130 interrupted.`;
}
