import { z } from 'zod';
import { damagedFile, decodeJson, encodeJson } from './stored_file.ts';

export const RECIPE_FILE = 'recipe_meta.json';

/** `recipes/<recipe>/recipe_meta.json`. Keys we do not know are kept as they are. */
export interface RecipeFile {
  /** Millimetres per pixel of every picture of this recipe; absent until the first fit or upload succeeded. */
  readonly mm_per_px?: number | undefined;
  readonly [unknownKey: string]: unknown;
}

const recipeSchema = z.looseObject({ mm_per_px: z.number().positive().nullish() });

const SAME_SCALE_TOLERANCE = 1e-6;

/** Whether two scales are one value: they differ by no more than 1e-6 of the larger. Symmetric. */
export function sameScale(mmPerPx: number, otherMmPerPx: number): boolean {
  const larger = Math.max(Math.abs(mmPerPx), Math.abs(otherMmPerPx));
  return Math.abs(mmPerPx - otherMmPerPx) <= SAME_SCALE_TOLERANCE * larger;
}

/** @throws InspectionError `damaged_file`: not a JSON object, or mm_per_px is not a number > 0 (or null, as absent) */
export function decodeRecipe(bytes: Uint8Array, fileName: string): RecipeFile {
  const recipe = recipeSchema.safeParse(decodeJson(bytes, fileName));
  if (!recipe.success)
    throw damagedFile(fileName, "it must be an object whose 'mm_per_px' is a number > 0", recipe.error);
  return { ...recipe.data, mm_per_px: recipe.data.mm_per_px ?? undefined };
}

/** @throws InspectionError `internal_error` naming a number that is not finite */
export function encodeRecipe(recipe: RecipeFile): Uint8Array {
  return new TextEncoder().encode(`${encodeJson(recipe, 2)}\n`);
}
