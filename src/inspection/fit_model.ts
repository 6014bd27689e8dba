import { InspectionError } from '../errors.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import type { ScoreMode } from '../patchcore/image_score.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import type { DatasetStore } from '../store/dataset_store.ts';
import type { ReadMemory } from '../store/generations.ts';
import type { ModelStore } from '../store/model_store.ts';
import type { ModelKey, ModelPlace } from '../store/places.ts';
import type { FittedMemory } from '../workers/vision.ts';
import { calibrationState } from './calibration_state.ts';
import { type PictureSource, sampleSources } from './embed_pictures.ts';
import { type KnownMemories, readMemoryOf } from './known_memories.ts';
import {
  embedForFit,
  type FitHooks,
  type LearnParts,
  type LeftOutPicture,
  learnMemory,
  leftOutOf,
} from './learn_memory.ts';
import { requireScale } from './recipe_scale.ts';
import { wholePicture } from './shape_text.ts';
import type { Turns } from './turns.ts';

export type { FitHooks } from './learn_memory.ts';

/** A picture as it was posted. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface FitRequest {
  readonly key: ModelKey;
  readonly mmPerPx: number;
  /** At least one good picture; their bytes are given away. Null: the stored OK samples of this role and ROI. */
  readonly pictures: readonly NamedBytes[] | null;
  /** Keep every patch instead of a coreset. */
  readonly keepAll: boolean;
  /** Absent: the service's. */
  readonly scoreMode?: ScoreMode | undefined;
  /**
   * The ROI of every picture: patches outside stay out of the memory, and leave-one-out scores look inside. Absent: the whole
   * picture. A stored sample's own goes first.
   */
  readonly shape?: ShapeSpec | undefined;
  /** False: never compare by position, whatever the pictures say. */
  readonly positions?: boolean | undefined;
}

export interface FitReport {
  readonly pictures: number;
  readonly embeddings: number;
  readonly coresetSize: number;
  readonly grid: PatchGrid;
  readonly coresetRateRequested: number;
  readonly coresetRateApplied: number;
  /** What the coreset was chosen from when the patches were too many to be held at once; null: from every patch. */
  readonly thinned: { readonly patchesSeen: number; readonly patchesKept: number; readonly radius: number } | null;
  readonly mmPerPx: number;
  readonly extractorName: string;
  readonly scoreMode: ScoreMode;
  /** Share of the distance by position; 0: the pictures show that places do not repeat, or too few pictures. */
  readonly positionWeight: number;
  /** What each picture would score if it were not in the memory; null where that was not computed. */
  readonly leftOut: readonly { readonly name: string; readonly score: number | null }[];
  /** Pictures posted as good that look bad among the others, worst first. */
  readonly suspects: readonly LeftOutPicture[];
  /**
   * What became of a calibration made before: `stale` when it belongs to the memory that was replaced, `damaged` when its
   * file cannot be read. After both the model must be calibrated again.
   */
  readonly calibration: 'none' | 'kept' | 'stale' | 'damaged';
}

export interface FitParts extends LearnParts {
  readonly models: ModelStore;
  readonly datasets: DatasetStore;
  readonly memories: KnownMemories;
  /** Fewest stored OK samples for a fit from them. */
  readonly minOkSamples: number;
  /** The recipes of the models being fitted now, by place. */
  readonly fitting: Map<string, string>;
  readonly turns: Turns;
}

/**
 * Fits the memory of one role and ROI from good pictures. The model before it serves until the new one is complete; a
 * fit that fails changes nothing.
 *
 * Cost: one pass of the network per picture, then the coreset: patches · picks · width multiplications.
 *
 * @throws InspectionError `fit_in_progress`, `mm_per_px_conflict`, `no_images`, `insufficient_ok_samples`,
 *   `unreadable_image` and the other codes of `images/`, `empty_mask` and `invalid_shape` naming the picture,
 *   `request_aborted`, `shutting_down`, `storage_full`
 */
