import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExtractorInfo } from '../../src/extractors/extractor.ts';
import { type CalibrateDatasetRequest, calibrateDataset } from '../../src/inspection/calibrate_dataset.ts';
import { type CalibrateRequest, calibrateModel } from '../../src/inspection/calibrate_model.ts';
import { describeModel } from '../../src/inspection/describe_model.ts';
import { createDriftWatch } from '../../src/inspection/drift_watch.ts';
import { createDuplicateSearch } from '../../src/inspection/duplicate_search.ts';
import { type FitHooks, type FitRequest, fitModel } from '../../src/inspection/fit_model.ts';
import { type InspectDatasetRequest, inspectDataset } from '../../src/inspection/inspect_dataset.ts';
import { type InspectRequest, inspectImage } from '../../src/inspection/inspect_image.ts';
import { createKnownMemories } from '../../src/inspection/known_memories.ts';
import { listDataset, type UploadRequest, uploadSamples } from '../../src/inspection/manage_dataset.ts';
import { listGenerations, listModels, rollBack } from '../../src/inspection/manage_models.ts';
import { correctScale, findRecipe, listRecipes, removeRecipe } from '../../src/inspection/manage_recipes.ts';
import { reviewDataset } from '../../src/inspection/review_dataset.ts';
import type { DatasetHooks } from '../../src/inspection/score_dataset.ts';
import type { ScoreRule } from '../../src/inspection/score_rule.ts';
import { wholePicture } from '../../src/inspection/shape_text.ts';
import { createTurns } from '../../src/inspection/turns.ts';
import { createDatasetStore } from '../../src/store/dataset_store.ts';
import { createModelStore } from '../../src/store/model_store.ts';
import { createRecipeStore } from '../../src/store/recipe_store.ts';
import { toyExtractor, toyPicture, toyVision } from './toy_vision.ts';

export const key = { recipeId: 'default', modelKey: 'roi', roleId: 'role', roiId: 'roi' };

