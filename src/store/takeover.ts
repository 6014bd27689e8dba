import { basename, join } from 'node:path';
import { ensureFolder, stageFiles, writeFileAtomically } from './atomic_write.ts';
import { type CalibrationFile, decodeCalibration } from './calibration_file.ts';
import { metaNameOf } from './dataset_names.ts';
import { createGenerations } from './generations.ts';
import { decodeMemory } from './model_memory.ts';
import { type ModelPlace, RECIPES_FOLDER } from './places.ts';
import { encodeRecipe, RECIPE_FILE, type RecipeFile } from './recipe_file.ts';
import { readStoredFile, realFolder } from './stored_file.ts';

/**
 * Writing what comes from another models folder. It is compared with what is there first, so that a second time changes
 * nothing and nothing is overwritten unasked.
 */

/** `free`: nothing would be overwritten. `same`: all of it is there. Otherwise what else is there, in words. */
export type Destination = 'free' | 'same' | { readonly taken: string };

/** A model's files as they will lie. */
export interface ModelFiles {
  readonly npz: Uint8Array;
  /** Made of the npz's rows. */
  readonly index: Uint8Array;
  readonly calibration: Uint8Array | undefined;
}

/** A sample's picture, and its meta where it has one. */
export interface SampleFiles {
  readonly name: string;
  readonly picture: Uint8Array;
  readonly meta: Uint8Array | undefined;
}

/** Compares a model with what lies at a place, byte by byte. The index is not looked at: it can be made again. */
export function modelDestination(
  { npzPath, calibrationPath }: ModelPlace,
  { npz, calibration }: Omit<ModelFiles, 'index'>,
): Promise<Destination> {
  return destinationOf(
    { path: npzPath, bytes: npz, word: 'memory' },
    { path: calibrationPath, bytes: calibration, word: 'calibration' },
  );
}

/** Compares a sample with what lies in a folder of samples, byte by byte. */
export function sampleDestination(folder: string, { name, picture, meta }: SampleFiles): Promise<Destination> {
  return destinationOf(
    { path: join(folder, name), bytes: picture, word: 'picture' },
    { path: join(folder, metaNameOf(name)), bytes: meta, word: 'meta' },
  );
}

interface Comparison<Bytes> {
  readonly path: string;
  readonly bytes: Bytes;
  readonly word: string;
}

/** A companion that stands alone counts as taken: it would speak of the file that appears beside it. */
async function destinationOf(
  file: Comparison<Uint8Array>,
  companion: Comparison<Uint8Array | undefined>,
): Promise<Destination> {
  const there = await readStoredFile(file.path);
  const companionThere = await readStoredFile(companion.path);
  if (there !== undefined && !equal(there.bytes, file.bytes)) return { taken: `another ${file.word} is there` };
  if (companion.bytes === undefined) {
    if (there !== undefined) return 'same';
    return companionThere === undefined ? 'free' : { taken: `a ${companion.word} without a ${file.word} is there` };
  }
  if (companionThere === undefined) return 'free';
  if (!equal(companionThere.bytes, companion.bytes)) return { taken: `another ${companion.word} is there` };
  return there === undefined ? 'free' : 'same';
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(b);
}

/**
 * Puts a model in a place as its newest generation, whatever was there. Index and calibration go first and come last, each
 * step synced: a crash leaves the old memory or the new one, each with its own calibration, and never an index or a
 * calibration beside a memory it was not made from. No generation is pruned here: how many are kept is the service's.
 *
 * @param files a memory and a calibration that can be read
 * @throws InspectionError `not_ready` when another process is changing the same model for too long
 * @throws InspectionError `storage_full`, `storage_unavailable`; `damaged_file` where a link leads out of the folder
 */
export async function writeModel(modelsDir: string, place: ModelPlace, files: ModelFiles): Promise<void> {
  const npz = basename(place.npzPath);
  const index = basename(place.indexPath);
  const calibration = basename(place.calibrationPath);
  const calibrations = files.calibration === undefined ? [] : [{ name: calibration, bytes: files.calibration }];
  const staged = await stageFiles(await ensureFolder(modelsDir, place.segments), [
    { name: npz, bytes: files.npz },
    { name: index, bytes: files.index },
    ...calibrations,
  ]);
  try {
    const { memoryId, metadata } = decodeMemory({ bytes: files.npz, stamp: '' }, npz);
    const given: CalibrationFile | undefined = files.calibration && decodeCalibration(files.calibration, calibration);
    await createGenerations(modelsDir, { keep: Number.POSITIVE_INFINITY }).publish(place, {
      staged,
      steps: [
        { remove: index },
        { remove: calibration },
        { publish: npz },
        { publish: index },
        ...calibrations.map(({ name }) => ({ publish: name })),
      ],
      npz: files.npz,
      memoryId,
      generation: metadata.generation ?? 1,
      madeBy: 'import',
      calibrationAfter: () => given,
    });
  } finally {
    await staged.discard();
  }
}

/**
 * Puts samples in a folder, whatever was there: metas first, so that no picture is ever seen without its meta.
 *
 * @throws InspectionError as {@link writeModel}, `damaged_file` for any link; what was published before a failure stays
 */
export async function writeSamples(
  modelsDir: string,
  segments: readonly string[],
  samples: readonly SampleFiles[],
): Promise<void> {
  // Pictures that differ in their ending only share a meta.
  const metas = new Map(samples.map(({ name, meta }) => [metaNameOf(name), meta]));
  const newMetas = [...metas].flatMap(([name, bytes]) => (bytes === undefined ? [] : [{ name, bytes }]));
  const pictures = samples.map(({ name, picture }) => ({ name, bytes: picture }));
  const made = await ensureFolder(modelsDir, segments);
  // A link, even one that stays inside, would lead to another recipe's samples.
  const folder = (await realFolder(modelsDir, segments)) ?? made;
  const staged = await stageFiles(folder, [...newMetas, ...pictures]);
  await staged.commit([
    ...[...metas].flatMap(([name, bytes]) => (bytes === undefined ? [{ remove: name }] : [])),
    { publish: newMetas.map(({ name }) => name) },
    { publish: pictures.map(({ name }) => name) },
  ]);
}

/** Writes the file of a recipe as a whole. @throws InspectionError as {@link writeModel} */
export async function writeRecipe(modelsDir: string, recipeId: string, recipe: RecipeFile): Promise<void> {
  const folder = await ensureFolder(modelsDir, [RECIPES_FOLDER, recipeId]);
  await writeFileAtomically(folder, { name: RECIPE_FILE, bytes: encodeRecipe(recipe) });
}
