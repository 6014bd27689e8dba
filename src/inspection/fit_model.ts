import { InspectionError } from '../errors.ts';
import type { ExtractorInfo } from '../extractors/extractor.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import type { ScoreMode } from '../patchcore/image_score.ts';
import { suspectPictures } from '../patchcore/leave_one_out.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import type { ModelStore } from '../store/model_store.ts';
import type { ModelKey, ModelPlace } from '../store/places.ts';
import type { FitPicture, FittedMemory, PreparedPicture, Vision } from '../workers/vision.ts';
import { calibrationState } from './calibration_state.ts';
import type { KnownMemories } from './known_memories.ts';
import { requireScale } from './recipe_scale.ts';
import type { ScoreRule } from './score_rule.ts';
import { wholePicture } from './shape_text.ts';
import type { Turns } from './turns.ts';

/** A picture as it was posted. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface FitRequest {
  readonly key: ModelKey;
  readonly mmPerPx: number;
  /** At least one good picture; their bytes are given away. */
  readonly pictures: readonly NamedBytes[];
  /** Keep every patch instead of a coreset. */
  readonly keepAll: boolean;
  /** Absent: the service's. */
  readonly scoreMode?: ScoreMode | undefined;
  /** The ROI that leave-one-out scores look at; absent: the whole picture. */
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
  readonly mmPerPx: number;
  readonly extractorName: string;
  readonly scoreMode: ScoreMode;
  /** Share of the distance by position; 0: the pictures show that places do not repeat, or too few pictures. */
  readonly positionWeight: number;
  /** What each picture would score if it were not in the memory; null where that was not computed. */
  readonly leftOut: readonly { readonly name: string; readonly score: number | null }[];
  /** Pictures posted as good that look bad among the others, worst first. */
  readonly suspects: readonly { readonly name: string; readonly score: number }[];
  /**
   * What became of a calibration made before: `stale` when it belongs to the memory that was replaced, `damaged` when its
   * file cannot be read. After both the model must be calibrated again.
   */
  readonly calibration: 'none' | 'kept' | 'stale' | 'damaged';
}

export interface FitHooks {
  /** `pictures` counts embedded pictures, `coreset` picks. */
  readonly onProgress?: (phase: 'pictures' | 'coreset', done: number, total: number) => void;
  /** Milliseconds as they are spent, by step. */
  readonly onStep?: (step: string, ms: number) => void;
  /** Aborts when nobody waits for the fit any more: it is given up between two steps and nothing is changed. */
  readonly signal?: AbortSignal | undefined;
}

export interface FitParts {
  readonly vision: Vision;
  readonly models: ModelStore;
  readonly memories: KnownMemories;
  readonly extractor: ExtractorInfo;
  readonly coresetRate: number;
  readonly positionBytes: number;
  readonly scoreRule: ScoreRule;
  readonly okngVersion: string;
  /** Models being fitted now, by place. */
  readonly fitting: Set<string>;
  readonly turns: Turns;
  /** Aborts when the service shuts down. */
  readonly stop: AbortSignal;
  readonly now: () => Date;
}

/**
 * Fits the memory of one role and ROI from good pictures. The model before it serves until the new one is complete; a
 * fit that fails changes nothing.
 *
 * Cost: one pass of the network per picture, then the coreset: patches · picks · width multiplications.
 *
 * @throws InspectionError `fit_in_progress`, `mm_per_px_conflict`, `no_images`, `unreadable_image` and the other codes of
 *   `images/` naming the picture, `shutting_down`, `storage_full`
 */
export async function fitModel(parts: FitParts, request: FitRequest, hooks: FitHooks = {}): Promise<FitReport> {
  const { models, extractor } = parts;
  const { key, mmPerPx } = request;
  if (request.pictures.length === 0) throw new InspectionError('no_images', 'A fit needs at least one good picture.');
  const place = models.ownPlace(key);
  if (parts.fitting.has(place.npzPath)) {
    throw new InspectionError(
      'fit_in_progress',
      `A fit of role ${JSON.stringify(key.roleId)} and ROI ${JSON.stringify(key.roiId)} is running; wait for its answer.`,
    );
  }
  parts.fitting.add(place.npzPath);
  try {
    await requireScale(models, key.recipeId, mmPerPx);
    const stop = hooks.signal === undefined ? parts.stop : AbortSignal.any([parts.stop, hooks.signal]);
    const pictures = await embedAll(parts, request.pictures, hooks, stop);
    const generation = await nextGeneration(parts, place);
    const coresetStarted = performance.now();
    const fitted = await parts.vision.fit(
      {
        pictures,
        scoreMode: request.scoreMode ?? parts.scoreRule.mode,
        scorePercentile: parts.scoreRule.percentile,
        sigmaPx: parts.scoreRule.sigmaPx,
        shape: request.shape ?? wholePicture,
        positionBytes: request.positions === false ? 0 : parts.positionBytes,
        grid: extractor.grid,
        coresetRate: request.keepAll ? 1 : parts.coresetRate,
        about: {
          format_version: 1,
          okng_version: parts.okngVersion,
          role_id: key.roleId,
          roi_id: key.roiId,
          recipe_id: key.recipeId,
          model_key: key.modelKey,
          extractor: extractor.name,
          fingerprint: extractor.fingerprint,
          input_size: { height: extractor.preprocessing.height, width: extractor.preprocessing.width },
          patch_size: extractor.patchSize,
          mm_per_px: mmPerPx,
          k: parts.scoreRule.k,
          score_percentile: parts.scoreRule.percentile,
          blur_sigma: parts.scoreRule.sigmaPx,
          generation,
          fitted_at_utc: parts.now().toISOString(),
        },
      },
      { onProgress: (done, total) => hooks.onProgress?.('coreset', done, total), signal: stop },
    );
    hooks.onStep?.('coreset', performance.now() - coresetStarted);

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
      mmPerPx,
      extractorName: extractor.name,
      scoreMode: request.scoreMode ?? parts.scoreRule.mode,
      positionWeight: fitted.positionWeight,
      leftOut: pictures.map(({ name }, i) => ({ name, score: fitted.leftOutScores[i] ?? null })),
      suspects: suspectsOf(pictures, fitted.leftOutScores),
      calibration,
    };
  } catch (error) {
    if (parts.stop.aborted && error instanceof InspectionError && error.code === 'request_aborted') throw abandoned();
    throw error;
  } finally {
    parts.fitting.delete(place.npzPath);
  }
}

