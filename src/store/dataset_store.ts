import { join } from 'node:path';
import { InspectionError } from '../errors.ts';
import { ensureFolder, type NewFile, removeFiles, removeStaleTemps, stageFiles } from './atomic_write.ts';
import {
  createSampleNames,
  isOwnMetaName,
  isSampleLabel,
  isSampleName,
  metaNameOf,
  type NameSources,
  type SampleExtension,
  type SampleLabel,
  sampleLabels,
  systemNameSources,
} from './dataset_names.ts';
import { idsOfModelFileBase, isRecipeFolder, modelFileBase, recipeFolder } from './file_names.ts';
import { inParallel } from './in_parallel.ts';
import { DATASETS_FOLDER, RECIPES_FOLDER } from './places.ts';
import {
  type DatasetKey,
  decodeSampleMeta,
  defaultMeta,
  encodeSampleMeta,
  type Fingerprint,
  fingerprintIn,
  type SampleMeta,
} from './sample_meta.ts';
import { sha256Hex } from './sha256.ts';
import { fileFacts, findFile, listEntries, readStoredFile, realFolder } from './stored_file.ts';

/** Node has four threads for files; one stays free for those who want a single file meanwhile. */
const READERS = 3;
/** Folders (a role, ROI and label each) whose fingerprints are remembered: about 1.5 MB for one of 5,000 samples. */
const REMEMBERED_FOLDERS = 16;

/** A picture to keep, proven to be one. */
export interface NewSample {
  /** Stored as they are. Must not change before the samples are staged. */
  readonly bytes: Uint8Array;
  /** See `sampleExtension`. */
  readonly extension: SampleExtension;
  /** What the client said of it: any JSON values. */
  readonly meta: SampleMeta;
  /** Of what the picture shows, for the search of near duplicates. */
  readonly perceptual?: string | undefined;
}

