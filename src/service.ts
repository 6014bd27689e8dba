import { access, constants, mkdir } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Config } from './config.ts';
import { InspectionError } from './errors.ts';
import type { SetReport } from './evaluation/evaluation_report.ts';
import type { ExtractorInfo } from './extractors/extractor.ts';
import { chooseExtractor } from './extractors/installed_extractors.ts';
import { type CalibrateRequest, type Calibration, calibrateModel } from './inspection/calibrate_model.ts';
import { createDriftWatch } from './inspection/drift_watch.ts';
import { type EvaluateOptions, evaluateSet } from './inspection/evaluate_set.ts';
import { type FitHooks, type FitReport, type FitRequest, fitModel } from './inspection/fit_model.ts';
import { type Inspection, type InspectRequest, inspectImage } from './inspection/inspect_image.ts';
import { createKnownMemories } from './inspection/known_memories.ts';
import { type ModelHealth, modelHealth } from './inspection/model_health.ts';
import type { PictureSet } from './inspection/picture_set.ts';
import type { ScoreRule } from './inspection/score_rule.ts';
import { createTurns } from './inspection/turns.ts';
import { okngVersion } from './okng_version.ts';
import { createModelStore } from './store/model_store.ts';
import { threadedVision } from './workers/threaded_vision.ts';

/** Something the people who run the service should know; no request failed by it. */
export type Notify = (message: string, details: Readonly<Record<string, unknown>>) => void;

/** okng as one object: HTTP, the command line and tests call the same one. */
export interface Service {
  readonly version: string;
  readonly extractor: ExtractorInfo;
  health(): Health;
  readiness(): Readiness;
  fit(request: FitRequest, hooks?: FitHooks): Promise<FitReport>;
  calibrate(request: CalibrateRequest): Promise<Calibration>;
  /** @param signal fires when nobody waits for the answer any more */
  inspect(request: InspectRequest, signal?: AbortSignal): Promise<Inspection>;
  modelHealth(key: InspectRequest['key']): Promise<ModelHealth>;
  /** Fits and scores a whole set. Its memory stays in the models folder. */
  evaluate(set: PictureSet, options: EvaluateOptions): Promise<SetReport>;
  /** The recipe's millimetres per pixel; null before its first fit. */
  scaleOf(recipeId: string): Promise<number | null>;
  /** Removes the temp files that killed processes left in the models folder; gives their number. */
  removeStaleTemps(): Promise<number>;
  /**
   * Loads the extractor, so that the first picture is as fast as the next. A failure shows in `readiness`, and warming is
   * tried again every ten seconds until it succeeds.
   */
  warm(): Promise<void>;
  /** Abandons fits in progress, ends the worker threads. */
  close(): Promise<void>;
}

export interface Health {
  readonly device: 'cpu';
  readonly model: string;
  /** Why a wished-for device is not in use. */
  readonly reason: string | null;
}

export interface Readiness {
  readonly ready: boolean;
  readonly problems: readonly string[];
}

/** Blur of the anomaly map in pixels of the picture. */
const blurSigmaPx = 1;

/** Banks kept loaded per network worker. */
const bankCacheBytes = 1024 * 1024 * 1024;

/** A model file may be mended, a folder's rights given, while the service runs. */
const warmAgainMs = 10_000;

/**
 * Temp files whose last write is younger may belong to a process that is still writing, such as `okng fit` beside the
 * service; between that write and the rename lie seconds. Age and not the writer's process id: the folder may be shared
 * between containers, and there ids tell nothing. Whoever sweeps again after this time misses none.
 */
export const staleTempMs = 10 * 60 * 1000;

/**
 * Wires the concrete parts. Reads the model card of the chosen extractor, but loads neither it nor ONNX Runtime nor
 * sharp: those come with the first picture or with `warm`.
 *
 * @param memoriesDir where memories are kept, if not beside the extractors
 * @throws InspectionError `extractor_not_found`, `invalid_model_card`, `storage_full`
 */
