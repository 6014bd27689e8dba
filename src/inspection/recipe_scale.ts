import { InspectionError } from '../errors.ts';
import type { ModelStore } from '../store/model_store.ts';
import { sameScale } from '../store/recipe_file.ts';

/** Millimetres per pixel: from electron microscopes to satellites; outside, areas in mm² leave the numbers. */
export const scaleLimits = { minimum: 1e-9, maximum: 1e6 } as const;

/** Where nobody has said otherwise: the contract's default. */
export const defaultMmPerPx = 0.2;

/**
 * Holds a request to its recipe's scale. A recipe without one takes any.
 *
 * @throws InspectionError `mm_per_px_conflict` when the values differ by more than one part in a million
 */
export async function requireScale(models: ModelStore, recipeId: string, mmPerPx: number): Promise<void> {
  const { mm_per_px: scale } = await models.readRecipe(recipeId);
  if (scale === undefined || sameScale(scale, mmPerPx)) return;
  throw new InspectionError(
    'mm_per_px_conflict',
    `mm_per_px is ${mmPerPx}, but recipe ${JSON.stringify(recipeId)} works with ${scale}; send that value, or use another recipe for pictures of another scale.`,
  );
}
