import { InspectionError } from '../errors.ts';
import type { DatasetStore, ListedDataset } from '../store/dataset_store.ts';
import type { ListedModel, ModelStore } from '../store/model_store.ts';
import { DEFAULT_RECIPE } from '../store/places.ts';
import type { RecipeStore } from '../store/recipe_store.ts';
import type { Turns } from './turns.ts';

/** A recipe and what it holds itself; what it would borrow from the default recipe is not among it. */
export interface Recipe {
  readonly recipeId: string;
  /** Null before its first fit or upload. */
  readonly mmPerPx: number | null;
  readonly models: readonly ListedModel[];
  readonly datasets: readonly ListedDataset[];
}

export interface RecipeParts {
  readonly recipes: RecipeStore;
  readonly models: ModelStore;
  readonly datasets: DatasetStore;
  /** The recipes of the models being fitted now, by place. */
  readonly fitting: ReadonlyMap<string, string>;
  readonly turns: Turns;
}

/** Every recipe, by name. @throws InspectionError `damaged_file` */
export async function listRecipes(parts: RecipeParts): Promise<readonly Recipe[]> {
  const models = await parts.models.list();
  const recipes: Recipe[] = [];
  for (const recipeId of await parts.recipes.list()) recipes.push(await recipeOf(parts, recipeId, models));
  return recipes;
}

/** @throws InspectionError `not_found`, `damaged_file` */
export async function findRecipe(parts: RecipeParts, recipeId: string): Promise<Recipe> {
  if (!(await parts.recipes.list()).includes(recipeId)) throw recipeNotFound(recipeId);
  return await recipeOf(parts, recipeId, await parts.models.list());
}

async function recipeOf(
  { models, datasets }: RecipeParts,
  recipeId: string,
  listed: readonly ListedModel[],
): Promise<Recipe> {
  return {
    recipeId,
    mmPerPx: (await models.readRecipe(recipeId)).mm_per_px ?? null,
    models: listed.filter((model) => model.recipeId === recipeId),
    datasets: await datasets.listDatasets(recipeId),
  };
}

/**
 * Corrects a recipe's scale, or gives it one before its first fit. Scores do not hang on it; areas in mm² are told in the new
 * scale from now on, those of stored samples as well.
 *
 * @returns the scale before; null: there was none, or its file was damaged
 */
export async function correctScale(
  { models, turns }: Pick<RecipeParts, 'models' | 'turns'>,
  recipeId: string,
  mmPerPx: number,
): Promise<number | null> {
  return await turns.take(`recipe ${recipeId}`, async () => {
    const before = await models.readRecipe(recipeId).catch((error: unknown) => {
      if (error instanceof InspectionError && error.code === 'damaged_file') return { mm_per_px: undefined };
      throw error;
    });
    await models.replaceRecipeMmPerPx(recipeId, mmPerPx);
    return before.mm_per_px ?? null;
  });
}

/**
 * Removes a recipe for good. The default recipe stays: the others fall back on its models.
 *
 * @param force also when it holds models, calibrations or samples
 * @throws InspectionError `not_found`, `recipe_in_use`, `fit_in_progress`, `damaged_file`
 */
export async function removeRecipe(parts: RecipeParts, recipeId: string, force: boolean): Promise<void> {
  if (recipeId === DEFAULT_RECIPE) {
    throw new InspectionError(
      'recipe_in_use',
      'The recipe "default" cannot be removed, because the others fall back on its models; clear its datasets and fit its models again, or correct its mm_per_px with PUT /recipes/default.',
    );
  }
  await parts.turns.take(`recipe ${recipeId}`, async () => {
    const files = await parts.recipes.countFiles(recipeId);
    if (files > 0 && !force) throw await inUse(parts, recipeId, files);
    if ([...parts.fitting.values()].includes(recipeId)) {
      throw new InspectionError(
        'fit_in_progress',
        `A fit in recipe ${JSON.stringify(recipeId)} is running; wait for its answer and send the request again.`,
      );
    }
    if (!(await parts.recipes.remove(recipeId))) throw recipeNotFound(recipeId);
  });
}

async function inUse(parts: RecipeParts, recipeId: string, files: number): Promise<InspectionError> {
  const models = (await parts.models.list()).filter((model) => model.recipeId === recipeId).length;
  const samples = (await parts.datasets.listDatasets(recipeId)).reduce(
    (sum, { counts }) => sum + counts.ok + counts.ng,
    0,
  );
  return new InspectionError(
    'recipe_in_use',
    `Recipe ${JSON.stringify(recipeId)} holds ${models} models and ${samples} samples (${files} files in all); send ?force=true to remove them with it.`,
  );
}

function recipeNotFound(recipeId: string): InspectionError {
  return new InspectionError(
    'not_found',
    `There is no recipe ${JSON.stringify(recipeId)}; GET /recipes lists those there are.`,
  );
}