/** Samples written and synced, but in no listing yet. Commit or discard exactly once. */
export interface StagedSamples {
  /** In the order of the samples. */
  readonly names: readonly string[];
  /**
   * Makes all of them visible; metas first, so that no sample is ever seen without its meta. A failure takes back what was
   * visible by then. A crash meanwhile leaves the first few or none, each whole.
   */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

/** One stored sample as its folder tells it. */
export interface SampleEntry {
  readonly name: string;
  readonly hasMeta: boolean;
  readonly sizeBytes: number;
}

/** One dataset of a recipe. */
export interface ListedDataset {
  /** Undefined where the folder's name does not tell them: it is a hash of long ids. */
  readonly roleId: string | undefined;
  readonly roiId: string | undefined;
  readonly counts: Readonly<Record<SampleLabel, number>>;
}

/** What scoring a sample needs. */
export interface StoredSample {
  readonly bytes: Uint8Array;
  readonly meta: SampleMeta;
  /** Set when the stored meta is damaged and `meta` therefore holds the defaults: one sentence that names the file. */
  readonly metaProblem: string | undefined;
}

/**
 * Pictures of good and bad parts, by recipe, role, ROI and label. Readers never see half a file, whoever writes, and
 * several processes may share the folder.
 *
 * A sample's name is what {@link DatasetStore.list} says, and may come from anyone: it is compared with what the folder
 * holds, letter for letter, and never followed through a link.
 *
 * Errors of every method: `invalid_value` for ids that cannot be file names; `storage_full`, `storage_unavailable`;
 * `damaged_file` when the dataset's folder is reached through a link: it might be another recipe's.
 */
export interface DatasetStore {
  /**
   * Writes new samples under temp names. They are stored under names of ours that nobody else uses.
   *
   * @throws InspectionError `invalid_value` when a meta cannot be written as JSON; nothing is left
   */
  stage(key: DatasetKey, label: SampleLabel, samples: readonly NewSample[]): Promise<StagedSamples>;
  /** Stages and commits: all of them or none. @returns their names, in the order of the samples */
  save(key: DatasetKey, label: SampleLabel, samples: readonly NewSample[]): Promise<readonly string[]>;
  /** Every sample, sorted by name (ours: by time). Reads no sample and no meta: their sizes cost most, some 20 µs each. */
  list(key: DatasetKey): Promise<Readonly<Record<SampleLabel, readonly SampleEntry[]>>>;
  /** The recipe's datasets that hold samples, sorted by folder. Looks at names only. */
  listDatasets(recipeId: string): Promise<readonly ListedDataset[]>;
  /** The picture as it was sent. @throws InspectionError `not_found` */
  read(key: DatasetKey, label: SampleLabel, name: string): Promise<Uint8Array>;
  /**
   * The sample's meta as it is stored; the defaults when it has none.
   *
   * @throws InspectionError `not_found` when there is no such picture, whether or not there is a meta; `damaged_file`
   */
  readMeta(key: DatasetKey, label: SampleLabel, name: string): Promise<SampleMeta>;
  /** Both, with the defaults in place of a damaged meta. @throws InspectionError `not_found` */
  readSample(key: DatasetKey, label: SampleLabel, name: string): Promise<StoredSample>;
  /**
   * The fingerprints in the metas, by name, sorted; samples without one (the predecessor's, damaged metas) are left out.
   * The first call reads every meta of the folder, later ones only new metas: those once read are taken to stay.
   */
  fingerprints(key: DatasetKey, label: SampleLabel): Promise<ReadonlyMap<string, Fingerprint>>;
  /** Removes the picture, then its meta, for good. @returns whether there was such a sample */
  remove(key: DatasetKey, label: SampleLabel, name: string): Promise<boolean>;
  /**
   * Removes every sample with its meta, and nothing else that lies there. A disk may need a ms and more to free each file,
   * so 5,000 samples can take ten seconds.
   *
   * @returns how many samples
   */
  clear(key: DatasetKey, label: SampleLabel): Promise<number>;
  /**
   * Removes what killed processes left in the datasets of every recipe: temps, and metas of ours without a picture.
   *
   * @param nowMs the present, in ms since 1970
   * @param olderThanMs younger files stay: they may belong to an upload in progress. 0 only for a caller that knows it is
   *   alone
   * @returns how many files were removed
   */
  removeStaleFiles(nowMs: number, olderThanMs: number): Promise<number>;
}

/**
 * Keeps datasets under `modelsDir` as section 3 of the contract says. Touches nothing until a method is called; the folder
 * need not exist.
 */
export function createDatasetStore(modelsDir: string, sources: NameSources = systemNameSources): DatasetStore {
  const newName = createSampleNames(sources);
  const rememberedIn = createFingerprintMemory();

  function existingFolder(key: DatasetKey, label: SampleLabel): Promise<string | undefined> {
    return realFolder(modelsDir, segmentsOf(key, label));
  }

  async function folderForWriting(key: DatasetKey, label: SampleLabel): Promise<string> {
    const folder = await ensureFolder(modelsDir, segmentsOf(key, label));
    return (await existingFolder(key, label)) ?? folder;
  }

  async function stage(key: DatasetKey, label: SampleLabel, samples: readonly NewSample[]): Promise<StagedSamples> {
    const createdAtMs = sources.nowMs();
    const pictures: NewFile[] = [];
    const metas: NewFile[] = [];
    for (const { bytes, extension, meta, perceptual } of samples) {
      const name = newName(extension);
      const defaults = defaultMeta(key, label, name, createdAtMs);
      const okng = { sha256: await sha256Hex(bytes), perceptual };
      pictures.push({ name, bytes });
      metas.push({ name: metaNameOf(name), bytes: encodeSampleMeta(defaults, meta, okng) });
    }
    // Metas last: between a meta's last write and its picture's appearance only the commit remains, which the sweep of
    // metas without pictures must not mistake for something left over.
    const staged = await stageFiles(await folderForWriting(key, label), [...pictures, ...metas]);
    const names = pictures.map(({ name }) => name);
    const steps = [{ publish: metas.map(({ name }) => name) }, { publish: names }];
    return { names, commit: () => staged.commit(steps, 'take_back'), discard: staged.discard };
  }

  async function find(key: DatasetKey, label: SampleLabel, name: string): Promise<FoundSample> {
    const folder = await existingFolder(key, label);
    const facts = folder !== undefined && isSampleName(name) ? await findFile(folder, name) : undefined;
    if (folder === undefined || facts === undefined) throw sampleNotFound({ key, label, name });
    return { key, label, name, folder, defaults: defaultMeta(key, label, name, facts.modifiedAtMs) };
  }

  async function fingerprints(key: DatasetKey, label: SampleLabel): Promise<ReadonlyMap<string, Fingerprint>> {
    const folder = await existingFolder(key, label);
    if (folder === undefined) return new Map();
    const entries = samplesAmong((await listEntries(folder)).files);
    const remembered = rememberedIn(folder);
    const present = new Set(entries.map(({ name }) => name));
    for (const name of remembered.keys()) if (!present.has(name)) remembered.delete(name);
    const unread = entries.filter(({ name, hasMeta }) => hasMeta && !remembered.has(name));
    await inParallel(unread, READERS, async ({ name }) => {
      const { meta } = await unlessDamaged(readMetaFile(folder, name));
      // A damaged meta may be restored, so it is read again the next time.
      if (meta !== undefined) remembered.set(name, fingerprintIn(meta));
    });
    const found = new Map<string, Fingerprint>();
    for (const { name } of entries) {
      const fingerprint = remembered.get(name);
      if (fingerprint !== undefined) found.set(name, fingerprint);
    }
    return found;
  }

  return {
    stage,
    async save(key, label, samples) {
      const staged = await stage(key, label, samples);
      await staged.commit();
      return staged.names;
    },
    async list(key) {
      const [ok = [], ng = []] = await Promise.all(
        sampleLabels.map(async (label) => entriesOf(await existingFolder(key, label))),
      );
      return { ok, ng };
    },
    async listDatasets(recipeId) {
      const root = await realFolder(modelsDir, [RECIPES_FOLDER, recipeFolder(recipeId), DATASETS_FOLDER]);
      if (root === undefined) return [];
      const { folders } = await listEntries(root);
      const datasets = await inParallel(folders, READERS, async (base): Promise<ListedDataset> => {
        const count = async (label: SampleLabel) =>
          (await listEntries(join(root, base, label))).files.filter(isSampleName).length;
        const ids = idsOfModelFileBase(base);
        return { roleId: ids?.roleId, roiId: ids?.roiId, counts: { ok: await count('ok'), ng: await count('ng') } };
      });
      return datasets.filter(({ counts }) => counts.ok + counts.ng > 0);
    },
    async read(key, label, name) {
      return readPicture(await find(key, label, name));
    },
    async readMeta(key, label, name) {
      const { folder, defaults } = await find(key, label, name);
      return (await readMetaFile(folder, name)) ?? defaults;
    },
    async readSample(key, label, name) {
      const found = await find(key, label, name);
      const bytes = await readPicture(found);
      const { meta = found.defaults, problem } = await unlessDamaged(readMetaFile(found.folder, name));
      return { bytes, meta, metaProblem: problem };
    },
    fingerprints,
    async remove(key, label, name) {
      const folder = await existingFolder(key, label);
      if (folder === undefined) return false;
      const { files } = await listEntries(folder);
      if (!files.includes(name) || !isSampleName(name)) return false;
      const removed = await removeFiles(folder, [name]);
      const meta = metaNameOf(name);
      const inUse = files.some((other) => other !== name && isSampleName(other) && metaNameOf(other) === meta);
      if (files.includes(meta) && !inUse) await removeFiles(folder, [meta]);
      return removed > 0;
    },
    async clear(key, label) {
      const folder = await existingFolder(key, label);
      if (folder === undefined) return 0;
      const entries = samplesAmong((await listEntries(folder)).files);
      const removed = await removeFiles(
        folder,
        entries.map(({ name }) => name),
      );
      await removeFiles(
        folder,
        entries.filter(({ hasMeta }) => hasMeta).map(({ name }) => metaNameOf(name)),
      );
      return removed;
    },
    async removeStaleFiles(nowMs, olderThanMs) {
      let removed = 0;
      for (const folder of await sampleFolders(modelsDir)) {
        removed += await removeStaleTemps(folder, nowMs, olderThanMs);
        removed += await removeLonelyMetas(folder, nowMs - olderThanMs);
      }
      return removed;
    },
  };
}

interface SampleAddress {
  readonly key: DatasetKey;
  readonly label: SampleLabel;
  readonly name: string;
}

interface FoundSample extends SampleAddress {
  readonly folder: string;
  readonly defaults: SampleMeta;
}

/** @throws InspectionError `invalid_value` as `ownPlace` of models does */
function segmentsOf({ recipeId, roleId, roiId }: DatasetKey, label: SampleLabel): readonly string[] {
  return [RECIPES_FOLDER, recipeFolder(recipeId), DATASETS_FOLDER, modelFileBase(roleId, roiId), label];
}

function sampleNotFound({ key, label, name }: SampleAddress): InspectionError {
  const { recipeId, roleId, roiId } = key;
  return new InspectionError(
    'not_found',
    `The ${label} samples of role_id ${JSON.stringify(roleId)}, roi_id ${JSON.stringify(roiId)} in recipe '${recipeId}' ` +
      `hold no file ${JSON.stringify(name.slice(0, 200))}. Ask for the list of samples and send a name from it.`,
  );
}

/** Which of a folder's regular files are samples, in the same order. */
function samplesAmong(files: readonly string[]): readonly Omit<SampleEntry, 'sizeBytes'>[] {
  const present = new Set(files);
  return files.filter(isSampleName).map((name) => ({ name, hasMeta: present.has(metaNameOf(name)) }));
}

async function entriesOf(folder: string | undefined): Promise<readonly SampleEntry[]> {
  if (folder === undefined) return [];
  const entries = await inParallel(samplesAmong((await listEntries(folder)).files), READERS, async (entry) => {
    const facts = await fileFacts(join(folder, entry.name));
    // Undefined when it was removed since the listing.
    return facts && { ...entry, sizeBytes: facts.sizeBytes };
  });
  return entries.filter((entry) => entry !== undefined);
}

/** @throws InspectionError `not_found` when it was removed since it was found */
async function readPicture(sample: FoundSample): Promise<Uint8Array> {
  const file = await readStoredFile(join(sample.folder, sample.name));
  if (file === undefined) throw sampleNotFound(sample);
  return file.bytes;
}

/** Undefined when the sample has no meta (a link is none). @throws InspectionError `damaged_file` */
async function readMetaFile(folder: string, sampleName: string): Promise<SampleMeta | undefined> {
  const metaName = metaNameOf(sampleName);
  const path = join(folder, metaName);
  const file = (await fileFacts(path)) && (await readStoredFile(path));
  return file && decodeSampleMeta(file.bytes, metaName);
}

/** The meta, or in words why it cannot be read. */
async function unlessDamaged(
  reading: Promise<SampleMeta | undefined>,
): Promise<{ readonly meta?: SampleMeta | undefined; readonly problem: string | undefined }> {
  try {
    return { meta: await reading, problem: undefined };
  } catch (error) {
    if (error instanceof InspectionError && error.code === 'damaged_file') return { problem: error.message };
    throw error;
  }
}

/** Every folder of samples of every recipe; links are passed over, so that a sweep stays inside. */
async function sampleFolders(modelsDir: string): Promise<readonly string[]> {
  const levels: readonly ((name: string) => boolean)[] = [
    (name) => name === RECIPES_FOLDER,
    isRecipeFolder,
    (name) => name === DATASETS_FOLDER,
    () => true,
    isSampleLabel,
  ];
  let folders: readonly string[] = [modelsDir];
  for (const fits of levels) {
    const below = await inParallel(folders, READERS, async (folder) =>
      (await listEntries(folder)).folders.filter(fits).map((name) => join(folder, name)),
    );
    folders = below.flat();
  }
  return folders;
}

/** What a crash between a commit's metas and its pictures leaves. Others' files without a picture are not ours to judge. */
async function removeLonelyMetas(folder: string, writtenBeforeMs: number): Promise<number> {
  const { files } = await listEntries(folder);
  const described = new Set(files.filter(isSampleName).map(metaNameOf));
  let removed = 0;
  for (const name of files.filter((file) => isOwnMetaName(file) && !described.has(file))) {
    const facts = await fileFacts(join(folder, name));
    if (facts !== undefined && facts.modifiedAtMs <= writtenBeforeMs) removed += await removeFiles(folder, [name]);
  }
  return removed;
}

/** What was read of each folder's metas, undefined for those without a fingerprint; the folders used last are kept. */
function createFingerprintMemory(): (folder: string) => Map<string, Fingerprint | undefined> {
  const memory = new Map<string, Map<string, Fingerprint | undefined>>();
  return (folder) => {
    const remembered = memory.get(folder) ?? new Map<string, Fingerprint | undefined>();
    memory.delete(folder);
    memory.set(folder, remembered);
    for (const oldest of memory.keys()) {
      if (memory.size <= REMEMBERED_FOLDERS) break;
      memory.delete(oldest);
    }
    return remembered;
  };
}
