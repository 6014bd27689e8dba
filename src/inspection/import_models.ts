import { basename, dirname, join, resolve, sep } from 'node:path';
import { InspectionError } from '../errors.ts';
import { decodeCalibration } from '../store/calibration_file.ts';
import { metaNameOf, type SampleLabel } from '../store/dataset_names.ts';
import { encodeFlatL2 } from '../store/faiss_file.ts';
import { decodeMemory } from '../store/model_memory.ts';
import { inspectIndex } from '../store/model_store.ts';
import { type FoundIds, type FoundModel, type FoundSamples, readModelsFolder } from '../store/models_folder.ts';
import { modelPlace, RECIPES_FOLDER } from '../store/places.ts';
import { decodeRecipe, RECIPE_FILE, type RecipeFile, sameScale } from '../store/recipe_file.ts';
import { decodeSampleMeta } from '../store/sample_meta.ts';
import { fileStamp, readStoredFile, realFolder } from '../store/stored_file.ts';
import {
  type Destination,
  modelDestination,
  type SampleFiles,
  sampleDestination,
  writeModel,
  writeRecipe,
  writeSamples,
} from '../store/takeover.ts';
import {
  extractorAdvice,
  extractorsFor,
  type MatchedExtractor,
  type MemoryMaker,
  type MemoryOrigin,
  memoryOriginOf,
} from './memory_origin.ts';

export interface ImportParts {
  /** Where everything goes; need not exist. */
  readonly modelsDir: string;
  /** Those that are installed there, and the embedded one. */
  readonly extractors: readonly MatchedExtractor[];
  /** Proves that bytes are a picture. @throws InspectionError */
  readonly prove: (bytes: Uint8Array, name: string) => Promise<unknown>;
}

