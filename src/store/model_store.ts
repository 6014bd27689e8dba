import { basename, join } from 'node:path';
import { InspectionError } from '../errors.ts';
import { ensureFolder, errnoOf, removeStaleTemps, stageFiles, writeFileAtomically } from './atomic_write.ts';
import type { CalibrationFile } from './calibration_file.ts';
import { decodeFlatL2, encodeFlatL2 } from './faiss_file.ts';
import {
  idsOfModelFileBase,
  isRawKeyFolder,
  isRecipeFolder,
  MODEL_FILE_SUFFIXES,
  modelKeyOfFolder,
  recipeFolder,
} from './file_names.ts';
import {
  createGenerations,
  GENERATIONS_FOLDER,
  type GenerationOptions,
  type Generations,
  readBeside,
} from './generations.ts';
import { withLock } from './model_lock.ts';
import { type EncodedMemory, readModelMemory, type StoredMemory } from './model_memory.ts';
import {
  candidatePlaces,
  DATASETS_FOLDER,
  DEFAULT_RECIPE,
  isNamedWithKey,
  type ModelKey,
  type ModelPlace,
  modelPlace,
  ownPlace,
  RECIPES_FOLDER,
} from './places.ts';
import { decodeRecipe, encodeRecipe, RECIPE_FILE, type RecipeFile, sameScale } from './recipe_file.ts';
import { fileStamp, listEntries, listFolder, readStoredFile, requireInside } from './stored_file.ts';

/** Where the answer for a key comes from, all of it. */
export interface LocatedModel {
  readonly place: ModelPlace;
  readonly hasMemory: boolean;
  /** Changes when anyone replaces the memory; undefined without one. Equal to the stamp of the memory read. */
  readonly stamp: string | undefined;
}

/** One memory's file at one moment: `stamp` changes whenever the file does. */
export interface MemoryAddress {
  readonly path: string;
  readonly stamp: string;
}

/** A memory written and synced, but not yet the one that answers. Commit or discard exactly once. */
export interface StagedMemory {
  readonly place: ModelPlace;
  readonly memoryId: string;
  /**
   * Makes the memory the one that answers. Its generation is written first. Then the old index goes, the npz is replaced,
   * and the new index appears, each synced before the next: a crash at any moment leaves the old memory or the new one,
   * each with its own calibration, and never an index beside a memory it was not made from. At worst the index is missing,
   * and a missing one is rebuilt.
   *
   * The calibration beside the npz is left as it is; its `memory_id` tells whose it is.
   *
   * @param keeps whether the calibration that counts until now counts for this memory as well; default: no
   * @throws InspectionError `storage_full`; `not_ready`; what is staged is removed
   */
  commit(keeps?: (calibration: CalibrationFile) => boolean): Promise<LocatedModel>;
  discard(): Promise<void>;
}

/** A change that a recipe's scale comes with. */
export interface ScaledChange {
  /** What is true when only the scale fails, as the beginning of a sentence: `The memory was replaced`. */
  readonly done: string;
  /** Publishes what is staged already; leaves the old state when it fails. */
  commit(): Promise<unknown>;
}

/** What {@link ModelStore.ensureIndex} found: `outdated` = the memory on disk is another by now, nothing done. */
export type IndexState = 'good' | 'was_missing' | 'was_damaged' | 'was_different' | 'outdated';

/** One memory found on disk. Ids are undefined where the name does not tell them (hashed, or the oldest generation). */
export interface ListedModel {
  readonly recipeId: string;
  readonly modelKey: string | undefined;
  readonly roleId: string | undefined;
  readonly roiId: string | undefined;
  readonly place: ModelPlace;
  readonly hasCalibration: boolean;
}

/**
 * Fitted models on disk. Readers never see half a file, whoever writes. Changes of one model come one after the
 * other, also those of other processes; the later one wins.
 *
 * Errors of every method: `damaged_file` and `storage_full` as named, `invalid_value` for ids that cannot be file names;
 * other file errors (permissions, a broken disk) come as Node gives them, with a path in their text: do not show it.
 */
