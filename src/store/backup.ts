import { join } from 'node:path';
import { type ArchiveOrigin, type ArchiveWriter, beginArchive } from './archive.ts';
import { errnoOf } from './atomic_write.ts';
import { GENERATIONS_FOLDER } from './generations.ts';
import { withLock } from './model_lock.ts';
import { type OpenFile, openStoredFile } from './open_file.ts';
import { RECIPES_FOLDER } from './places.ts';
import { RECIPE_FILE } from './recipe_file.ts';
import { listEntries } from './stored_file.ts';
import { baseOfModelFile, entriesBelow, type ModelPosition, metaPathOf, type StoredFile } from './stored_places.ts';

export interface BackupOrder {
  readonly modelsDir: string;
  readonly origin: ArchiveOrigin;
  /** Whether installed extractors, with their weights, are to be in it. */
  readonly withExtractors: boolean;
  readonly onProgress?: (phase: string, done: number, total: number) => void;
}

/** What a backup holds, and what it left out. */
export interface BackupSummary {
  readonly files: number;
  /** Of the files. */
  readonly bytes: number;
  readonly models: number;
  readonly generations: number;
  readonly calibrations: number;
  readonly scales: number;
  readonly pictures: number;
  readonly audit_files: number;
  readonly extractor_files: number;
  /** Models and samples that were removed while the backup was made. */
  readonly removed_meanwhile: number;
  /** What a models folder has no place for, and links; below the models folder. */
  readonly passed_over: readonly string[];
  /** Files of extractors that were not asked for. */
  readonly extractor_files_left_out: number;
}

/**
 * Writes an archive of a models folder while others, of this process or another, go on changing it.
 *
 * - Each model is opened while its lock is held, for as long as that takes: its memory, index, calibration and newest
 *   generations belong together. What is read afterwards is what was opened. That is at most {@link mostOpenFiles}; older
 *   generations come one by one behind them, each whole or, where it was pruned meanwhile, not at all.
 * - A sample is there with its meta or not at all. An upload that is being published may be there in part.
 * - A recipe's scale is read after its models and samples: a scale is published after what it came with.
 * - The files of the audit end where they ended when they were opened.
 *
 * Temp files, locks, jobs and downloads are left out. Damaged files are copied as they are. Holds a megabyte of content at a
 * time, and about 500 bytes for each file.
 *
 * @param write takes all of the bytes before it returns
 * @throws InspectionError `not_ready` when another process keeps a model's lock; `storage_unavailable`, `storage_full` (a lock
 *   is a file); `invalid_value` for more files than an archive holds; what `write` throws
 */
export async function writeBackup(
  write: (bytes: Uint8Array) => Promise<void>,
  { modelsDir, origin, withExtractors, onProgress = () => undefined }: BackupOrder,
): Promise<BackupSummary> {
  const { models, recipes, byKind, passedOver } = await contentsOf(modelsDir);
  const metas = new Set(byKind('meta').map(({ segments }) => segments.join('/')));
  const copiedMetas = new Set<string>();
  const archive = await beginArchive(write, origin);
  const copy = copierOf(modelsDir, archive);
  let removed = 0;

  const totals = { models: models.length, pictures: byKind('picture').length };
  const done = { models: 0, pictures: 0 };
  for (const recipeId of recipes) {
    for (const { position } of models.filter((model) => model.recipeId === recipeId)) {
      if (!(await copy.model(position))) removed++;
      onProgress('models', ++done.models, totals.models);
    }
    for (const picture of byKind('picture').filter((file) => file.recipeId === recipeId)) {
      if (!(await copy.sample(picture, metas, copiedMetas))) removed++;
      onProgress('pictures', ++done.pictures, totals.pictures);
    }
    await copy.file([RECIPES_FOLDER, recipeId, RECIPE_FILE].join('/'), 'scales');
  }
  for (const { segments } of byKind('audit')) await copy.file(segments.join('/'), 'audit_files');
  const extractors = byKind('extractor');
  if (withExtractors) for (const { segments } of extractors) await copy.file(segments.join('/'), 'extractor_files');
  await archive.end();
  return {
    ...copy.counts(),
    removed_meanwhile: removed,
    passed_over: passedOver,
    extractor_files_left_out: withExtractors ? 0 : extractors.length,
  };
}

/** By names, at one moment. */
async function contentsOf(modelsDir: string) {
  const files = new Map<StoredFile['kind'], StoredFile[]>();
  const models = new Map<string, { readonly recipeId: string; readonly position: ModelPosition }>();
  const recipes = new Set<string>();
  const passedOver: string[] = [];
  for await (const entry of entriesBelow(modelsDir)) {
    if (entry.is === 'unknown' || entry.is === 'special') passedOver.push(entry.path);
    if (entry.is !== 'stored') continue;
    const { kind, recipeId, model } = entry.file;
    const alike = files.get(kind);
    if (alike === undefined) files.set(kind, [entry.file]);
    else alike.push(entry.file);
    if (recipeId !== null) recipes.add(recipeId);
    if (recipeId !== null && model !== null) {
      models.set([...model.segments, model.base].join('/'), { recipeId, position: model });
    }
  }
  const byKind = (kind: StoredFile['kind']): readonly StoredFile[] => files.get(kind) ?? [];
  return { models: [...models.values()], recipes: [...recipes].sort(), byKind, passedOver };
}

/** Of one model at once: a process may open few files (`ulimit -n`), and a model may have a thousand generations. */
export const mostOpenFiles = 24;

type Counted = 'models' | 'generations' | 'calibrations' | 'scales' | 'pictures' | 'audit_files' | 'extractor_files';

