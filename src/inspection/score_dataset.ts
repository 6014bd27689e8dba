import { InspectionError } from '../errors.ts';
import type { ExtractorInfo } from '../extractors/extractor.ts';
import { resolveShape, type ShapeSpec } from '../patchcore/roi_mask.ts';
import type { SampleLabel } from '../store/dataset_names.ts';
import type { DatasetStore } from '../store/dataset_store.ts';
import { inParallel } from '../store/in_parallel.ts';
import type { ModelStore } from '../store/model_store.ts';
import type { ModelKey } from '../store/places.ts';
import { sha256Hex } from '../store/sha256.ts';
import type { FittedPicture } from '../workers/vision.ts';
import {
  isPictureFault,
  isStoredFault,
  type OpenedSample,
  openSample,
  type SampleRef,
  scaleOfSample,
} from './dataset_sample.ts';
import { type Inspection, type InspectRequest, requireMemory } from './inspect_image.ts';
import { type KnownMemories, type KnownMemory, replacedMeanwhile } from './known_memories.ts';
import { wholePicture } from './shape_text.ts';

/** How long work on a dataset tells of itself, and how it is ended. */
export interface DatasetHooks {
  readonly onProgress?: (step: 'samples', done: number, total: number) => void;
  /** Aborts when nobody waits any more: the work ends after the samples begun, and nothing is changed. */
  readonly signal?: AbortSignal | undefined;
}

export interface ScoreParts {
  readonly models: ModelStore;
  readonly datasets: DatasetStore;
  readonly memories: KnownMemories;
  readonly extractor: ExtractorInfo;
  /** Not watched for drift: these are no pictures from the line. */
  readonly inspect: (request: InspectRequest, signal?: AbortSignal) => Promise<Inspection>;
}

export interface ScoreRequest {
  readonly key: ModelKey;
  readonly labels: readonly SampleLabel[];
  /** For samples whose meta gives none, where the recipe has none either. */
  readonly defaultMmPerPx: number | null;
  readonly includeHeatmap: boolean;
  /** Score the samples that are in the memory as well, although that tells nothing of them. */
  readonly inspectKnown: boolean;
}

/** What became of one sample. */
export type SampleOutcome = SampleRef &
  (
    | {
        readonly kind: 'inspected';
        readonly inspection: Inspection;
        readonly mmPerPx: number;
        readonly inMemory: boolean;
      }
    /** It is in the memory. `leftOutScore` is what it would score if it were not; null: nobody has computed that. */
    | { readonly kind: 'in_memory'; readonly leftOutScore: number | null }
    | { readonly kind: 'failed'; readonly error: InspectionError }
  );

export interface DatasetScores {
  /** The one memory that all were scored with. */
  readonly known: KnownMemory;
  /** In the order of the labels, then by name. */
  readonly outcomes: readonly SampleOutcome[];
}

/** Samples under way at a time: one is decoded or drawn beside the network's. */
const underWay = 2;

/**
 * Scores the stored samples of a role and ROI, each with the shape and scale in its meta. Samples are told from one another
 * by their bytes, so the memory is known to hold one however it got there: from the dataset or posted.
 *
 * Cost: one pass of the network per sample; two pictures are held at a time.
 *
 * @throws InspectionError `memory_not_fitted`, `extractor_mismatch`, `damaged_file` of the memory; `not_ready` when it was
 *   replaced meanwhile; `request_aborted`, `shutting_down`
 */
export async function scoreDataset(
  parts: ScoreParts,
  request: ScoreRequest,
  { onProgress, signal }: DatasetHooks,
): Promise<DatasetScores> {
  const { key } = request;
  const known = await requireMemory(parts, key);
  const { memory } = known;
  const { mm_per_px: recipeScale = null } = await parts.models.readRecipe(key.recipeId);
  const byHash = new Map(memory.pictures.map((picture) => [picture.sha256, picture]));
  const stored = await parts.datasets.list(key);
  const samples = request.labels.flatMap((label) =>
    stored[label].map(({ name }): SampleRef => ({ label, filename: name })),
  );

  let done = 0;
  const outcomes = await inParallel(samples, underWay, async (sample): Promise<SampleOutcome> => {
    if (signal?.aborted === true)
      throw new InspectionError('request_aborted', 'The caller is gone; the work was given up.');
    const outcome = await scoreSample(sample);
    if (outcome.kind === 'inspected' && outcome.inspection.memoryId !== memory.memoryId) throw replacedMeanwhile();
    onProgress?.('samples', ++done, samples.length);
    return outcome;
  });
  return { known, outcomes };

  async function scoreSample(sample: SampleRef): Promise<SampleOutcome> {
    let opened: OpenedSample;
    let mmPerPx: number;
    try {
      opened = await openSample(parts.datasets, key, sample);
      mmPerPx = scaleOfSample(opened.meta, recipeScale, request.defaultMmPerPx);
    } catch (error) {
      if (isStoredFault(error)) return { ...sample, kind: 'failed', error };
      throw error;
    }
    const { bytes, shape } = opened;
    const picture = byHash.get(await sha256Hex(bytes));
    try {
      if (picture !== undefined && !request.inspectKnown) {
        return { ...sample, kind: 'in_memory', leftOutScore: sameRoi(picture, shape) ? picture.leftOutScore : null };
      }
      const inspection = await parts.inspect(
        {
          key,
          mmPerPx,
          picture: { name: sample.filename, bytes },
          shape: shape ?? wholePicture,
          includeHeatmap: request.includeHeatmap,
        },
        signal,
      );
      return { ...sample, kind: 'inspected', inspection, mmPerPx, inMemory: picture !== undefined };
    } catch (error) {
      if (isPictureFault(error)) return { ...sample, kind: 'failed', error };
      throw error;
    }
  }
}

/** A leave-one-out score is one of the ROI that the picture was fitted with. */
function sameRoi({ shape, size }: FittedPicture, other: ShapeSpec | null): boolean {
  const text = (of: ShapeSpec) => JSON.stringify(resolveShape(of, size));
  return text(shape) === text(other ?? wholePicture);
}