export interface ModelStore {
  /** What the memories of a place have been, and which of them is live. */
  readonly generations: Omit<Generations, 'publish' | 'calibrate' | 'alone'>;
  /** The first candidate place that has a memory; without any the own place, where a calibration may lie. */
  locate(key: ModelKey): Promise<LocatedModel>;
  /** Where a model of this key is written, if nothing answers for it from elsewhere. */
  ownPlace(key: ModelKey): ModelPlace;
  /** Where a fit of this key writes: the own place, or the predecessor's folder of the same key while it answers. */
  placeToFit(key: ModelKey): Promise<ModelPlace>;
  /** The memory of one place at this moment; undefined without one. */
  address(place: ModelPlace): Promise<MemoryAddress | undefined>;
  /** See {@link readModelMemory}. Heavy for large banks (reads and hashes all of it). */
  readMemory(place: ModelPlace): Promise<StoredMemory>;
  /** Writes the files that `encodeMemory` made under temp names in {@link ModelStore.placeToFit}. */
  stageEncodedMemory(key: ModelKey, encoded: EncodedMemory): Promise<StagedMemory>;
  /** Compares the index with the bank and rewrites it from the bank unless equal. Heavy: reads the whole index. */
  ensureIndex(place: ModelPlace, memory: StoredMemory): Promise<IndexState>;
  /**
   * The calibration beside the place; undefined when there is none. Whose it is, its `memory_id` tells; the one of a memory
   * is told by {@link Generations.boundTo}.
   *
   * @throws InspectionError `damaged_file`
   */
  readCalibration(place: ModelPlace): Promise<CalibrationFile | undefined>;
  /** Replaces the calibration of the live memory, or of the place, as a whole. @see Generations.calibrate */
  writeCalibration(place: ModelPlace, calibration: CalibrationFile, stamp?: string): Promise<void>;
  /** Empty when the recipe has no file yet. @throws InspectionError `damaged_file` */
  readRecipe(recipeId: string): Promise<RecipeFile>;
  /**
   * Sets the recipe's scale unless it has one, together with the change it came with: the recipe's file is staged, then
   * `change` is committed, then the file is published. Whatever fails up to `change` leaves the scale as it was, and
   * nobody else sets one meanwhile. A crash leaves at worst the change without its scale, never a scale without its
   * change.
   *
   * @returns the value on disk, which may differ from `mmPerPx` by the tolerance
   * @throws InspectionError `mm_per_px_conflict` when the recipe has another value; `damaged_file`; what `change` throws.
   *   When only the publishing fails the text begins with `change.done`
   */
  setRecipeMmPerPx(recipeId: string, mmPerPx: number, change?: ScaledChange): Promise<number>;
  /** Sets the recipe's scale, whatever it was; a damaged file is made anew. @throws InspectionError `invalid_value`, `storage_full` */
  replaceRecipeMmPerPx(recipeId: string, mmPerPx: number): Promise<void>;
  /** Every memory at the root and in the recipes, sorted by place. Looks at names only. */
  list(): Promise<readonly ListedModel[]>;
  /** Removes what killed processes left, in every folder this store writes to. @see removeStaleTemps */
  removeStaleTemps(nowMs: number, olderThanMs: number): Promise<number>;
}

/**
 * Keeps models under `modelsDir` as section 3 of the contract says. Touches nothing until a method is called; the folder
 * need not exist.
 */