/** The use cases on a models folder of their own, around the toy extractor. */
export function toyService(
  changes: {
    readonly scoreRule?: ScoreRule;
    readonly extractor?: ExtractorInfo;
    readonly keepCalibration?: boolean;
    readonly keepGenerations?: number;
    readonly fitBytes?: number;
    readonly fitPatches?: number;
    /** In place of a folder of its own. */
    readonly modelsDir?: string;
  } = {},
) {
  const modelsDir = changes.modelsDir ?? mkdtempSync(join(tmpdir(), 'okng-inspection-'));
  const models = createModelStore(modelsDir, { quietMs: 0, keep: changes.keepGenerations ?? 3 });
  const datasets = createDatasetStore(modelsDir);
  const recipes = createRecipeStore(modelsDir);
  const vision = toyVision(modelsDir);
  const turns = createTurns();
  const stop = new AbortController();
  const indexEvents: string[] = [];
  const damageEvents: (number | null)[] = [];
  const memories = createKnownMemories(
    { vision, models, turns },
    {
      onIndexRebuilt: (_, state) => indexEvents.push(state),
      onIndexFailed: (_, error) => indexEvents.push(String(error)),
      onDamaged: (_, restored) => damageEvents.push(restored),
    },
  );
  const parts = {
    vision,
    models,
    datasets,
    recipes,
    duplicates: createDuplicateSearch(),
    memories,
    minOkSamples: 3,
    extractor: changes.extractor ?? toyExtractor,
    coresetRate: 0.5,
    positionBytes: 0,
    fitBytes: changes.fitBytes ?? 1e9,
    fitPatches: changes.fitPatches ?? 400_000,
    scoreRule: changes.scoreRule ?? { k: 1, mode: 'percentile', percentile: 100, sigmaPx: 1 },
    areaMm2Thr: 1,
    keepCalibration: changes.keepCalibration ?? false,
    driftWatch: createDriftWatch(),
    okngVersion: '0.0.0',
    fitting: new Map<string, string>(),
    turns,
    stop: stop.signal,
    now: () => new Date('2026-01-02T03:04:05Z'),
  } as const;
  const scoreParts = {
    ...parts,
    inspect: (request: InspectRequest, signal?: AbortSignal) => inspectImage(parts, request, signal),
  };
  return {
    parts,
    models,
    datasets,
    vision,
    memories,
    stop,
    indexEvents,
    damageEvents,
    /** The same use cases with some parts exchanged. */
    with: (others: { readonly scoreRule?: ScoreRule; readonly extractor?: ExtractorInfo }) => ({
      inspect: (request: Partial<InspectRequest> = {}) =>
        inspectImage({ ...parts, ...others }, inspectRequest(request)),
    }),
    fit: (request: Partial<FitRequest> = {}, hooks: FitHooks = {}) =>
      fitModel(parts, { key, mmPerPx: 1, pictures: [toyPicture(0, 30, 60, 90)], keepAll: true, ...request }, hooks),
    calibrate: (request: Partial<CalibrateRequest> = {}) =>
      calibrateModel(parts, {
        key,
        okScores: [0.1, 0.2],
        ngScores: [0.4],
        mmPerPx: null,
        areaMm2Thr: null,
        scorePercentile: 100,
        ...request,
      }),
    describe: (of = key) => describeModel(parts, of),
    upload: (request: Partial<UploadRequest> = {}, signal?: AbortSignal) =>
      uploadSamples(parts, { key, label: 'ok', pictures: [toyPicture(0, 30, 60, 90)], metas: [], ...request }, signal),
    list: (of = key) => listDataset(parts, of),
    calibrateDataset: (request: Partial<CalibrateDatasetRequest> = {}, hooks: DatasetHooks = {}) =>
      calibrateDataset(
        scoreParts,
        { key, defaultMmPerPx: null, requireNg: false, areaMm2Thr: null, scorePercentile: 100, ...request },
        hooks,
      ),
    inspectDataset: (request: Partial<InspectDatasetRequest> = {}, hooks: DatasetHooks = {}) =>
      inspectDataset(
        scoreParts,
        { key, labels: ['ok', 'ng'], includeHeatmap: false, defaultMmPerPx: null, ...request },
        hooks,
      ),
    review: (hooks: FitHooks = {}) => reviewDataset(parts, key, hooks),
    manage: {
      list: () => listModels(parts),
      generations: (of = key) => listGenerations(parts, of),
      rollBack: (generation: number, of = key) => rollBack(parts, of, generation),
    },
    recipes: {
      list: () => listRecipes(parts),
      find: (id: string) => findRecipe(parts, id),
      correct: (id: string, mmPerPx: number) => correctScale(parts, id, mmPerPx),
      remove: (id: string, force = false) => removeRecipe(parts, id, force),
    },
    inspect: async (request: Partial<InspectRequest> = {}, signal?: AbortSignal) => {
      const inspection = await inspectImage(parts, inspectRequest(request), signal);
      if (inspection.judged !== null) parts.driftWatch.observe(inspection.judged);
      return inspection;
    },
    /** Every file with its content, to see what changed. */
    files: (): Readonly<Record<string, string>> => {
      const names = readdirSync(modelsDir, { recursive: true }) as string[];
      const plain = names.filter((name) => statSync(join(modelsDir, name)).isFile()).sort();
      return Object.fromEntries(plain.map((name) => [name, readFileSync(join(modelsDir, name)).toString('base64')]));
    },
    remove: async () => {
      // A check of an index may still be writing.
      await memories.idle();
      rmSync(modelsDir, { recursive: true, force: true });
    },
  };
}

export type ToyService = ReturnType<typeof toyService>;

function inspectRequest(request: Partial<InspectRequest>): InspectRequest {
  return {
    key,
    mmPerPx: 1,
    picture: toyPicture(0, 30, 60, 100),
    shape: wholePicture,
    includeHeatmap: false,
    ...request,
  };
}