export async function createService(
  config: Config,
  notify: Notify = () => undefined,
  memoriesDir: string = config.modelsDir,
): Promise<Service> {
  const {
    source,
    info: extractor,
    notice,
  } = await chooseExtractor({
    modelsDir: config.modelsDir,
    ...(config.extractor !== null && { wanted: config.extractor }),
    ...(config.inputSize !== null && { inputSize: config.inputSize }),
  });
  if (notice !== null) notify(notice, { extractor: extractor.name });
  const models = createModelStore(memoriesDir);
  const vision = threadedVision({
    pixels: {
      preprocessing: extractor.preprocessing,
      grid: extractor.grid,
      maxPixels: config.maxPixels,
      modelsDir: memoriesDir,
    },
    network: { source, threads: config.threads, bankCacheBytes },
    networkWorkers: config.workers,
    // Decoding and drawing take less time than the network, but a large picture must not hold up the others.
    pixelWorkers: config.workers + 1,
  });
  const version = okngVersion();
  const stop = new AbortController();
  const turns = createTurns();
  const memories = createKnownMemories(
    { vision, models, turns },
    {
      onIndexRebuilt: ({ indexPath }, state) =>
        notify('a FAISS index was not the one of its memory and was written again', {
          index: basename(indexPath),
          state,
        }),
      onIndexFailed: ({ indexPath }, error) => {
        if (!stop.signal.aborted)
          notify('a FAISS index could not be checked or written', { index: basename(indexPath), err: error });
      },
    },
  );
  const driftWatch = createDriftWatch();
  const fitting = new Set<string>();
  const scoreRule: ScoreRule = {
    k: 1,
    mode: config.scoreMode,
    percentile: config.scorePercentile,
    sigmaPx: blurSigmaPx,
  };
  const now = () => new Date();
  let problems: readonly string[] = config.lightImport ? [] : ['The extractor is being loaded.'];

  const fit: Service['fit'] = (request, hooks) =>
    fitModel(
      {
        vision,
        models,
        memories,
        extractor,
        coresetRate: config.coresetRate,
        positionBytes: config.positionBytes,
        scoreRule,
        okngVersion: version,
        fitting,
        turns,
        stop: stop.signal,
        now,
      },
      request,
      hooks,
    );
  const inspect: Service['inspect'] = (request, signal) =>
    inspectImage(
      { vision, models, memories, extractor, scoreRule, areaMm2Thr: config.areaMm2Thr, driftWatch },
      request,
      signal,
    );

  return {
    version,
    extractor,
    health: () => ({ device: 'cpu', model: extractor.name, reason: deviceReason(config.device) }),
    readiness: () => {
      const now = stop.signal.aborted ? ['The service is shutting down.'] : problems;
      return { ready: now.length === 0, problems: now };
    },
    fit,
    calibrate: (request) =>
      calibrateModel({ models, memories, scoreRule, areaMm2Thr: config.areaMm2Thr, turns, now }, request),
    inspect,
    modelHealth: (key) => modelHealth({ models, memories, scoreRule, driftWatch }, key),
    evaluate: (set, options) =>
      evaluateSet(
        {
          vision,
          fit,
          inspect,
          extractorName: extractor.name,
          coresetRate: config.coresetRate,
          scorePercentile: config.scorePercentile,
        },
        set,
        options,
      ),
    scaleOf: async (recipeId) => (await models.readRecipe(recipeId)).mm_per_px ?? null,
    removeStaleTemps: () => models.removeStaleTemps(Date.now(), staleTempMs),
    warm: async function warm() {
      const tryAgainLater = () => {
        setTimeout(() => {
          // It failed before and was told then; readiness shows whether it still does.
          if (!stop.signal.aborted) warm().catch(() => undefined);
        }, warmAgainMs).unref();
      };
      try {
        await requireWritable(config.modelsDir);
        await vision.warm();
        problems = [];
      } catch (error) {
        problems = [
          error instanceof InspectionError ? error.message : 'The extractor could not be loaded; the log tells why.',
        ];
        tryAgainLater();
        throw error;
      }
    },
    close: async () => {
      stop.abort();
      await vision.close();
      await memories.idle();
    },
  };
}

/** Other devices are a later version's; until then the wish is answered, not ignored. */
function deviceReason(device: Config['device']): string | null {
  if (device === 'auto' || device === 'cpu') return null;
  return `DEVICE=${device} is not available in this build; the CPU serves.`;
}

async function requireWritable(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.R_OK | constants.W_OK);
  } catch (cause) {
    throw new InspectionError(
      'not_ready',
      'The models folder (BDI_MODELS_DIR) cannot be written to; check its owner and rights.',
      { cause },
    );
  }
}
