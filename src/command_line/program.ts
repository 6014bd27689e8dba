import { Command, InvalidArgumentError } from 'commander';
import { loadConfig, settingRows } from '../config.ts';
import { InspectionError } from '../errors.ts';
import type { FitRequest } from '../inspection/fit_model.ts';
import { createService, type Service } from '../service.ts';
import { calibrateCommand } from './calibrate.ts';
import { fitCommand } from './fit.ts';
import { inferCommand } from './infer.ts';

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
} as const;

/** Which model a command means. */
export interface ModelOptions {
  readonly role: string;
  readonly roi: string;
  readonly recipe: string;
  readonly modelKey?: string;
}

/** The key that {@link withModelOptions} read. */
export function modelKeyOf({ recipe, modelKey, role, roi }: ModelOptions): FitRequest['key'] {
  return { recipeId: recipe, modelKey: modelKey ?? roi, roleId: role, roiId: roi };
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
  for (const add of [fitCommand, inferCommand, calibrateCommand]) inheritSettings(cli, add(cli));
  return cli;
}

/** The options that name a model, for every command that needs one. */
export function withModelOptions(command: Command): Command {
  return command
    .requiredOption('--role <role>', 'role_id: the part or station')
    .requiredOption('--roi <roi>', 'roi_id: the region of the part')
    .option('--recipe <recipe>', 'recipe_id', 'default')
    .option('--model-key <key>', 'name of the model inside the recipe (default: the ROI)')
    .option('--models-dir <dir>', 'folder of models (BDI_MODELS_DIR)');
}

/**
 * Runs `work` with the service, closes it, and ends the process with `work`'s exit code. Failures become one sentence
 * on stderr.
 */
export async function withService(
  options: { readonly modelsDir?: string },
  work: (service: Service) => Promise<number>,
): Promise<void> {
  let code: number = exitCodes.failed;
  let service: Service | null = null;
  try {
    const overrides = options.modelsDir === undefined ? {} : { BDI_MODELS_DIR: options.modelsDir };
    service = await createService(loadConfig(process.env, overrides), (message) =>
      process.stderr.write(`okng: ${message}\n`),
    );
    code = await work(service);
  } catch (error) {
    code = error instanceof InspectionError && error.code === 'invalid_config' ? exitCodes.config : exitCodes.failed;
    process.stderr.write(`okng: ${error instanceof Error ? error.message : String(error)}\n`);
  } finally {
    await service?.close();
  }
  process.exit(code);
}

/** A positive number on the command line. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('It must be a number above 0.');
  return value;
}

/** A number from 0 to 100 on the command line. */
export function percentileNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 100)) throw new InvalidArgumentError('It must be from 0 to 100.');
  return value;
}

function inheritSettings(from: Command, to: Command): void {
  to.copyInheritedSettings(from);
}

function settingsHelp(): string {
  const width = Math.max(...settingRows().map(({ env }) => env.length));
  const lines = settingRows().map(
    ({ env, fallback, about }) => `  ${env.padEnd(width)}  ${about}${fallback === '' ? '' : ` [${fallback}]`}`,
  );
  return `\nEnvironment:\n${lines.join('\n')}\n\nExit codes: 0 done, 1 failed, 2 usage, 3 a part is NG, 4 no verdict (not calibrated), 78 configuration.`;
}