export async function fitModel(parts: FitParts, request: FitRequest, hooks: FitHooks = {}): Promise<FitReport> {
  const { models, extractor } = parts;
  const { key, mmPerPx } = request;
  const scoreMode = request.scoreMode ?? parts.scoreRule.mode;
  if (request.pictures?.length === 0) throw new InspectionError('no_images', 'A fit needs at least one good picture.');
  const place = await models.placeToFit(key);
  if (parts.fitting.has(place.npzPath)) {
    throw new InspectionError(
      'fit_in_progress',
      `A fit of role ${JSON.stringify(key.roleId)} and ROI ${JSON.stringify(key.roiId)} is running; wait for its answer.`,
    );
  }
  parts.fitting.set(place.npzPath, key.recipeId);
  try {
    await requireScale(models, key.recipeId, mmPerPx);
    const embedded = await embedForFit(
      parts,
      await sourcesOf(parts, request),
      request.keepAll ? 'all_in_memory' : 'thinned',
      hooks,
    );
    const { pictures } = embedded;
    const generation = await nextGeneration(parts, place);
    const positions = request.positions !== false;
    const order = { key, mmPerPx, embedded, keepAll: request.keepAll, scoreMode, positions, generation };
    const fitted = await learnMemory(parts, order, hooks);

    const writeStarted = performance.now();
    const calibration = await commit(parts, request, fitted, generation);
    hooks.onStep?.('write', performance.now() - writeStarted);
    return {
      pictures: pictures.length,
      embeddings: fitted.embeddings,
      coresetSize: fitted.coresetSize,
      grid: extractor.grid,
      coresetRateRequested: request.keepAll ? 1 : parts.coresetRate,
      coresetRateApplied: fitted.coresetRateApplied,
      thinned: fitted.thinned && {
        patchesSeen: fitted.thinned.patches_seen,
        patchesKept: fitted.thinned.patches_kept,
        radius: fitted.thinned.radius,
      },
      mmPerPx,
      extractorName: extractor.name,
      scoreMode,
      positionWeight: fitted.positionWeight,
      leftOut: pictures.map(({ name }, i) => ({ name, score: fitted.leftOutScores[i] ?? null })),
      suspects: leftOutOf(pictures, fitted).suspects,
      calibration,
    };
  } finally {
    parts.fitting.delete(place.npzPath);
  }
}

async function sourcesOf(
  { datasets, minOkSamples }: Pick<FitParts, 'datasets' | 'minOkSamples'>,
  { key, pictures, shape = wholePicture }: FitRequest,
): Promise<readonly PictureSource[]> {
  if (pictures !== null) return pictures.map(({ name, bytes }) => ({ name, open: async () => ({ bytes, shape }) }));
  const { ok } = await datasets.list(key);
  if (ok.length < minOkSamples) {
    throw new InspectionError(
      'insufficient_ok_samples',
      `Insufficient OK samples: ${ok.length} are stored for role ${JSON.stringify(key.roleId)} and ROI ${JSON.stringify(key.roiId)} in recipe ${JSON.stringify(key.recipeId)}, a fit from the dataset needs ${minOkSamples} (BDI_MIN_OK_SAMPLES); upload more with POST /datasets/ok/upload.`,
    );
  }
  return sampleSources(datasets, key, ok, shape);
}

/** Counts the memories of a place; one that is there but cannot be read was one of them. */
async function nextGeneration({ memories, models }: FitParts, place: ModelPlace): Promise<number> {
  const numbersOf = async (memory: ReadMemory | null) => (await models.generations.numbersOf(place, memory)).next;
  try {
    const known = await memories.at(place);
    return await numbersOf(known === null ? null : readMemoryOf(known));
  } catch (error) {
    if (error instanceof InspectionError && error.code === 'damaged_file') return Math.max(2, await numbersOf(null));
    throw error;
  }
}

/**
 * Makes the fit the one that answers; the scale is looked at again, because another fit may have set it meanwhile.
 * All reading and writing comes before the first file is replaced, so that a fit that is answered as failed changed nothing.
 */
async function commit(
  parts: FitParts,
  { key, mmPerPx }: FitRequest,
  fitted: FittedMemory,
  generation: number,
): Promise<FitReport['calibration']> {
  const { models } = parts;
  return await parts.turns.take(`recipe ${key.recipeId}`, async () => {
    await requireScale(models, key.recipeId, mmPerPx);
    const staged = await models.stageEncodedMemory(key, fitted.encoded);
    try {
      return await parts.turns.take(staged.place.npzPath, async () => {
        let calibration: FitReport['calibration'] = (await isCalibrationDamaged(parts, staged.place))
          ? 'damaged'
          : 'none';
        const memory = { memoryId: staged.memoryId, generation, fingerprint: parts.extractor.fingerprint };
        await models.setRecipeMmPerPx(key.recipeId, mmPerPx, {
          done: 'The memory was replaced and answers from now on',
          commit: () =>
            staged.commit((before) => {
              calibration = calibrationState(before, memory, parts.scoreRule) === 'valid' ? 'kept' : 'stale';
              return calibration === 'kept';
            }),
        });
        return calibration;
      });
    } finally {
      await staged.discard();
    }
  });
}

async function isCalibrationDamaged({ models }: FitParts, place: ModelPlace): Promise<boolean> {
  try {
    await models.readCalibration(place);
    return false;
  } catch (error) {
    // Only a new calibration can mend it: no reason to call the fit failed.
    if (error instanceof InspectionError && error.code === 'damaged_file') return true;
    throw error;
  }
}
