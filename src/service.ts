import { setMaxListeners } from 'node:events';
import { access, constants, mkdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { createAuditLog } from './audit/audit_log.ts';
import { auditedService } from './audit/audited_service.ts';
import type { Config } from './config.ts';
import { InspectionError } from './errors.ts';
import type { SetReport } from './evaluation/evaluation_report.ts';
import type { ExtractorInfo } from './extractors/extractor.ts';
import { chooseExtractor } from './extractors/installed_extractors.ts';
import {
  type CalibrateDatasetRequest,
  calibrateDataset,
  type DatasetCalibration,
} from './inspection/calibrate_dataset.ts';
import { type CalibrateRequest, type Calibration, calibrateModel } from './inspection/calibrate_model.ts';
import type { SampleLabel, SampleRef } from './inspection/dataset_sample.ts';
import { createDeadlines } from './inspection/deadlines.ts';
import { describeModel, type ModelDescription } from './inspection/describe_model.ts';
import { createDriftWatch, type DriftWatch } from './inspection/drift_watch.ts';
import { createDuplicateSearch } from './inspection/duplicate_search.ts';
import { type EvaluateOptions, evaluateSet } from './inspection/evaluate_set.ts';
import { type FitHooks, type FitReport, type FitRequest, fitModel } from './inspection/fit_model.ts';
import { type InspectDatasetRequest, type InspectedSample, inspectDataset } from './inspection/inspect_dataset.ts';
import { type Inspection, type InspectRequest, inspectImage } from './inspection/inspect_image.ts';
import { createJobs, type Jobs } from './inspection/jobs.ts';
import { createKnownMemories } from './inspection/known_memories.ts';
import {
  type DatasetListing,
  listDataset,
  type SampleFile,
  sampleFile,
  sampleThumbnail,
  type Upload,
  type UploadRequest,
  uploadSamples,
} from './inspection/manage_dataset.ts';
import {
  type GenerationSummary,
  listGenerations,
  listModels,
  type ModelSummary,
  type Rollback,
  rollBack,
} from './inspection/manage_models.ts';
import { correctScale, findRecipe, listRecipes, type Recipe, removeRecipe } from './inspection/manage_recipes.ts';
import type { PictureSet } from './inspection/picture_set.ts';
import { type DatasetReview, reviewDataset } from './inspection/review_dataset.ts';
import type { DatasetHooks } from './inspection/score_dataset.ts';
import type { ScoreRule } from './inspection/score_rule.ts';
import { createTurns } from './inspection/turns.ts';
import { requireFaissAddon } from './neighbors/faiss_addon.ts';
import type { NeighborsEngineName } from './neighbors/neighbors.ts';
import { okngVersion } from './okng_version.ts';
import type { Device } from './onnx/onnx_session.ts';
import { createDatasetStore } from './store/dataset_store.ts';
import { type DiskFloor, diskFloor, type FreeBytes } from './store/disk_floor.ts';
import { createJobStore, type JobStore } from './store/job_store.ts';
import { createModelStore } from './store/model_store.ts';
import { createRecipeStore } from './store/recipe_store.ts';
import type { DatasetKey, SampleMeta } from './store/sample_meta.ts';
import { threadedVision } from './workers/threaded_vision.ts';
import { createWaitingLine } from './workers/waiting_line.ts';

/** Something the people who run the service should know; no request failed by it. */
export type Notify = (message: string, details: Readonly<Record<string, unknown>>) => void;

/** okng as one object: HTTP, the command line and tests call the same one. */
export interface Service {
  readonly version: string;
  readonly extractor: ExtractorInfo;
  health(): Health;
  readiness(): Readiness;
  /** What keeps the service from storing more while it inspects; null: nothing. */
  shortage(): Promise<string | null>;
  fit(request: FitRequest, hooks?: FitHooks): Promise<FitReport>;
  calibrate(request: CalibrateRequest): Promise<Calibration>;
  /**
   * One picture or several, in their order: all of them, or the first failure. Each in its turn: pictures of one model in the
   * order they came, models by turns.
   *
   * @param signal fires when nobody waits for the answer any more
   * @throws InspectionError as {@link inspectImage}; `deadline_missed` by a request's `answerBy`
   */
  inspectAll(requests: readonly InspectRequest[], signal?: AbortSignal): Promise<readonly Inspection[]>;
  /** What an inspection by this key would find. */
  describe(key: InspectRequest['key']): Promise<ModelDescription>;
  readonly datasets: Datasets;
  readonly recipes: Recipes;
  readonly models: Models;
  /** Fits and scores a whole set. Its memory stays in the models folder. */
  evaluate(set: PictureSet, options: EvaluateOptions): Promise<SetReport>;
  /** Long work that nobody waits for. Whoever serves this models folder calls its `restore` first. */
  readonly jobs: Jobs;
  /** The recipe's millimetres per pixel; null before its first fit. */
  scaleOf(recipeId: string): Promise<number | null>;
  /** Removes what killed processes left in the models folder; gives the number of files and folders. */
  removeStaleTemps(): Promise<number>;
  /**
   * Loads the extractor, so that the first picture is as fast as the next. A failure shows in `readiness`, and warming is
   * tried again every ten seconds until it succeeds.
   */
  warm(): Promise<void>;
  /**
   * Begins the audit, if there is to be one; else the first verdict or change would. A failure shows in `readiness`.
   *
   * @throws InspectionError `storage_full`, `storage_unavailable`, `damaged_file`
   */
  beginAudit(): Promise<void>;
  /** Interrupts jobs, abandons fits in progress, ends the worker threads. */
  close(): Promise<void>;
}

/** The stored samples of roles and ROIs. */
export interface Datasets {
  upload(request: UploadRequest, signal?: AbortSignal): Promise<Upload>;
  list(key: DatasetKey): Promise<DatasetListing>;
  file(key: DatasetKey, sample: SampleRef): Promise<SampleFile>;
  meta(key: DatasetKey, sample: SampleRef): Promise<SampleMeta>;
  thumbnail(key: DatasetKey, sample: SampleRef, maxSide: number): Promise<Uint8Array>;
  /** Gives whether it was there. */
  remove(key: DatasetKey, sample: SampleRef): Promise<boolean>;
  /** Gives the number of samples removed. */
  clear(key: DatasetKey, label: SampleLabel): Promise<number>;
  review(key: DatasetKey, hooks?: FitHooks): Promise<DatasetReview>;
  calibrate(request: CalibrateDatasetRequest, hooks?: DatasetHooks): Promise<DatasetCalibration>;
  inspect(request: InspectDatasetRequest, hooks?: DatasetHooks): Promise<readonly InspectedSample[]>;
}

/** The models on disk and the memories that each has had. */
export interface Models {
  list(): Promise<readonly ModelSummary[]>;
  generations(key: InspectRequest['key']): Promise<readonly GenerationSummary[]>;
  rollBack(key: InspectRequest['key'], generation: number): Promise<Rollback>;
}

export interface Recipes {
  list(): Promise<readonly Recipe[]>;
  find(recipeId: string): Promise<Recipe>;
  /** Gives the scale before. */
  correctScale(recipeId: string, mmPerPx: number): Promise<number | null>;
  remove(recipeId: string, force: boolean): Promise<void>;
}

export interface Health {
  readonly device: Device;
  readonly model: string;
  readonly neighbors: NeighborsEngineName;
  /** Why a wished-for device is not in use. */
  readonly reason: string | null;
}

export interface Readiness {
  readonly ready: boolean;
  readonly problems: readonly string[];
}

/** Blur of the anomaly map in pixels of the picture. */
const blurSigmaPx = 1;

/** A search takes milliseconds: more threads would wait for each other. */
const mostSearchThreads = 8;

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
 * @param freeBytes in place of the system's word
 * @throws InspectionError `extractor_not_found`, `invalid_model_card`, `storage_full`; `invalid_config` when the neighbours
 *   engine is not to be had here
 */
export async function createService(
  config: Config,
  notify: Notify = () => undefined,
  memoriesDir: string = config.modelsDir,
  freeBytes?: FreeBytes,
): Promise<Service> {
  if (config.neighbors === 'faiss') requireFaissAddon();
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
  const models = createModelStore(memoriesDir, { keep: config.keepGenerations });
  const datasetStore = createDatasetStore(memoriesDir);
  const recipeStore = createRecipeStore(memoriesDir);
  const jobStore = createJobStore(memoriesDir);
  const floor = diskFloor(memoriesDir, config.minFreeBytes, freeBytes);
  const withRoom =
    <A extends readonly unknown[], R>(work: (...given: A) => Promise<R>) =>
    async (...given: A): Promise<R> => {
      await floor.requireRoom();
      return await work(...given);
    };
  // Decoding and drawing take less time than the network, but a large picture must not hold up the others.
  const pixelWorkers = config.workers + 1;
  // While one loads a memory, the others go on.
  const bankWorkers = config.workers;
  const vision = threadedVision({
    pixels: {
      preprocessing: extractor.preprocessing,
      grid: extractor.grid,
      maxPixels: config.maxPixels,
      modelsDir: memoriesDir,
      // Pictures are decoded in the same pool of four: as many decodes at once would keep every heatmap waiting.
      packInPool: pixelWorkers < 4,
    },
    network: {
      source,
      threads: config.threads,
      device: config.device === 'auto' ? 'cpu' : config.device,
    },
    banks: {
      threads: Math.min(config.threadsAlone ?? config.threads, mostSearchThreads),
      bankCacheBytes: config.bankCacheBytes / bankWorkers,
      neighbors: config.neighbors,
    },
    bankWorkers,
    networkWorkers: config.workers,
    threadsAlone: config.threadsAlone,
    pixelWorkers,
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
      onDamaged: ({ segments, npzPath }, generation, error) =>
        notify(
          generation === null
            ? 'a memory is damaged and no generation of it is good'
            : 'a memory was damaged and was set aside; an earlier generation answers',
          { memory: [...segments, basename(npzPath)].join('/'), generation, err: error },
        ),
    },
  );
  const driftWatch = createDriftWatch();
  const fitting = new Map<string, string>();
  const scoreRule: ScoreRule = {
    k: 1,
    mode: config.scoreMode,
    percentile: config.scorePercentile,
    sigmaPx: blurSigmaPx,
  };
  const now = () => new Date();
  const jobs = createJobs({ store: jobsWithRoom(jobStore, floor), now, limit: config.queueLimit, notify });
  // Known when the extractor was loaded by `warm`.
  let device: Device | null = null;
  let problems: readonly string[] = config.lightImport ? [] : ['The extractor is being loaded.'];

  const learnParts = {
    vision,
    extractor,
    coresetRate: config.coresetRate,
    positionBytes: config.positionBytes,
    fitBytes: config.fitBytes,
    fitPatches: config.fitPatches,
    scoreRule,
    okngVersion: version,
    stop: stop.signal,
    now,
  };
  const fit: Service['fit'] = withRoom((request, hooks) =>
    fitModel(
      {
        ...learnParts,
        models,
        datasets: datasetStore,
        memories,
        minOkSamples: config.minOkSamples,
        fitting,
        turns,
      },
      request,
      hooks,
    ),
  );
  const { keepCalibration } = config;
  const inspectParts = {
    vision,
    models,
    memories,
    extractor,
    scoreRule,
    areaMm2Thr: config.areaMm2Thr,
    keepCalibration,
  };
  const toldStale = new Set<string>();
  const tellStale = ({ memoryId, threshold, calibrationStale }: Inspection, { key }: InspectRequest) => {
    if (!calibrationStale || threshold === null || toldStale.has(memoryId)) return;
    toldStale.add(memoryId);
    notify('a threshold of another memory judges, as BDI_KEEP_CALIBRATION wishes; calibrate again', {
      ...key,
      threshold,
    });
  };
  // As many as keep the network at work; those of one model wait behind each other, not before other models' pictures.
  const inTime = createDeadlines(createWaitingLine(config.workers + pixelWorkers + 1));
  const inspect = async (request: InspectRequest, signal?: AbortSignal): Promise<Inspection> => {
    const lane = JSON.stringify(request.key);
    const inspection = await inTime({ lane, answerBy: request.answerBy ?? null, signal }, (either) =>
      inspectImage(inspectParts, request, either),
    );
    tellStale(inspection, request);
    return inspection;
  };
  const inspectAll: Service['inspectAll'] = async (requests, signal) => {
    const failed = new AbortController();
    const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
    // Each that waits listens to it.
    setMaxListeners(0, either);
    return await Promise.all(
      requests.map(async (request) => {
        try {
          return await inspect(request, either);
        } catch (error) {
          failed.abort();
          throw error;
        }
      }),
    );
  };
  const calibrateParts = { models, memories, scoreRule, areaMm2Thr: config.areaMm2Thr, turns, now };
  const scoreParts = {
    models,
    datasets: datasetStore,
    memories,
    extractor,
    inspect: (request: InspectRequest, signal?: AbortSignal) => inspectImage(inspectParts, request, signal),
  };
  const datasetParts = { datasets: datasetStore, models, vision, duplicates: createDuplicateSearch(), turns };
  const modelParts = { vision, models, memories, extractor, scoreRule, keepCalibration, turns };
  const recipeParts = { recipes: recipeStore, models, datasets: datasetStore, fitting, turns };

  const service: Service = {
    version,
    extractor,
    health: () => ({
      device: device ?? 'cpu',
      model: extractor.name,
      neighbors: config.neighbors,
      reason: deviceReason(config, device),
    }),
    readiness: () => {
      const now = stop.signal.aborted ? ['The service is shutting down.'] : problems;
      // Those of single models are told, but the others are served.
      return { ready: now.length === 0, problems: [...now, ...memories.problems()] };
    },
    fit,
    shortage: floor.shortage,
    calibrate: withRoom((request) => calibrateModel(calibrateParts, request)),
    inspectAll,
    describe: (key) => describeModel({ models, memories, extractor, scoreRule, keepCalibration, driftWatch }, key),
    datasets: {
      upload: withRoom((request, signal) => uploadSamples(datasetParts, request, signal)),
      list: (key) => listDataset(datasetParts, key),
      file: (key, sample) => sampleFile(datasetParts, key, sample),
      meta: (key, { label, filename }) => datasetStore.readMeta(key, label, filename),
      thumbnail: (key, sample, maxSide) => sampleThumbnail(datasetParts, key, sample, maxSide),
      remove: (key, { label, filename }) => datasetStore.remove(key, label, filename),
      clear: (key, label) => datasetStore.clear(key, label),
      review: (key, hooks) => reviewDataset({ ...learnParts, datasets: datasetStore }, key, hooks),
      calibrate: withRoom((request, hooks) => calibrateDataset({ ...scoreParts, ...calibrateParts }, request, hooks)),
      inspect: (request, hooks) => inspectDataset(scoreParts, request, hooks),
    },
    recipes: {
      list: () => listRecipes(recipeParts),
      find: (recipeId) => findRecipe(recipeParts, recipeId),
      correctScale: withRoom((recipeId, mmPerPx) => correctScale(recipeParts, recipeId, mmPerPx)),
      remove: (recipeId, force) => removeRecipe(recipeParts, recipeId, force),
    },
    models: {
      list: () => listModels(modelParts),
      generations: (key) => listGenerations(modelParts, key),
      rollBack: withRoom((key, generation) => rollBack(modelParts, key, generation)),
    },
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
    jobs,
    removeStaleTemps: async () => {
      const nowMs = Date.now();
      const removed = [
        await models.removeStaleTemps(nowMs, staleTempMs),
        await datasetStore.removeStaleFiles(nowMs, staleTempMs),
        await recipeStore.removeStaleFolders(),
        await jobStore.removeStaleTemps(nowMs, staleTempMs),
      ];
      return removed.reduce((sum, count) => sum + count, 0);
    },
    warm: async function warm() {
      const tryAgainLater = () => {
        setTimeout(() => {
          // It failed before and was told then; readiness shows whether it still does.
          if (!stop.signal.aborted) warm().catch(() => undefined);
        }, warmAgainMs).unref();
      };
      try {
        await requireWritable(config.modelsDir);
        device = await vision.warm();
        // The embedded extractor's is made at the first look; not to be paid for by the first picture.
        void extractor.fingerprint;
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
      // First, so that what the end of the threads breaks off is known as interrupted, not as failed.
      const jobsEnded = jobs.close();
      stop.abort();
      await vision.close();
      await jobsEnded;
      await memories.idle();
    },
    beginAudit: async () => undefined,
  };
  if (!config.audit) return followingDrift(service, driftWatch);
  const start = { okng_version: version, extractor: extractor.name, extractor_fingerprint: extractor.fingerprint };
  const log = createAuditLog({ modelsDir: memoriesDir, fileBytes: config.auditFileBytes, start, now, notify });
  return followingDrift(auditedService(service, log), driftWatch);
}

/** Counts what was answered: nothing of a request that was refused, by whatever comes before this. */
function followingDrift(service: Service, driftWatch: DriftWatch): Service {
  return {
    ...service,
    inspectAll: async (requests, signal) => {
      const inspections = await service.inspectAll(requests, signal);
      for (const { judged } of inspections) if (judged !== null) driftWatch.observe(judged);
      return inspections;
    },
  };
}

/** Takes no new job without room for it; how a job ends is stored in any case. */
function jobsWithRoom(store: JobStore, floor: DiskFloor): JobStore {
  return {
    ...store,
    async save(record, result) {
      if (record.state === 'queued') await floor.requireRoom();
      await store.save(record, result);
    },
  };
}

/** What is wrong with the device, if anything: a wish is answered, not ignored. */
function deviceReason({ device: wanted, lightImport }: Config, device: Device | null): string | null {
  if (wanted === 'auto' || wanted === 'cpu' || wanted === device) return null;
  if (device !== null)
    return `DEVICE=${wanted} is not to be had here (no such device, or no driver for it); the CPU serves.`;
  return lightImport
    ? `DEVICE=${wanted} is looked for when the first picture comes; with BDI_LIGHT_IMPORT=1 it is not told here.`
    : `DEVICE=${wanted} is being looked for.`;
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
