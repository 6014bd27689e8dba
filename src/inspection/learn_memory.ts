import { setImmediate } from 'node:timers/promises';
import { InspectionError } from '../errors.ts';
import type { ExtractorInfo } from '../extractors/extractor.ts';
import type { ScoreMode } from '../patchcore/image_score.ts';
import { suspectPictures } from '../patchcore/leave_one_out.ts';
import {
  type CollectedPatches,
  createPatchCollection,
  type PatchCollectionOrder,
  patchRoom,
} from '../patchcore/patch_collection.ts';
import type { ModelKey } from '../store/places.ts';
import type { FitPicture, FittedMemory, Vision } from '../workers/vision.ts';
import { type EmbedHooks, embedPictures, type PictureSource } from './embed_pictures.ts';
import type { ScoreRule } from './score_rule.ts';

/** How long work tells of itself, and how it is ended. */
export interface FitHooks {
  /** `pictures` counts embedded pictures, `thinning` groups of their patches, `coreset` picks. */
  readonly onProgress?: (phase: 'pictures' | 'thinning' | 'coreset', done: number, total: number) => void;
  /** Milliseconds as they are spent, by step. */
  readonly onStep?: (step: string, ms: number) => void;
  /** Aborts when nobody waits for the fit any more: it is given up between two steps and nothing is changed. */
  readonly signal?: AbortSignal | undefined;
}

export interface LearnParts {
  readonly vision: Vision;
  readonly extractor: ExtractorInfo;
  readonly coresetRate: number;
  readonly positionBytes: number;
  /** What the patches of one fit may take. */
  readonly fitBytes: number;
  /** Patches that are held at once; beyond them, patches are thinned as they come. Infinity: never. */
  readonly fitPatches: number;
  readonly scoreRule: ScoreRule;
  readonly okngVersion: string;
  /** Aborts when the service shuts down. */
  readonly stop: AbortSignal;
  readonly now: () => Date;
}

/** Good pictures that have been embedded. */
export interface EmbeddedPictures {
  /** Without those that had a fault. */
  readonly pictures: readonly FitPicture[];
  readonly patches: CollectedPatches;
}

export interface LearnOrder {
  readonly key: ModelKey;
  readonly mmPerPx: number;
  /** At least one; their patches are given away. */
  readonly embedded: EmbeddedPictures;
  readonly keepAll: boolean;
  readonly scoreMode: ScoreMode;
  /** Compare by position where the pictures allow it. */
  readonly positions: boolean;
  readonly mostLeftOut?: number;
  /** Counts the fits of the model. */
  readonly generation: number;
}

/** What a picture would score if it were not in the memory. */
export interface LeftOutPicture {
  readonly name: string;
  readonly score: number;
}

/** What becomes of more patches than `fitPatches`: they are thinned; all are held; all are held and become the memory. */
export type Keeping = 'thinned' | 'all' | 'all_in_memory';

/**
 * How often a patch is held: a memory of all of them stands beside them once more, and in the bytes of its two files. A
 * coreset is a small part.
 */
const heldTimes: Readonly<Record<Keeping, number>> = { thinned: 1, all: 1, all_in_memory: 4 };

/**
 * Good pictures → their patch embeddings, one after another. Gives up between two when the caller or the service does.
 *
 * @param onFault takes what is wrong with one picture; absent: it ends the work
 * @throws InspectionError `invalid_value` for more pictures than may be held in memory; what `embedPictures` throws; `request_aborted`, `shutting_down`
 */
export async function embedForFit(
  parts: LearnParts,
  sources: readonly PictureSource[],
  keeping: Keeping,
  { onProgress, onStep, signal }: FitHooks,
  onFault?: EmbedHooks['onFault'],
): Promise<EmbeddedPictures> {
  const { vision, extractor, scoreRule, stop } = parts;
  const order = patchCounts(sources.length, keeping, parts);
  requireMemoryFor(order, keeping, parts);
  const requireWanted = () => {
    if (stop.aborted) throw abandoned();
    if (signal?.aborted === true)
      throw new InspectionError('request_aborted', 'The caller is gone; the fit was given up.');
  };
  const patches = createPatchCollection({
    ...order,
    thin: async (group, size) => {
      requireWanted();
      const started = performance.now();
      try {
        return await vision.thin(group, size, signal);
      } catch (error) {
        // What a shutdown ended was aborted as well.
        requireWanted();
        throw error;
      } finally {
        onStep?.('thinning', performance.now() - started);
      }
    },
    onThinning: (done, total) => onProgress?.('thinning', done, total),
    giveWay: setImmediate,
  });
  const pictures = await embedPictures({ vision, extractor, sigmaPx: scoreRule.sigmaPx }, sources, {
    onProgress: (done, total) => onProgress?.('pictures', done, total),
    onStep,
    onFault,
    onPatches: patches.add,
    requireWanted,
  });
  return { pictures, patches: patches.collected() };
}

