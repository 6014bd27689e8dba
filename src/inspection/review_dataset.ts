import { InspectionError } from '../errors.ts';
import type { DatasetStore } from '../store/dataset_store.ts';
import type { DatasetKey } from '../store/sample_meta.ts';
import type { SampleRef } from './dataset_sample.ts';
import { sampleSources } from './embed_pictures.ts';
import {
  embedForFit,
  type FitHooks,
  type LearnParts,
  type LeftOutPicture,
  learnMemory,
  leftOutOf,
} from './learn_memory.ts';
import { wholePicture } from './shape_text.ts';

export interface ReviewedSample extends LeftOutPicture {
  /** It stands out from the others: is it good? */
  readonly suspect: boolean;
}

export interface DatasetReview {
  /** Most suspicious first: the name of each sample and what it would score if it were not learned. */
  readonly samples: readonly ReviewedSample[];
  /** Samples that could not be read. */
  readonly errors: readonly (SampleRef & { readonly error: string })[];
}

/**
 * Looks for bad pictures among the stored OK samples before they are learned: each is scored by what the others would make of
 * it. Learns them as a fit would, every sample scored, and throws the memory away; the model that serves stays as it is.
 *
 * Cost: that of a fit from the dataset, and for more than 60 samples a map for each of them. Holds every patch.
 *
 * @throws InspectionError `insufficient_ok_samples` for fewer than two that can be read; `invalid_value` for more than may be
 *   held in memory; `request_aborted`, `shutting_down`
 */
export async function reviewDataset(
  parts: LearnParts & { readonly datasets: DatasetStore },
  key: DatasetKey,
  hooks: FitHooks = {},
): Promise<DatasetReview> {
  const { ok } = await parts.datasets.list(key);
  requireTwo(ok.length, ok.length);
  const errors: DatasetReview['errors'][number][] = [];
  const sources = sampleSources(parts.datasets, key, ok, wholePicture);
  // To score a picture takes all its patches, and every picture is to be scored.
  const embedded = await embedForFit(parts, sources, 'all', hooks, (filename, { message }) =>
    errors.push({ label: 'ok', filename, error: message }),
  );
  const { pictures } = embedded;
  requireTwo(pictures.length, ok.length);
  const fitted = await learnMemory(
    parts,
    {
      key: { ...key, modelKey: key.roiId },
      mmPerPx: 1,
      embedded,
      keepAll: false,
      scoreMode: parts.scoreRule.mode,
      positions: true,
      mostLeftOut: Number.POSITIVE_INFINITY,
      generation: 1,
    },
    hooks,
  );
  const { scored, suspects } = leftOutOf(pictures, fitted);
  const standingOut = new Set(suspects.map(({ name }) => name));
  return {
    samples: scored
      .map((sample) => ({ ...sample, suspect: standingOut.has(sample.name) }))
      .sort((a, b) => b.score - a.score),
    errors,
  };
}

function requireTwo(readable: number, stored: number): void {
  if (readable >= 2) return;
  throw new InspectionError(
    'insufficient_ok_samples',
    `Insufficient OK samples: a review compares at least 2 with each other, ${stored} are stored and ${readable} can be read; upload more with POST /datasets/ok/upload.`,
  );
}
