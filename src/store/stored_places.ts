import { basename, join } from 'node:path';
import { errnoOf, isTempName, storageError } from './atomic_write.ts';
import { isSampleLabel, isSampleName, metaNameOf } from './dataset_names.ts';
import { disk } from './disk.ts';
import { isRecipeFolder, MODEL_FILE_SUFFIXES, modelKeyOfFolder } from './file_names.ts';
import { GENERATIONS_FOLDER } from './generations.ts';
import { DATASETS_FOLDER, DEFAULT_RECIPE, RECIPES_FOLDER } from './places.ts';
import { RECIPE_FILE } from './recipe_file.ts';

/** What every file of a models folder is, by its path alone. */

export type StoredKind =
  /** A memory, its index or its calibration: the live ones. */
  | 'model'
  | 'generation'
  | 'recipe'
  | 'picture'
  | 'meta'
  | 'audit'
  | 'extractor'
  | 'job'
  /** Of weights that are on their way. */
  | 'download';

/** Where the files of one model lie. */
export interface ModelPosition {
  /** Folders below the models folder. */
  readonly segments: readonly string[];
  readonly base: string;
}

export interface StoredFile {
  readonly kind: StoredKind;
  /** Its path, below the models folder. */
  readonly segments: readonly string[];
  /** Whose it is; null for what belongs to none. What lies at the root is the default one's. */
  readonly recipeId: string | null;
  /** Of `model` and `generation`. */
  readonly model: ModelPosition | null;
}

type Fits = (name: string) => boolean;

interface Layout {
  readonly kind: StoredKind;
  readonly path: readonly Fits[];
  /** How many folders lead to a model's; absent for what is no model's. */
  readonly modelDepth?: number;
}

const LONGEST_NAME_BYTES = 255;
const is =
  (expected: string): Fits =>
  (name) =>
    name === expected;
/** A name that stays where it is put, on every system. */
const plain: Fits = (name) =>
  /^[^./\\:\0][^/\\:\0]*$/.test(name) && basename(name) === name && Buffer.byteLength(name) <= LONGEST_NAME_BYTES;
/** The alphabet of every base: base64, the predecessor's oldest names, and hashes. */
const base: Fits = (name) => /^[A-Za-z0-9_~-]{1,243}$/.test(name);
const modelFile: Fits = (name) => baseOfModelFile(name) !== undefined;
const keyFolder: Fits = (name) => modelKeyOfFolder(name) !== undefined || /^~~[0-9a-f]{64}$/.test(name);
const generationName: Fits = (name) => /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/.test(name);
const picture: Fits = (name) => isSampleName(name) && Buffer.byteLength(name) <= LONGEST_NAME_BYTES;
const meta: Fits = (name) => name.endsWith('.json') && picture(`${name.slice(0, -'.json'.length)}.png`);
const download: Fits = (name) => plain(name) && /\.(part|part\.json|part\.lock|tmp)$/.test(name);
const dataset = [is(RECIPES_FOLDER), isRecipeFolder, is(DATASETS_FOLDER), base, isSampleLabel];
const keyed = [is(RECIPES_FOLDER), isRecipeFolder, keyFolder];
const generation = [is(GENERATIONS_FOLDER), base];

const layouts: readonly Layout[] = [
  { kind: 'model', path: [modelFile], modelDepth: 0 },
  { kind: 'model', path: [...keyed, modelFile], modelDepth: 3 },
  // One that was set aside may lie beside the numbers.
  { kind: 'generation', path: [...generation, generationName], modelDepth: 0 },
  { kind: 'generation', path: [...generation, generationName, generationName], modelDepth: 0 },
  { kind: 'generation', path: [...keyed, ...generation, generationName], modelDepth: 3 },
  { kind: 'generation', path: [...keyed, ...generation, generationName, generationName], modelDepth: 3 },
  { kind: 'recipe', path: [is(RECIPES_FOLDER), isRecipeFolder, is(RECIPE_FILE)] },
  { kind: 'picture', path: [...dataset, picture] },
  { kind: 'meta', path: [...dataset, meta] },
  { kind: 'audit', path: [is('audit'), plain] },
  { kind: 'job', path: [is('jobs'), plain] },
  { kind: 'download', path: [is('extractors'), download] },
  { kind: 'download', path: [is('extractors'), plain, download] },
  { kind: 'extractor', path: [is('extractors'), plain] },
  { kind: 'extractor', path: [is('extractors'), plain, plain] },
];