function abandoned(): InspectionError {
  return new InspectionError(
    'shutting_down',
    'The service is shutting down; the fit was abandoned and nothing was changed.',
  );
}

/**
 * Embeds the pictures one after another: decoding of the next runs beside the network, and inspections that come in
 * meanwhile wait for one picture at most.
 */
async function embedAll(
  parts: FitParts,
  pictures: readonly NamedBytes[],
  hooks: FitHooks,
  stop: AbortSignal,
): Promise<readonly FitPicture[]> {
  const embedded: FitPicture[] = [];
  const prepare = (index: number): Promise<PreparedPicture> | null => {
    const picture = pictures[index];
    if (picture === undefined) return null;
    const prepared = parts.vision.prepare(picture.bytes, picture.name);
    // Awaited one turn later; until then a failure must not count as unhandled.
    prepared.catch(() => undefined);
    return prepared;
  };
  let next = prepare(0);
  while (next !== null) {
    if (parts.stop.aborted) throw abandoned();
    if (stop.aborted) throw new InspectionError('request_aborted', 'The caller is gone; the fit was given up.');
    const prepared = await next;
    next = prepare(embedded.length + 1);
    hooks.onStep?.('decode', prepared.decodeMs);
    hooks.onStep?.('prepare', prepared.prepareMs);
    const { size, frame, brightness } = prepared;
    const { embeddings, extractMs } = await parts.vision.embed(prepared);
    hooks.onStep?.('extract', extractMs);
    const { name } = pictures[embedded.length] as NamedBytes;
    embedded.push({ name, size, frame, brightness, embeddings });
    hooks.onProgress?.('pictures', embedded.length, pictures.length);
  }
  return embedded;
}

function suspectsOf(
  pictures: readonly FitPicture[],
  leftOutScores: readonly (number | null)[],
): readonly { readonly name: string; readonly score: number }[] {
  const scored = pictures.flatMap(({ name }, i) => {
    const score = leftOutScores[i] ?? null;
    return score === null ? [] : [{ name, score }];
  });
  const suspects = suspectPictures(scored.map(({ score }) => score));
  return suspects.map((index) => scored[index] as (typeof scored)[0]);
}

/** Counts the fits of a place; a memory that is there but cannot be read was one of them. */
async function nextGeneration({ memories }: FitParts, place: ModelPlace): Promise<number> {
  try {
    return ((await memories.at(place))?.memory.generation ?? 0) + 1;
  } catch (error) {
    if (error instanceof InspectionError && error.code === 'damaged_file') return 2;
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
        const calibration = await calibrationAfterFit(parts, staged.place, { memoryId: staged.memoryId, generation });
        await models.setRecipeMmPerPx(key.recipeId, mmPerPx, {
          done: 'The memory was replaced and answers from now on',
          commit: () => staged.commit(),
        });
        return calibration;
      });
    } finally {
      await staged.discard();
    }
  });
}

async function calibrationAfterFit(
  { models, extractor, scoreRule }: FitParts,
  place: ModelPlace,
  fitted: { readonly memoryId: string; readonly generation: number },
): Promise<FitReport['calibration']> {
  try {
    const calibration = await models.readCalibration(place);
    const state = calibrationState(calibration, { ...fitted, fingerprint: extractor.fingerprint }, scoreRule);
    return state === 'valid' ? 'kept' : state;
  } catch (error) {
    // The fit is done; a file that only a new calibration can mend is no reason to call it failed.
    if (error instanceof InspectionError && error.code === 'damaged_file') return 'damaged';
    throw error;
  }
}
