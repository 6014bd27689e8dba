import { join } from 'node:path';
import { legacyFileBase, MODEL_FILE_SUFFIXES, modelFileBase, modelKeyFolder, recipeFolder } from './file_names.ts';

/** Which model is meant. Ids are as the contract checks them; `modelKey` is `roiId` unless the caller chose another. */
export interface ModelKey {
  readonly recipeId: string;
  readonly modelKey: string;
  readonly roleId: string;
  readonly roiId: string;
}

/** One place where a model's files may lie together. */
export interface ModelPlace {
  /** Folder names below the models folder; empty at its root. */
  readonly segments: readonly string[];
  readonly folder: string;
  /** What the names of the three files begin with. */
  readonly base: string;
  readonly npzPath: string;
  readonly indexPath: string;
  readonly calibrationPath: string;
}

export const RECIPES_FOLDER = 'recipes';
/** Beside the key folders of a recipe. */
export const DATASETS_FOLDER = 'datasets';
export const DEFAULT_RECIPE = 'default';

/** The place of files that begin with `base` in `modelsDir/segments…`. */
export function modelPlace(modelsDir: string, segments: readonly string[], base: string): ModelPlace {
  const folder = join(modelsDir, ...segments);
  return {
    segments,
    folder,
    base,
    npzPath: join(folder, base + MODEL_FILE_SUFFIXES.npz),
    indexPath: join(folder, base + MODEL_FILE_SUFFIXES.index),
    calibrationPath: join(folder, base + MODEL_FILE_SUFFIXES.calibration),
  };
}

/**
 * Where a model is written: the root for the default recipe with the default model_key, otherwise
 * `recipes/<recipe>/<model_key>/`.
 *
 * @throws InspectionError `invalid_value` for a recipe_id not in the contract's form or an id with a lone surrogate
 */
export function ownPlace(modelsDir: string, { recipeId, modelKey, roleId, roiId }: ModelKey): ModelPlace {
  const base = modelFileBase(roleId, roiId);
  const atRoot = recipeId === DEFAULT_RECIPE && modelKey === roiId;
  const segments = atRoot ? [] : [RECIPES_FOLDER, recipeFolder(recipeId), modelKeyFolder(modelKey)];
  return modelPlace(modelsDir, segments, base);
}

/**
 * Where a model may be read, in the contract's order and without repetition: its own place, then
 * `recipes/default/<model_key>/`, the root, and the oldest generation's name at the root.
 *
 * The first with a memory answers, and its index and calibration with it; none of the others is looked at.
 *
 * @param rawKeyFolders recipes in which the predecessor has left a folder named with the key as it is: read after the one
 *   that we write to
 * @throws InspectionError `invalid_value` as {@link ownPlace}
 */
export function candidatePlaces(
  modelsDir: string,
  key: ModelKey,
  rawKeyFolders: readonly string[] = [],
): readonly ModelPlace[] {
  const base = modelFileBase(key.roleId, key.roiId);
  const legacy = legacyFileBase(key.roleId, key.roiId);
  const inRecipe = (recipeId: string) => {
    const folders = [modelKeyFolder(key.modelKey), ...(rawKeyFolders.includes(recipeId) ? [key.modelKey] : [])];
    return folders.map((folder) => modelPlace(modelsDir, [RECIPES_FOLDER, recipeId, folder], base));
  };
  const places = [
    ownPlace(modelsDir, key),
    ...inRecipe(key.recipeId),
    ...inRecipe(DEFAULT_RECIPE),
    modelPlace(modelsDir, [], base),
    ...(legacy === undefined ? [] : [modelPlace(modelsDir, [], legacy)]),
  ];
  const seen = new Map(places.toReversed().map((place) => [place.npzPath, place]));
  return places.filter((place) => seen.get(place.npzPath) === place);
}

/** Whether a place is the key's folder in its own recipe, named with the key as it is: by the predecessor, where we would encode it. */
export function isNamedWithKey(
  { recipeId, modelKey }: ModelKey,
  { segments: [, recipe, folder] }: ModelPlace,
): boolean {
  return recipe === recipeId && folder === modelKey && folder !== modelKeyFolder(modelKey);
}

/** Whether an answer's place is the key's own, where we write or where the predecessor did: no other model answers from it. */
export function belongsTo(key: ModelKey, place: ModelPlace): boolean {
  const [, recipe, folder] = place.segments;
  return isNamedWithKey(key, place) || (recipe === key.recipeId && folder === modelKeyFolder(key.modelKey));
}