function copierOf(modelsDir: string, archive: ArchiveWriter) {
  const counted: Record<Counted, number> = {
    models: 0,
    generations: 0,
    calibrations: 0,
    scales: 0,
    pictures: 0,
    audit_files: 0,
    extractor_files: 0,
  };
  let files = 0;
  let bytes = 0;

  async function add(path: string, file: OpenFile, counts?: Counted): Promise<void> {
    await archive.add(path, file);
    files++;
    bytes += file.sizeBytes;
    if (counts !== undefined) counted[counts]++;
  }

  return {
    counts: () => ({ files, bytes, ...counted }),
    /** @returns whether it was there */
    async file(path: string, counts?: Counted): Promise<boolean> {
      return await withOpened(modelsDir, [path], async ([file]) => {
        await add(path, file as OpenFile, counts);
      });
    },
    /** @returns whether it was there */
    async model(position: ModelPosition): Promise<boolean> {
      const { opened, older } = await openModel(modelsDir, position);
      try {
        for (const { path, file, counts } of opened) await add(path, file, counts);
      } finally {
        await closeAll(opened.map(({ file }) => file));
      }
      for (const generation of older) {
        const paths = generation.map(({ path }) => path);
        await withOpened(modelsDir, paths, async (files) => {
          for (const [i, { path, counts }] of generation.entries()) await add(path, files[i] as OpenFile, counts);
        });
      }
      return opened.length > 0;
    },
    /**
     * @param metas every meta that was listed
     * @param copied metas that are in the archive: pictures that differ in their ending only share one
     * @returns whether picture and meta were there, or the picture where it had no meta
     */
    async sample(picture: StoredFile, metas: ReadonlySet<string>, copied: Set<string>): Promise<boolean> {
      const path = picture.segments.join('/');
      const meta = metaPathOf(picture);
      const paths = metas.has(meta) && !copied.has(meta) ? [path, meta] : [path];
      return await withOpened(modelsDir, paths, async ([pictureFile, metaFile]) => {
        if (metaFile !== undefined) {
          await add(meta, metaFile);
          copied.add(meta);
        }
        await add(path, pictureFile as OpenFile, 'pictures');
      });
    },
  };
}

/** Does the work when all of the files are there. @returns whether they were */
async function withOpened(
  modelsDir: string,
  paths: readonly string[],
  work: (files: readonly OpenFile[]) => Promise<void>,
): Promise<boolean> {
  const opened: OpenFile[] = [];
  try {
    for (const path of paths) {
      const file = await openStoredFile(join(modelsDir, path));
      if (file === undefined) return false;
      opened.push(file);
    }
    await work(opened);
    return true;
  } finally {
    await closeAll(opened);
  }
}

interface ModelFile {
  readonly path: string;
  readonly counts: Counted | undefined;
}

interface OpenModel {
  readonly opened: readonly (ModelFile & { readonly file: OpenFile })[];
  /** The files of each generation that was not opened. */
  readonly older: readonly (readonly ModelFile[])[];
}

/** The files of a model as they are at one moment; none when the model, or its recipe, was removed. */
async function openModel(modelsDir: string, position: ModelPosition): Promise<OpenModel> {
  const folder = join(modelsDir, ...position.segments);
  try {
    return await withLock(folder, position.base, async () => {
      for (;;) {
        const opened: (ModelFile & { readonly file: OpenFile })[] = [];
        const { together, older } = await modelFiles(modelsDir, position);
        try {
          for (const one of together) {
            const file = await openStoredFile(join(modelsDir, one.path));
            if (file !== undefined) opened.push({ ...one, file });
          }
        } catch (error) {
          await closeAll(opened.map(({ file }) => file));
          throw error;
        }
        // Less than was listed: its recipe is being removed, which takes no lock.
        if (opened.length === together.length) return { opened, older };
        await closeAll(opened.map(({ file }) => file));
      }
    });
  } catch (error) {
    // There is no folder to lock it in.
    if (errnoOf(error) === 'ENOENT' || errnoOf((error as Error).cause) === 'ENOENT') return { opened: [], older: [] };
    throw error;
  }
}

/** The live files with as many generations as may be open, the newest ones, and the files of each of the others. */
async function modelFiles(modelsDir: string, { segments, base }: ModelPosition) {
  const together: ModelFile[] = [];
  const { files: names } = await listEntries(join(modelsDir, ...segments));
  for (const name of names.filter((one) => baseOfModelFile(one) === base)) {
    const counts = name.endsWith('.npz') ? 'models' : name.endsWith('.json') ? 'calibrations' : undefined;
    together.push({ path: [...segments, name].join('/'), counts });
  }
  const generations = new Map<string, ModelFile[]>();
  const ofModel = [...segments, GENERATIONS_FOLDER, base];
  for await (const entry of entriesBelow(modelsDir, ofModel)) {
    if (entry.is !== 'stored') continue;
    const { path } = entry;
    const name = entry.file.segments[ofModel.length] as string;
    const file: ModelFile = { path, counts: path.endsWith('.npz') ? 'generations' : undefined };
    generations.set(name, [...(generations.get(name) ?? []), file]);
  }
  const older: ModelFile[][] = [];
  for (const [, files] of [...generations].sort(([a], [b]) => numberOf(b) - numberOf(a))) {
    if (older.length === 0 && together.length + files.length <= mostOpenFiles) together.push(...files);
    else older.push(files);
  }
  return { together, older };
}

/** What was set aside has none, and comes last. */
function numberOf(generation: string): number {
  return Number(generation) || 0;
}

async function closeAll(files: readonly OpenFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