export function createModelStore(modelsDir: string, options: Partial<GenerationOptions> = {}): ModelStore {
  const generations = createGenerations(modelsDir, options);
  // One change of recipe files at a time: read, compare, write must not interleave.
  let recipeTurn: Promise<unknown> = Promise.resolve();
  function inTurn<T>(turn: () => Promise<T>): Promise<T> {
    // The turn before may have failed; that was its caller's to hear.
    const done = recipeTurn.then(turn, turn);
    recipeTurn = done;
    return done;
  }

  async function locate(key: ModelKey): Promise<LocatedModel> {
    const own = ownPlace(modelsDir, key);
    const located = await firstWithMemory([own]);
    if (located !== undefined) return located;
    const elsewhere = await firstWithMemory(candidatePlaces(modelsDir, key, await rawKeyFolders(modelsDir, key)));
    return elsewhere ?? { place: own, hasMemory: false, stamp: undefined };
  }

  async function placeToFit(key: ModelKey): Promise<ModelPlace> {
    const { place, hasMemory } = await locate(key);
    return hasMemory && isNamedWithKey(key, place) ? place : ownPlace(modelsDir, key);
  }

  async function firstWithMemory(places: readonly ModelPlace[]): Promise<LocatedModel | undefined> {
    for (const place of places) {
      await requireInside(modelsDir, place.npzPath);
      await requireInside(modelsDir, place.calibrationPath);
      const stamp = await fileStamp(place.npzPath);
      if (stamp !== undefined) return { place, hasMemory: true, stamp };
    }
    return undefined;
  }

  async function stageEncodedMemory(key: ModelKey, encoded: EncodedMemory): Promise<StagedMemory> {
    const { npz, index, memoryId, generation } = encoded;
    const place = await placeToFit(key);
    const npzName = basename(place.npzPath);
    const indexName = basename(place.indexPath);
    const staged = await stageFiles(await ensureFolder(modelsDir, place.segments), [
      { name: npzName, bytes: npz },
      { name: indexName, bytes: index },
    ]);
    return {
      place,
      memoryId,
      discard: staged.discard,
      async commit(keeps = () => false) {
        try {
          await generations.publish(place, {
            staged,
            steps: [{ remove: indexName }, { publish: npzName }, { publish: indexName }],
            npz,
            memoryId,
            generation,
            madeBy: 'fit',
            calibrationAfter: (before) => (before !== undefined && keeps(before) ? before : undefined),
          });
        } finally {
          await staged.discard();
        }
        // It is done, even where the disk does not let us look.
        return { place, hasMemory: true, stamp: await fileStamp(place.npzPath).catch(() => undefined) };
      },
    };
  }

  async function ensureIndex(place: ModelPlace, memory: StoredMemory): Promise<IndexState> {
    const state = await inspectIndex(place, memory);
    if (state === 'good') return state;
    const name = basename(place.indexPath);
    const folder = await ensureFolder(modelsDir, place.segments);
    const staged = await stageFiles(folder, [{ name, bytes: encodeFlatL2(memory.bank) }]);
    try {
      return await generations.alone(place, async () => {
        // A fit may have replaced the memory since it was read; an index of the old one must not appear beside the new.
        if ((await fileStamp(place.npzPath)) !== memory.stamp) return 'outdated';
        await staged.commit();
        return state;
      });
    } finally {
      await staged.discard();
    }
  }

  async function readRecipe(recipeId: string): Promise<RecipeFile> {
    const file = await readStoredFile(join(modelsDir, RECIPES_FOLDER, recipeFolder(recipeId), RECIPE_FILE));
    return file === undefined ? {} : decodeRecipe(file.bytes, RECIPE_FILE);
  }

  async function replaceRecipeInTurn(recipeId: string, mmPerPx: number): Promise<void> {
    requirePositive(mmPerPx);
    await lockedRecipe(recipeId, async (folder) => {
      const recipe = await readRecipe(recipeId).catch((error: unknown): RecipeFile => {
        if (error instanceof InspectionError && error.code === 'damaged_file') return {};
        throw error;
      });
      await writeFileAtomically(folder, { name: RECIPE_FILE, bytes: encodeRecipe({ ...recipe, mm_per_px: mmPerPx }) });
    });
  }

  async function setRecipeInTurn(recipeId: string, mmPerPx: number, change?: ScaledChange): Promise<number> {
    requirePositive(mmPerPx);
    if ((await readRecipe(recipeId)).mm_per_px !== undefined) return await keepScale(recipeId, mmPerPx, change);
    // Of all processes, one sets the first.
    return await lockedRecipe(recipeId, async (folder) => {
      const recipe = await readRecipe(recipeId);
      if (recipe.mm_per_px !== undefined) return await keepScale(recipeId, mmPerPx, change);
      return await setFirstScale(folder, recipe, { recipeId, mmPerPx, change });
    });
  }

  async function lockedRecipe<T>(recipeId: string, work: (folder: string) => Promise<T>): Promise<T> {
    const folder = await ensureFolder(modelsDir, [RECIPES_FOLDER, recipeFolder(recipeId)]);
    return await withLock(folder, RECIPE_FILE, () => work(folder), options.lock);
  }

  async function keepScale(recipeId: string, mmPerPx: number, change?: ScaledChange): Promise<number> {
    const { mm_per_px: scale = mmPerPx } = await readRecipe(recipeId);
    if (!sameScale(scale, mmPerPx)) {
      throw new InspectionError(
        'mm_per_px_conflict',
        `Recipe '${recipeId}' has mm_per_px ${scale}, this request says ${mmPerPx}. ` +
          'Send the same value, or use another recipe for another scale.',
      );
    }
    await change?.commit();
    return scale;
  }

  async function setFirstScale(
    folder: string,
    recipe: RecipeFile,
    { recipeId, mmPerPx, change }: { recipeId: string; mmPerPx: number; change: ScaledChange | undefined },
  ): Promise<number> {
    const bytes = encodeRecipe({ ...recipe, mm_per_px: mmPerPx });
    const staged = await stageFiles(folder, [{ name: RECIPE_FILE, bytes }]);
    try {
      await change?.commit();
    } catch (error) {
      await staged.discard();
      throw error;
    }
    try {
      await staged.commit();
    } catch (error) {
      throw change === undefined ? error : scaleNotSet(change, recipeId, mmPerPx, error);
    }
    return mmPerPx;
  }

  return {
    generations,
    locate,
    ownPlace: (key) => ownPlace(modelsDir, key),
    placeToFit,
    async address({ npzPath }) {
      const stamp = await fileStamp(npzPath);
      return stamp === undefined ? undefined : { path: npzPath, stamp };
    },
    readMemory: (place) => readModelMemory(place.npzPath),
    stageEncodedMemory,
    ensureIndex,
    readCalibration: readBeside,
    writeCalibration: generations.calibrate,
    readRecipe,
    setRecipeMmPerPx: (recipeId, mmPerPx, change) => inTurn(() => setRecipeInTurn(recipeId, mmPerPx, change)),
    replaceRecipeMmPerPx: (recipeId, mmPerPx) => inTurn(() => replaceRecipeInTurn(recipeId, mmPerPx)),
    list: () => listModels(modelsDir),
    async removeStaleTemps(nowMs, olderThanMs) {
      let removed = 0;
      for (const segments of await foldersOf(modelsDir)) {
        for (const folder of await withGenerationFolders(join(modelsDir, ...segments)))
          removed += await removeStaleTemps(folder, nowMs, olderThanMs);
      }
      return removed;
    },
  };
}

