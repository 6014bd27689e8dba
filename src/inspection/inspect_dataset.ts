import type { SampleLabel } from '../store/dataset_names.ts';
import type { ModelKey } from '../store/places.ts';
import type { SampleRef } from './dataset_sample.ts';
import type { Inspection } from './inspect_image.ts';
import { type DatasetHooks, type ScoreParts, scoreDataset } from './score_dataset.ts';

export interface InspectDatasetRequest {
  readonly key: ModelKey;
  readonly labels: readonly SampleLabel[];
  readonly includeHeatmap: boolean;
  /** For samples whose meta gives no scale, where the recipe has none either; null: 0.2. */
  readonly defaultMmPerPx: number | null;
}

export type InspectedSample = SampleRef &
  (
    | {
        readonly inspection: Inspection;
        readonly mmPerPx: number;
        /** The memory was fitted from this very picture, so its score is lower than that of its like. */
        readonly inMemory: boolean;
        readonly error: null;
      }
    | { readonly inspection: null; readonly error: string }
  );

/**
 * Inspects every stored sample of the labels with one and the same memory.
 *
 * @throws InspectionError as `scoreDataset`
 */
export async function inspectDataset(
  parts: ScoreParts,
  request: InspectDatasetRequest,
  hooks: DatasetHooks = {},
): Promise<readonly InspectedSample[]> {
  const { outcomes } = await scoreDataset(parts, { ...request, inspectKnown: true }, hooks);
  return outcomes.flatMap((outcome): readonly InspectedSample[] => {
    const { label, filename } = outcome;
    if (outcome.kind === 'failed') return [{ label, filename, inspection: null, error: outcome.error.message }];
    if (outcome.kind === 'in_memory') return [];
    const { inspection, mmPerPx, inMemory } = outcome;
    return [{ label, filename, inspection, mmPerPx, inMemory, error: null }];
  });
}