export interface ImportRequest {
  /** The folder to take over: a predecessor's models folder, or another one of okng's. */
  readonly source: string;
  /** Whether models and samples at the destination may be replaced by others. */
  readonly replace: boolean;
  /** Only tell. */
  readonly dryRun: boolean;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

/** What becomes of a model, a scale or a sample; in a dry run: what would. */
export type Outcome = 'new' | 'replaced' | 'there_already' | 'refused';

interface FoundAs {
  readonly recipe_id: string;
  /** Null where the names of files do not tell: they are hashed, or the oldest generation's. */
  readonly role_id: string | null;
  readonly roi_id: string | null;
}

/** What was found of a model. What only its file tells is null when that is damaged. */
export interface ImportedModel extends FoundAs {
  /** The memory's, below the source. */
  readonly file: string;
  readonly model_key: string | null;
  readonly outcome: Outcome;
  /** Why it, or its calibration, was refused. */
  readonly problems: readonly string[];
  readonly memory: {
    readonly rows: number;
    readonly width: number;
    /** Rows and columns of patches. */
    readonly grid: readonly [number, number];
    readonly origin: MemoryOrigin;
    /** Of the index that came with it; a missing or wrong one is made anew. */
    readonly index: 'good' | 'was_missing' | 'was_damaged' | 'was_different';
    /** Whether a usable calibration came with it. */
    readonly calibrated: boolean;
    /** Names of the extractors it is for, by all that is known of it. */
    readonly extractors: readonly string[];
    /** What to do when there is none. */
    readonly advice: string | null;
  } | null;
}

export interface ImportedScale {
  readonly recipe_id: string;
  /** The source's; null when its file is damaged. */
  readonly mm_per_px: number | null;
  readonly outcome: Outcome;
  readonly problem: string | null;
}

export interface ImportedSamples extends FoundAs {
  readonly label: SampleLabel;
  readonly new: number;
  readonly replaced: number;
  readonly there_already: number;
  readonly refused: readonly { readonly filename: string; readonly problem: string }[];
}

export interface ImportReport {
  readonly dry_run: boolean;
  readonly models: readonly ImportedModel[];
  readonly scales: readonly ImportedScale[];
  readonly datasets: readonly ImportedSamples[];
  /** What is none of these, and why it was left. */
  readonly passed_over: readonly { readonly path: string; readonly reason: string }[];
  /** How much was refused: models or calibrations, scales, samples. */
  readonly refused: number;
}

/** Samples written together: they share the syncs. */
const batchSize = 16;

/**
 * Takes a whole models folder over: memories with index and calibration, the recipes' scales, and datasets. Nothing is
 * changed at the source. Doing it again changes nothing.
 *
 * - A model's bytes stay as they are; its index is made of its rows. What is damaged is refused by name.
 * - What is there with other content is refused, unless `replace`; a recipe's scale always.
 * - A sample must be a picture (each new one is decoded), and its meta a JSON object.
 *
 * Every file is written as the stores write theirs, so that it may run beside a service; a fit of the same model meanwhile
 * is not noticed. Holds one model at a time, three times over.
 *
 * @throws InspectionError `invalid_value` when one folder lies inside the other; `not_found` when the source holds nothing
 *   of this kind; `storage_full`, `storage_unavailable`: what was taken over by then stays
 */
export async function importModels(
  parts: ImportParts,
  { source, replace, dryRun, onProgress = () => undefined }: ImportRequest,
): Promise<ImportReport> {
  await requireApart(source, parts.modelsDir);
  const found = await readModelsFolder(source);
  if (found.models.length + found.recipes.length + found.samples.length === 0) {
    throw new InspectionError(
      'not_found',
      `The folder ${JSON.stringify(source)} holds no models, recipes or datasets. Give the models folder itself: the one with the .npz files and the folder "recipes".`,
    );
  }
  const job: Job = { ...parts, source, replace, dryRun };

  // Before anything else of a recipe: a fit of a service beside us must not set another one.
  const scales: ImportedScale[] = [];
  for (const recipeId of found.recipes) {
    const scale = await importScale(job, recipeId);
    if (scale !== null) scales.push(scale);
  }

  const models: ImportedModel[] = [];
  for (const [done, model] of found.models.entries()) {
    onProgress('models', done, found.models.length);
    models.push(await importModel(job, model));
  }
  onProgress('models', models.length, found.models.length);

  const datasets: ImportedSamples[] = [];
  const total = found.samples.reduce((sum, { pictures }) => sum + pictures.length, 0);
  let done = 0;
  for (const samples of found.samples) {
    const onSamples = (count: number) => {
      done += count;
      onProgress('pictures', done, total);
    };
    datasets.push(await importSamples(job, samples, onSamples));
  }
  return {
    dry_run: dryRun,
    models,
    scales,
    datasets,
    passed_over: found.passedOver,
    refused:
      models.filter(({ problems }) => problems.length > 0).length +
      scales.filter(({ outcome }) => outcome === 'refused').length +
      datasets.reduce((sum, { refused }) => sum + refused.length, 0),
  };
}

interface Job extends ImportParts {
  readonly source: string;
  readonly replace: boolean;
  readonly dryRun: boolean;
}

/** @throws InspectionError `invalid_value`, `not_found` */
async function requireApart(source: string, modelsDir: string): Promise<void> {
  const from = await realFolder(source, []);
  if (from === undefined) {
    throw new InspectionError('not_found', `There is no folder ${JSON.stringify(source)}.`);
  }
  const to = await futureFolder(modelsDir);
  const within = (inner: string, outer: string) => inner === outer || inner.startsWith(join(outer, sep));
  if (!within(from, to) && !within(to, from)) return;
  throw new InspectionError(
    'invalid_value',
    `The folder ${JSON.stringify(source)} and the models folder are the same or lie one inside the other; nothing was imported. Copy the old folder elsewhere, or choose another models folder (--models-dir).`,
  );
}

/** The real path that a folder has, or will have once it is made. */
async function futureFolder(folder: string): Promise<string> {
  const path = resolve(folder);
  const real = await realFolder(path, []);
  if (real !== undefined) return real;
  return dirname(path) === path ? path : join(await futureFolder(dirname(path)), basename(path));
}

/** Null when the source's recipe has no scale. */
async function importScale({ source, modelsDir, dryRun }: Job, recipeId: string): Promise<ImportedScale | null> {
  const path = join(RECIPES_FOLDER, recipeId, RECIPE_FILE);
  const theirs = await orProblem(() => readRecipe(join(source, path)), 'any');
  if ('problem' in theirs) return { recipe_id: recipeId, mm_per_px: null, outcome: 'refused', problem: theirs.problem };
  const { mm_per_px: mmPerPx } = theirs.value;
  if (mmPerPx === undefined) return null;
  const written = await orProblem(async () => {
    const ours = await readRecipe(join(modelsDir, path));
    if (ours.mm_per_px === undefined) {
      if (!dryRun) await writeRecipe(modelsDir, recipeId, { ...theirs.value, ...ours, mm_per_px: mmPerPx });
      return 'new';
    }
    if (sameScale(ours.mm_per_px, mmPerPx)) return 'there_already';
    throw new InspectionError(
      'mm_per_px_conflict',
      `Not taken over: the recipe's mm_per_px is ${mmPerPx} there and ${ours.mm_per_px} here. Correct it where it is wrong (here: PUT /recipes/${recipeId}).`,
    );
  });
  const outcome = 'problem' in written ? 'refused' : written.value;
  return { recipe_id: recipeId, mm_per_px: mmPerPx, outcome, problem: 'problem' in written ? written.problem : null };
}

async function readRecipe(path: string): Promise<RecipeFile> {
  const file = await readStoredFile(path);
  return file === undefined ? {} : decodeRecipe(file.bytes, RECIPE_FILE);
}

async function importModel(job: Job, found: FoundModel): Promise<ImportedModel> {
  const { place, modelKey } = found;
  const file = [...place.segments, basename(place.npzPath)].join('/');
  const read = await orProblem(() => readModel(found, file), 'any');
  if ('problem' in read) {
    const told = { ...idsOf(found), file, model_key: modelKey };
    return { ...told, outcome: 'refused', problems: [read.problem], memory: null };
  }
  const { memory, npz, index, calibration } = read.value;
  const { bank, grid, metadata } = memory;
  const maker: MemoryMaker = {
    fingerprint: metadata.fingerprint ?? null,
    extractorName: metadata.extractor ?? null,
    cols: bank.cols,
    grid,
  };
  const fitting = extractorsFor(maker, job.extractors).map(({ name }) => name);
  const written = await orProblem(async () => {
    const own = modelPlace(job.modelsDir, found.segments, place.base);
    const files = { npz, calibration: calibration.bytes };
    const outcome = outcomeFor(await modelDestination(own, files), job);
    if ((outcome === 'new' || outcome === 'replaced') && !job.dryRun)
      await writeModel(job.modelsDir, own, { ...files, index: encodeFlatL2(bank) });
    return outcome;
  });
  return {
    recipe_id: found.recipeId,
    role_id: found.roleId ?? metadata.role_id ?? null,
    roi_id: found.roiId ?? metadata.roi_id ?? null,
    file,
    model_key: modelKey,
    outcome: 'problem' in written ? 'refused' : written.value,
    problems: ['problem' in written ? written.problem : null, calibration.problem].filter((text) => text !== null),
    memory: {
      rows: bank.rows,
      width: bank.cols,
      grid: [grid.rows, grid.cols],
      origin: memoryOriginOf(maker),
      index,
      calibrated: calibration.bytes !== undefined,
      extractors: fitting,
      advice: fitting.length > 0 ? null : extractorAdvice(maker, job.extractors),
    },
  };
}

function idsOf({ recipeId, roleId, roiId }: FoundIds): FoundAs {
  return { recipe_id: recipeId, role_id: roleId, roi_id: roiId };
}

/** Reads a model's three files as they belong together. */
async function readModel({ place, hasIndex, hasCalibration }: FoundModel, file: string) {
  const npz = await readStoredFile(place.npzPath);
  if (npz === undefined) throw new InspectionError('not_found', `The file '${file}' is gone.`);
  const memory = decodeMemory(npz, file);
  const index = hasIndex ? await inspectIndex(place, memory) : ('was_missing' as const);
  const calibration = await orProblem(async () => {
    const found = hasCalibration ? await readStoredFile(place.calibrationPath) : undefined;
    if (found !== undefined) decodeCalibration(found.bytes, basename(place.calibrationPath));
    return found?.bytes;
  }, 'any');
  if ((await fileStamp(place.npzPath)) !== npz.stamp) {
    throw new InspectionError(
      'not_ready',
      `The model of the file '${file}' was replaced while it was read. Import again when nothing is fitted there.`,
    );
  }
  const problem = 'problem' in calibration ? calibration.problem : null;
  const bytes = 'problem' in calibration ? undefined : calibration.value;
  return { npz: npz.bytes, memory, index, calibration: { bytes, problem } };
}

async function importSamples(job: Job, found: FoundSamples, onDone: (count: number) => void): Promise<ImportedSamples> {
  const counts = { new: 0, replaced: 0, there_already: 0 };
  const refused: { filename: string; problem: string }[] = [];
  const { segments, pictures } = found;
  for (let start = 0; start < pictures.length; start += batchSize) {
    const batch = pictures.slice(start, start + batchSize);
    const coming: SampleFiles[] = [];
    const outcomes: ('new' | 'replaced')[] = [];
    for (const picture of batch) {
      const looked = await orProblem(() => lookAtSample(job, segments, picture), 'any');
      if ('problem' in looked) refused.push({ filename: picture.name, problem: looked.problem });
      else if (looked.value.outcome === 'there_already') counts.there_already++;
      else {
        coming.push(looked.value.sample);
        outcomes.push(looked.value.outcome);
      }
    }
    const written = await orProblem(async () => {
      if (!job.dryRun && coming.length > 0) await writeSamples(job.modelsDir, segments, coming);
    });
    if ('problem' in written) refused.push(...coming.map(({ name }) => ({ filename: name, problem: written.problem })));
    else for (const outcome of outcomes) counts[outcome]++;
    onDone(batch.length);
  }
  return { ...idsOf(found), label: found.label, ...counts, refused };
}

async function lookAtSample(
  job: Job,
  segments: readonly string[],
  { name, hasMeta }: FoundSamples['pictures'][number],
): Promise<{ readonly sample: SampleFiles; readonly outcome: Exclude<Outcome, 'refused'> }> {
  const folder = join(job.source, ...segments);
  const picture = await readStoredFile(join(folder, name));
  if (picture === undefined) throw new InspectionError('not_found', 'It is gone.');
  const meta = hasMeta ? (await readStoredFile(join(folder, metaNameOf(name))))?.bytes : undefined;
  const sample = { name, picture: picture.bytes, meta };
  const own = await realFolder(job.modelsDir, segments);
  const outcome = outcomeFor(own === undefined ? 'free' : await sampleDestination(own, sample), job);
  if (outcome !== 'there_already') {
    if (meta !== undefined) decodeSampleMeta(meta, metaNameOf(name));
    await job.prove(picture.bytes, name);
  }
  return { sample, outcome };
}

/** @throws InspectionError `invalid_value` when something else is there and must stay */
function outcomeFor(destination: Destination, { replace }: Pick<Job, 'replace'>): Exclude<Outcome, 'refused'> {
  if (destination === 'same') return 'there_already';
  if (destination === 'free') return 'new';
  if (replace) return 'replaced';
  throw new InspectionError('invalid_value', `Not taken over: ${destination.taken} (--replace replaces it).`);
}

/**
 * The work's result, or in words why one thing cannot be taken over.
 *
 * @param refusable `any`: reading; otherwise a full or failing disk of ours ends the whole import
 */
async function orProblem<T>(
  work: () => Promise<T>,
  refusable: 'any' | 'unless_disk' = 'unless_disk',
): Promise<{ readonly value: T } | { readonly problem: string }> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!(error instanceof InspectionError)) throw error;
    const ofDisk = error.code === 'storage_full' || error.code === 'storage_unavailable';
    if (ofDisk && refusable !== 'any') throw error;
    return { problem: error.message };
  }
}