/** @param path relative, with `/`. @returns undefined where a models folder has no file */
export function storedFileOf(path: string): StoredFile | undefined {
  const segments = path.split('/');
  const layout = layouts.find((one) => one.path.length === segments.length && one.path.every(fitsOf(segments)));
  if (layout === undefined) return undefined;
  const { kind, modelDepth } = layout;
  const belongsToRecipe = modelDepth === 0 || segments[0] === RECIPES_FOLDER;
  return {
    kind,
    segments,
    recipeId: belongsToRecipe ? (modelDepth === 0 ? DEFAULT_RECIPE : (segments[1] as string)) : null,
    model: modelDepth === undefined ? null : modelOf(kind, segments, modelDepth),
  };
}

/** Whether a models folder may have this folder. */
export function isStoredFolder(segments: readonly string[]): boolean {
  return layouts.some(({ path }) => path.length > segments.length && segments.every((name, at) => path[at]?.(name)));
}

/** What the name of a live file begins with; undefined for other names. */
export function baseOfModelFile(name: string): string | undefined {
  for (const suffix of Object.values(MODEL_FILE_SUFFIXES)) {
    const found = name.endsWith(suffix) ? name.slice(0, -suffix.length) : '';
    if (base(found)) return found;
  }
  return undefined;
}

/** The picture's meta, where the picture lies. */
export function metaPathOf({ segments }: StoredFile): string {
  return [...segments.slice(0, -1), metaNameOf(segments.at(-1) as string)].join('/');
}

function fitsOf(segments: readonly string[]) {
  return (fits: Fits, at: number) => fits(segments[at] as string);
}

function modelOf(kind: StoredKind, segments: readonly string[], depth: number): ModelPosition {
  const name = kind === 'model' ? baseOfModelFile(segments[depth] as string) : segments[depth + 1];
  return { segments: segments.slice(0, depth), base: name as string };
}

/** What lies in a models folder. */
export type FoundEntry =
  | { readonly is: 'stored'; readonly path: string; readonly file: StoredFile }
  | { readonly is: 'folder'; readonly path: string }
  /** A file or a folder that is being written or removed, or was when a process ended; or a lock. */
  | { readonly is: 'temp'; readonly path: string }
  /** Neither a file nor a folder: links are not followed. */
  | { readonly is: 'special'; readonly path: string }
  /** A file or a folder that is none of a models folder's. It is not looked into. */
  | { readonly is: 'unknown'; readonly path: string };

/**
 * Everything in a models folder and in the folders it may have, each folder before what is in it, sorted by name; nothing
 * when there is none. Looks at names only; what is removed meanwhile may be among them.
 *
 * @throws InspectionError `storage_unavailable`
 */
export async function* entriesBelow(modelsDir: string, segments: readonly string[] = []): AsyncGenerator<FoundEntry> {
  for (const entry of await entriesOf(join(modelsDir, ...segments))) {
    const below = [...segments, entry.name];
    const path = below.join('/');
    if (isTempName(entry.name)) yield { is: 'temp', path };
    else if (entry.isDirectory() && isStoredFolder(below)) {
      yield { is: 'folder', path };
      yield* entriesBelow(modelsDir, below);
    } else if (entry.isFile() || entry.isDirectory()) {
      const file = entry.isFile() ? storedFileOf(path) : undefined;
      yield file === undefined ? { is: 'unknown', path } : { is: 'stored', path, file };
    } else yield { is: 'special', path };
  }
}

async function entriesOf(folder: string) {
  try {
    const entries = await disk.readdir(folder, { withFileTypes: true });
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw storageError(error);
  }
}
