import { join } from 'node:path';
import { isSampleLabel, isSampleName, metaNameOf, type SampleLabel } from './dataset_names.ts';
import {
  idsOfModelFileBase,
  isRecipeFolder,
  MODEL_FILE_SUFFIXES,
  modelKeyFolder,
  modelKeyOfFolder,
} from './file_names.ts';
import { GENERATIONS_FOLDER } from './generations.ts';
import { DATASETS_FOLDER, DEFAULT_RECIPE, type ModelPlace, modelPlace, RECIPES_FOLDER } from './places.ts';
import { RECIPE_FILE } from './recipe_file.ts';
import { listEntries, listFolder } from './stored_file.ts';

/** Ids as far as the names of files tell them; null where they do not. */
export interface FoundIds {
  readonly recipeId: string;
  readonly roleId: string | null;
  readonly roiId: string | null;
}

/** A memory's file and what lies beside it. */
export interface FoundModel extends FoundIds {
  readonly modelKey: string | null;
  readonly place: ModelPlace;
  /** The folders below a models folder where okng looks for it: not always those it was found in. */
  readonly segments: readonly string[];
  readonly hasIndex: boolean;
  readonly hasCalibration: boolean;
}

/** The samples of one label of a dataset. */
export interface FoundSamples extends FoundIds {
  readonly label: SampleLabel;
  readonly segments: readonly string[];
  /** Names of pictures, sorted, and whether a meta lies beside each. */
  readonly pictures: readonly { readonly name: string; readonly hasMeta: boolean }[];
}

/** What a models folder holds, by its names alone. Paths are relative to it, with `/`. */
export interface ModelsFolder {
  readonly models: readonly FoundModel[];
  /** Recipes with a `recipe_meta.json`. */
  readonly recipes: readonly string[];
  readonly samples: readonly FoundSamples[];
  /** What is none of these, and why it is not read. */
  readonly passedOver: readonly { readonly path: string; readonly reason: string }[];
}

/** No request can name it. */
const RESERVED_RECIPE = 'last';
const UNKNOWN = 'neither a model, a scale nor a dataset';
const EARLIER = 'earlier memories; the ones that answer are read';
const SPECIAL = 'a link or a special file; links are not followed';

/**
 * Looks at the names in a models folder of the predecessor, or of this service: its layouts are those of section 3 of the
 * contract. Reads no file and follows no link below `folder`.
 *
 * A key's folder with a name that okng would write differently is taken for the key itself.
 *
 * @throws InspectionError `storage_unavailable` when a folder cannot be read
 */
