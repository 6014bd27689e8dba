import { join } from 'node:path';
import { removeFolder, removeTempFolders } from './atomic_write.ts';
import { isRecipeFolder, recipeFolder } from './file_names.ts';
import { DEFAULT_RECIPE, RECIPES_FOLDER } from './places.ts';
import { RECIPE_FILE } from './recipe_file.ts';
import { listEntries, realFolder } from './stored_file.ts';

/**
 * Recipes as folders. Errors of every method: `damaged_file` when a recipe's folder is reached through a link, for it might
 * be another recipe's; `storage_full`, `storage_unavailable`.
 */
export interface RecipeStore {
  /** Every recipe that has a folder, and the default one; sorted. */
  list(): Promise<readonly string[]>;
  /** Files of the recipe's folder, those below as well, but for what the recipe itself is. Links are passed over. */
  countFiles(recipeId: string): Promise<number>;
  /**
   * Removes the recipe's folder with its models, calibrations, datasets and scale. Never reaches into another recipe, not
   * through a link either.
   *
   * @returns whether it was there
   */
  remove(recipeId: string): Promise<boolean>;
  /** Ends the removals that a killed process had begun; gives their number. */
  removeStaleFolders(): Promise<number>;
}

/** Touches nothing until a method is called; the folder need not exist. */
export function createRecipeStore(modelsDir: string): RecipeStore {
  const root = join(modelsDir, RECIPES_FOLDER);

  return {
    async list() {
      const folders = (await listEntries(root)).folders.filter(isRecipeFolder);
      return [...new Set([DEFAULT_RECIPE, ...folders])].sort();
    },
    async countFiles(recipeId) {
      const folder = await realFolder(modelsDir, [RECIPES_FOLDER, recipeFolder(recipeId)]);
      if (folder === undefined) return 0;
      const { files } = await listEntries(folder);
      return (await countBelow(folder)) - (files.includes(RECIPE_FILE) ? 1 : 0);
    },
    async remove(recipeId) {
      const folder = await realFolder(modelsDir, [RECIPES_FOLDER, recipeFolder(recipeId)]);
      return folder !== undefined && (await removeFolder(root, recipeFolder(recipeId)));
    },
    removeStaleFolders: () => removeTempFolders(root),
  };
}

async function countBelow(folder: string): Promise<number> {
  const { files, folders } = await listEntries(folder);
  let count = files.length;
  for (const name of folders) count += await countBelow(join(folder, name));
  return count;
}