type PatchCounts = Pick<PatchCollectionOrder, 'pictures' | 'cells' | 'mostPatches'>;

function patchCounts(pictures: number, keeping: Keeping, { extractor: { grid }, fitPatches }: LearnParts): PatchCounts {
  const mostPatches = keeping === 'thinned' ? fitPatches : Number.POSITIVE_INFINITY;
  return { pictures, cells: grid.rows * grid.cols, mostPatches };
}

/** Before the first picture is looked at: the system would end the whole service, in the middle of it. */
function requireMemoryFor(order: PatchCounts, keeping: Keeping, { extractor, fitBytes }: LearnParts): void {
  const { pictures, cells, mostPatches } = order;
  // Only the loaded model tells; those that `okng model add` makes say it on their card.
  if (extractor.width === null) return;
  const bytesEach = extractor.width * Float32Array.BYTES_PER_ELEMENT * heldTimes[keeping];
  const room = patchRoom(order);
  if (room * bytesEach <= fitBytes) return;
  const inMib = (bytes: number) => Math.ceil(bytes / (1024 * 1024));
  const enough = Math.floor(fitBytes / (bytesEach * cells));
  const advice = [
    'Choose fewer, as different as good parts are',
    ...(room === mostPatches ? [`lower BDI_FIT_PATCHES (${mostPatches})`] : []),
    ...(keeping === 'all_in_memory' ? ['fit without memory_fit'] : []),
  ];
  throw new InspectionError(
    'invalid_value',
    `${pictures} pictures take up to ${inMib(room * bytesEach)} MiB while they are learned, and BDI_FIT_MIB allows ${inMib(fitBytes)}: enough for ${enough} pictures. ${advice.join(', ')}, or raise it.`,
  );
}

/**
 * Patch embeddings → the files of a memory, not yet written.
 *
 * Cost: patches · picks · width multiplications. Holds the patches once, and three times the memory's own rows.
 *
 * @throws InspectionError `request_aborted`, `shutting_down`
 */
export async function learnMemory(parts: LearnParts, order: LearnOrder, hooks: FitHooks): Promise<FittedMemory> {
  const { extractor, scoreRule, stop } = parts;
  const { key } = order;
  const started = performance.now();
  try {
    const fitted = await parts.vision.fit(
      {
        ...order.embedded,
        mostLeftOut: order.mostLeftOut,
        scoreMode: order.scoreMode,
        scorePercentile: scoreRule.percentile,
        sigmaPx: scoreRule.sigmaPx,
        positionBytes: order.positions ? parts.positionBytes : 0,
        grid: extractor.grid,
        coresetRate: order.keepAll ? 1 : parts.coresetRate,
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
          mm_per_px: order.mmPerPx,
          k: scoreRule.k,
          score_percentile: scoreRule.percentile,
          blur_sigma: scoreRule.sigmaPx,
          generation: order.generation,
          fitted_at_utc: parts.now().toISOString(),
        },
      },
      {
        onProgress: (done, total) => hooks.onProgress?.('coreset', done, total),
        signal: hooks.signal === undefined ? stop : AbortSignal.any([stop, hooks.signal]),
      },
    );
    hooks.onStep?.('coreset', performance.now() - started);
    return fitted;
  } catch (error) {
    if (stop.aborted && error instanceof InspectionError && error.code === 'request_aborted') throw abandoned();
    throw error;
  }
}

function abandoned(): InspectionError {
  return new InspectionError(
    'shutting_down',
    'The service is shutting down; the fit was abandoned and nothing was changed.',
  );
}

/** The pictures that have a leave-one-out score, and those among them that look bad to the others, worst first. */
export function leftOutOf(
  pictures: readonly FitPicture[],
  { leftOutScores }: FittedMemory,
): { readonly scored: readonly LeftOutPicture[]; readonly suspects: readonly LeftOutPicture[] } {
  const scored = pictures.flatMap(({ name }, i) => {
    const score = leftOutScores[i] ?? null;
    return score === null ? [] : [{ name, score }];
  });
  const suspects = suspectPictures(scored.map(({ score }) => score)).map((index) => scored[index] as LeftOutPicture);
  return { scored, suspects };
}
