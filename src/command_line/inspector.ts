import { createClient } from '../client/client.ts';
import { loadConfig } from '../config.ts';
import { InspectionError } from '../errors.ts';
import type { CalibrateRequest, Calibration } from '../inspection/calibrate_model.ts';
import type { FitReport, FitRequest } from '../inspection/fit_model.ts';
import type { Inspection, InspectRequest } from '../inspection/inspect_image.ts';
import { createService, type Models } from '../service.ts';
import { endWith, exitCodes, tell } from './program.ts';
import { remoteInspector } from './remote_inspector.ts';

/** What commands ask of okng, wherever it runs: in this process, or as a service somewhere. */
export interface Inspector {
  /** The recipe's millimetres per pixel; null before its first fit. */
  scaleOf(recipeId: string): Promise<number | null>;
  /** The memory that answers for a key; null: none. */
  memoryIdOf(key: FitRequest['key']): Promise<string | null>;
  /** The pictures' bytes are given away. A fit that is ended by the signal has changed nothing. */
  fit(request: FitRequest, hooks: WorkHooks): Promise<FitReport>;
  inspect(request: InspectRequest, signal: AbortSignal): Promise<InspectedPicture>;
  calibrate(request: CalibrateRequest): Promise<Calibration>;
  readonly models: Models;
}

export interface WorkHooks {
  readonly onProgress: (phase: string, done: number, total: number) => void;
  readonly signal: AbortSignal;
}

/** What of an inspection every okng tells. */
export type InspectedPicture = Pick<
  Inspection,
  'score' | 'threshold' | 'decision' | 'verdict' | 'regions' | 'heatmapPng' | 'explanations' | 'inMemory' | 'params'
>;

/** Where the work is to be done. */
export interface PlaceOptions {
  readonly url?: string;
  /** For the service at `url`. */
  readonly apiKey?: string;
  readonly modelsDir?: string;
}

/**
 * Runs `work` with okng in this process, or with the service that `--url` names, and ends the process with `work`'s exit code.
 * The first Ctrl-C fires the signal, the second ends the process at once.
 */
export async function withInspector(
  options: PlaceOptions,
  work: (inspector: Inspector, signal: AbortSignal) => Promise<number>,
): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  await endWith(async () => {
    try {
      return options.url === undefined
        ? await withLocalInspector(options, (inspector) => work(inspector, stop.signal))
        : await work(remoteInspector(createClient({ url: options.url, apiKey: options.apiKey })), stop.signal);
    } catch (error) {
      if (!stop.signal.aborted || !isInterruption(error, stop.signal)) throw error;
      tell('interrupted; no model was changed.');
      return exitCodes.interrupted;
    }
  });
}

/** Whether work came to nothing because it was told to: another failure may have left something behind. */
function isInterruption(error: unknown, signal: AbortSignal): boolean {
  const isGivenUp = error instanceof InspectionError && ['request_aborted', 'job_cancelled'].includes(error.code);
  return isGivenUp || error === signal.reason;
}

async function withLocalInspector(
  { modelsDir }: PlaceOptions,
  work: (inspector: Inspector) => Promise<number>,
): Promise<number> {
  const overrides = modelsDir === undefined ? {} : { BDI_MODELS_DIR: modelsDir };
  const service = await createService(loadConfig(undefined, overrides), tell);
  try {
    return await work({
      ...service,
      inspect: async (request, signal) => (await service.inspectAll([request], signal))[0] as Inspection,
      memoryIdOf: async (key) => (await service.describe(key)).memory?.memoryId ?? null,
    });
  } finally {
    await service.close();
  }
}

/**
 * The scale of the pictures that a command names none for.
 *
 * @throws InspectionError `missing_field` where the recipe has none either
 */
export async function scaleFor(
  inspector: Inspector,
  { mmPerPx, recipe }: { readonly mmPerPx?: number; readonly recipe: string },
): Promise<number> {
  const scale = mmPerPx ?? (await inspector.scaleOf(recipe));
  if (scale !== null) return scale;
  throw new InspectionError(
    'missing_field',
    `Recipe ${JSON.stringify(recipe)} has no mm_per_px yet; give --mm-per-px.`,
  );
}