export async function readModelsFolder(folder: string): Promise<ModelsFolder> {
  const models: FoundModel[] = [];
  const recipes: string[] = [];
  const samples: FoundSamples[] = [];
  const passedOver: { path: string; reason: string }[] = [];
  const passOver = (segments: readonly string[], names: readonly string[], reason = UNKNOWN) => {
    for (const name of names) passedOver.push({ path: [...segments, name].join('/'), reason });
  };

  async function entriesOf(segments: readonly string[]) {
    const path = join(folder, ...segments);
    const [entries, names] = await Promise.all([listEntries(path), listFolder(path)]);
    const plain = new Set([...entries.files, ...entries.folders]);
    passOver(
      segments,
      names.filter((name) => !plain.has(name)),
      SPECIAL,
    );
    return entries;
  }

  function findModels(
    segments: readonly string[],
    files: readonly string[],
    recipeId: string,
    keyFolder?: string,
  ): void {
    const present = new Set(files);
    const { npz, index, calibration } = MODEL_FILE_SUFFIXES;
    const bases = files.filter((name) => name.endsWith(npz)).map((name) => name.slice(0, -npz.length));
    const key = keyFolder === undefined ? undefined : keyOf(keyFolder);
    const taken = new Set<string>();
    for (const base of bases) {
      for (const suffix of [npz, index, calibration]) taken.add(base + suffix);
      const ids = idsOfModelFileBase(base);
      // The oldest generation's names, which hold no ids, and shortened ones.
      if (ids === undefined && keyFolder !== undefined && !base.startsWith('~~')) {
        passOver(segments, [base + npz], 'a name without role and ROI, which is read at the root only');
        continue;
      }
      models.push({
        recipeId,
        roleId: ids?.roleId ?? null,
        roiId: ids?.roiId ?? null,
        modelKey: (keyFolder === undefined ? ids?.roiId : key) ?? null,
        place: modelPlace(folder, segments, base),
        segments: key === undefined ? segments : [...segments.slice(0, -1), modelKeyFolder(key)],
        hasIndex: present.has(base + index),
        hasCalibration: present.has(base + calibration),
      });
    }
    const left = files.filter((name) => !taken.has(name));
    const lonely = left.filter((name) => name.endsWith(index) || name.endsWith(calibration));
    passOver(segments, lonely, 'there is no memory beside it');
    passOver(
      segments,
      left.filter((name) => !lonely.includes(name)),
    );
  }

  async function findSamples(segments: readonly string[], recipeId: string): Promise<void> {
    const datasets = await entriesOf(segments);
    passOver(segments, datasets.files);
    for (const base of datasets.folders) {
      const ids = idsOfModelFileBase(base);
      if (ids === undefined && !base.startsWith('~~')) {
        passOver(segments, [base], 'its name tells no role and ROI');
        continue;
      }
      const labels = await entriesOf([...segments, base]);
      passOver([...segments, base], [...labels.files, ...labels.folders.filter((name) => !isSampleLabel(name))]);
      for (const label of labels.folders.filter(isSampleLabel)) {
        const below = [...segments, base, label];
        const { files, folders } = await entriesOf(below);
        const present = new Set(files);
        const pictures = files.filter(isSampleName).map((name) => ({ name, hasMeta: present.has(metaNameOf(name)) }));
        const known = new Set(pictures.flatMap(({ name }) => [name, metaNameOf(name)]));
        passOver(below, [...folders, ...files.filter((name) => !known.has(name))]);
        if (pictures.length > 0) {
          const { roleId = null, roiId = null } = ids ?? {};
          samples.push({ recipeId, roleId, roiId, label, segments: below, pictures });
        }
      }
    }
  }

  const root = await entriesOf([]);
  findModels([], root.files, DEFAULT_RECIPE);
  passOver(
    [],
    root.folders.filter((name) => name !== RECIPES_FOLDER && !isGenerations(name)),
  );
  passOver([], root.folders.filter(isGenerations), EARLIER);
  const underRecipes = root.folders.includes(RECIPES_FOLDER)
    ? await entriesOf([RECIPES_FOLDER])
    : { files: [], folders: [] };
  passOver([RECIPES_FOLDER], underRecipes.files);
  for (const recipeId of underRecipes.folders) {
    if (!isRecipeFolder(recipeId) || recipeId === RESERVED_RECIPE) {
      passOver([RECIPES_FOLDER], [recipeId], 'no request can name a recipe like this');
      continue;
    }
    const segments = [RECIPES_FOLDER, recipeId];
    const { files, folders } = await entriesOf(segments);
    if (files.includes(RECIPE_FILE)) recipes.push(recipeId);
    passOver(
      segments,
      files.filter((name) => name !== RECIPE_FILE),
    );
    for (const name of folders) {
      const below = [...segments, name];
      if (name === DATASETS_FOLDER) {
        await findSamples(below, recipeId);
        continue;
      }
      const entries = await entriesOf(below);
      passOver(
        below,
        entries.folders.filter((name) => !isGenerations(name)),
      );
      passOver(below, entries.folders.filter(isGenerations), EARLIER);
      findModels(below, entries.files, recipeId, name);
    }
  }
  return { models, recipes, samples, passedOver };
}

/** Undefined for the hashed form, which does not tell. */
function keyOf(keyFolder: string): string | undefined {
  return modelKeyOfFolder(keyFolder) ?? (keyFolder.startsWith('~') ? undefined : keyFolder);
}

function isGenerations(name: string): boolean {
  return name === GENERATIONS_FOLDER;
}