function requirePositive(mmPerPx: number): void {
  if (Number.isFinite(mmPerPx) && mmPerPx > 0) return;
  throw new InspectionError('invalid_value', `mm_per_px must be a finite number > 0, got ${mmPerPx}.`);
}

function scaleNotSet({ done }: ScaledChange, recipeId: string, mmPerPx: number, error: unknown): InspectionError {
  return new InspectionError(
    error instanceof InspectionError ? error.code : 'storage_unavailable',
    `${done}, but mm_per_px ${mmPerPx} of recipe '${recipeId}' could not be written (${errnoOf(error) ?? errnoOf((error as Error).cause) ?? 'see the log'}). ` +
      'Check the disk of the models folder and send the request again.',
    { cause: error },
  );
}

/** How the index of a place compares with a bank. Heavy: reads the whole index. Changes nothing. */
export async function inspectIndex(
  place: ModelPlace,
  { bank }: Pick<StoredMemory, 'bank'>,
): Promise<Exclude<IndexState, 'outdated'>> {
  const file = await readStoredFile(place.indexPath);
  if (file === undefined) return 'was_missing';
  try {
    const stored = decodeFlatL2(file.bytes, basename(place.indexPath));
    const sameShape = stored.rows === bank.rows && stored.cols === bank.cols;
    return sameShape && asBytes(stored.data).equals(asBytes(bank.data)) ? 'good' : 'was_different';
  } catch (error) {
    if (error instanceof InspectionError && error.code === 'damaged_file') return 'was_damaged';
    throw error;
  }
}

function asBytes({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** The recipes, of those a model may be read from, with a folder named with its key as it is: by their listings, never by its path. */
async function rawKeyFolders(modelsDir: string, { recipeId, modelKey }: ModelKey): Promise<readonly string[]> {
  if (!isRawKeyFolder(modelKey)) return [];
  const found: string[] = [];
  for (const recipe of [recipeId, DEFAULT_RECIPE]) {
    if ((await listEntries(join(modelsDir, RECIPES_FOLDER, recipe))).folders.includes(modelKey)) found.push(recipe);
  }
  return found;
}

/** The folders below `modelsDir` that models and recipes are written to: the root, each recipe, each key in it. */
async function foldersOf(modelsDir: string): Promise<string[][]> {
  const folders: string[][] = [[]];
  for (const recipe of (await listFolder(join(modelsDir, RECIPES_FOLDER))).filter(isRecipeFolder)) {
    folders.push([RECIPES_FOLDER, recipe]);
    for (const keyFolder of await listFolder(join(modelsDir, RECIPES_FOLDER, recipe))) {
      if (keyFolder !== DATASETS_FOLDER) folders.push([RECIPES_FOLDER, recipe, keyFolder]);
    }
  }
  return folders;
}

/** A folder of models and the folders of their generations. */
async function withGenerationFolders(folder: string): Promise<string[]> {
  const folders = [folder];
  const generations = join(folder, GENERATIONS_FOLDER);
  for (const base of (await listEntries(generations)).folders) {
    const ofModel = join(generations, base);
    const numbers = (await listEntries(ofModel)).folders;
    folders.push(ofModel, ...numbers.map((name) => join(ofModel, name)));
  }
  return folders;
}

async function listModels(modelsDir: string): Promise<ListedModel[]> {
  const models: ListedModel[] = [];
  for (const segments of await foldersOf(modelsDir)) {
    const [, recipeId = DEFAULT_RECIPE, keyFolder] = segments;
    // A recipe's own folder holds no models, only the folders of its keys.
    if (segments.length === 2) continue;
    const names = await listFolder(join(modelsDir, ...segments));
    const present = new Set(names);
    for (const name of names.filter((file) => file.endsWith(MODEL_FILE_SUFFIXES.npz))) {
      const base = name.slice(0, -MODEL_FILE_SUFFIXES.npz.length);
      const ids = idsOfModelFileBase(base);
      models.push({
        recipeId,
        modelKey: keyFolder === undefined ? ids?.roiId : modelKeyOfFolder(keyFolder),
        roleId: ids?.roleId,
        roiId: ids?.roiId,
        place: modelPlace(modelsDir, segments, base),
        hasCalibration: present.has(base + MODEL_FILE_SUFFIXES.calibration),
      });
    }
  }
  return models;
}
