import { rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Config } from './config.ts';
import { type DownloadedWeights, downloadWeights } from './downloads/download_weights.ts';
import { carryByHand, publishedWeights } from './downloads/published_weights.ts';
import { InspectionError } from './errors.ts';
import { embeddedExtractorInfo, embeddedExtractorName } from './extractors/embedded/embedded_extractor.ts';
import { type InstalledExtractor, listInstalledExtractors } from './extractors/installed_extractors.ts';
import { type ModelCard, modelCardSchema, parseModelCard } from './extractors/model_card.ts';
import { openOnnxExtractor } from './extractors/onnx_extractor.ts';
import { type BuiltVit, buildVitModel, type VitOrder } from './extractors/vit/build_vit_model.ts';
import { readVitWeights } from './extractors/vit/read_vit_weights.ts';
import { okngVersion } from './okng_version.ts';
import { ensureFolder, stageFiles } from './store/atomic_write.ts';

export { publishedWeightsNames } from './downloads/published_weights.ts';
export { type Precision, precisions } from './extractors/vit/build_vit_model.ts';

/** What `okng model` does: wires extractors and store, as `service.ts` does for the service. */

/** Where extractors are installed, inside the models folder. */
const extractorsFolder = 'extractors';
const cardFile = 'card.json';
/** What `fetch` leaves beside the model made of it, for other sizes and precisions. */
const weightsFile = 'model.safetensors';

/** One row of `okng model list`. */
export interface ListedModel {
  readonly name: string;
  readonly folder: string | null;
  readonly state: 'built in' | 'installed' | 'no model file' | 'unusable';
  readonly precision: string | null;
  readonly input: string | null;
  /** Columns of a patch embedding. */
  readonly width: number | null;
  readonly bytes: number | null;
  readonly problem: string | null;
}

/** What lies in the models folder, the embedded extractor first. Model files are not read. */
export async function listModels(modelsDir: string): Promise<readonly ListedModel[]> {
  const { installed, withoutWeights, broken } = await listInstalledExtractors(modelsDir);
  const embedded = embeddedExtractorInfo();
  return [
    {
      name: embedded.name,
      folder: null,
      state: 'built in',
      precision: 'fp32',
      input: sizeText(embedded.preprocessing),
      width: embedded.width,
      bytes: null,
      problem: null,
    },
    ...(await Promise.all(installed.map((found) => listed(found, 'installed')))),
    ...(await Promise.all(withoutWeights.map((found) => listed(found, 'no model file')))),
    ...broken.map(({ folder, problem }) => ({
      name: folder,
      folder,
      state: 'unusable' as const,
      precision: null,
      input: null,
      width: null,
      bytes: null,
      problem: problem.message,
    })),
  ];
}

async function listed({ cardPath, card }: InstalledExtractor, state: ListedModel['state']): Promise<ListedModel> {
  return {
    name: card.name,
    folder: basename(dirname(cardPath)),
    state,
    precision: card.made?.precision ?? null,
    input: sizeText(card.preprocessing),
    width: card.embeddingWidth,
    bytes: state === 'installed' ? (await stat(card.modelPath)).size : null,
    problem: null,
  };
}

function sizeText({ height, width }: { readonly height: number; readonly width: number }): string {
  return `${height} × ${width}`;
}

export interface AddOrder extends Omit<VitOrder, 'okngVersion' | 'name'> {
  /** Of the weights file. */
  readonly path: string;
  /** Of the extractor; null: the network's, such as `vit_small_patch14_dinov2.lvd142m`. */
  readonly name: string | null;
  /** Whether a model of this name may be replaced. */
  readonly replace: boolean;
}

export type AddedModel = Omit<BuiltVit, 'graph'> & { readonly bytes: number };

/**
 * Makes a graph of a published weights file and installs it.
 *
 * @throws InspectionError as {@link readVitWeights}, {@link buildVitModel} and {@link installModel}; nothing is installed then
 */
export async function addModel(
  modelsDir: string,
  order: AddOrder,
  onProgress?: (phase: string, done: number, total: number) => void,
): Promise<AddedModel> {
  const file = await readVitWeights(order.path);
  const name = order.name ?? file.variant.suggestedName;
  // A taken name is told before minutes are spent.
  await requireFreeName(modelsDir, name, order.replace);
  const { graph, ...built } = await buildVitModel(file, { ...order, name, okngVersion: okngVersion() }, onProgress);
  await installModel(modelsDir, { graph, card: built.card }, order.replace);
  return { ...built, bytes: graph.byteLength };
}

export type FetchOrder = Omit<AddOrder, 'path' | 'source'> & {
  /** What `publishedWeights` knows, such as `dinov2-small`. */
  readonly weights: string;
  readonly signal?: AbortSignal;
};

/**
 * Downloads published weights and installs the extractor made of them. What came before an interruption is kept and gone on
 * with at the next call.
 *
 * @throws InspectionError as `downloadWeights`, with how to do it by hand; as {@link addModel}
 */
export async function fetchModel(
  { modelsDir, modelMirror, proxies }: Pick<Config, 'modelsDir' | 'modelMirror' | 'proxies'>,
  { weights: name, signal, ...order }: FetchOrder,
  onProgress: (phase: string, done: number, total: number) => void = () => undefined,
): Promise<AddedModel & { readonly downloaded: DownloadedWeights }> {
  const weights = publishedWeights(name);
  await requireFreeName(modelsDir, order.name ?? weights.folder, order.replace);
  const downloaded = await downloadWeights({
    weights,
    modelsDir,
    now: new Date(),
    proxies,
    ...(modelMirror !== null && { mirror: modelMirror }),
    ...(signal !== undefined && { signal }),
    onProgress: (done, total) =>
      onProgress('download (MB)', Math.floor(done / 1e6), Math.ceil((total ?? weights.approximateBytes) / 1e6)),
  }).catch((error: unknown) => {
    if (!(error instanceof InspectionError) || error.code !== 'download_failed') throw error;
    const by = `${carryByHand(weights)} Then: okng model add ${weights.fileName}`;
    throw new InspectionError(error.code, `${error.message}\n${by}`, { cause: error });
  });
  const source = `${weights.page}, ${weights.fileName}`;
  const added = await addModel(
    modelsDir,
    { ...order, name: order.name ?? weights.folder, path: downloaded.path, source },
    onProgress,
  );
  return { ...added, downloaded };
}

/**
 * Puts a model under `<modelsDir>/extractors/<name>`. The card comes last: a model without a card is none, so that a power
 * cut leaves the old one, none, or the new one.
 *
 * @param replace whether a model of this name may be replaced; memories fitted with other weights must be fitted again
 * @throws InspectionError `invalid_config` when the name is taken, `storage_full`, `storage_unavailable`
 */
export async function installModel(
  modelsDir: string,
  { graph, card }: Pick<BuiltVit, 'graph' | 'card'>,
  replace: boolean,
): Promise<string> {
  await requireFreeName(modelsDir, card.name, replace);
  // Read as it will be: a card that we could not read later must not be written.
  parseModelCard(card, join(modelsDir, extractorsFolder, card.name, cardFile));
  const folder = await ensureFolder(modelsDir, [extractorsFolder, card.name]);
  const staged = await stageFiles(folder, [
    { name: card.file, bytes: graph },
    { name: cardFile, bytes: Buffer.from(`${JSON.stringify(card, null, 2)}\n`) },
  ]);
  await staged.commit([{ remove: cardFile }, { publish: card.file }, { publish: cardFile }]);
  return folder;
}

async function requireFreeName(modelsDir: string, name: string, replace: boolean): Promise<void> {
  if (!modelCardSchema.shape.name.safeParse(name).success) {
    throw new InspectionError(
      'invalid_config',
      `The name ${JSON.stringify(name.slice(0, 100))} is not usable: at most 100 letters, digits, ".", "_" and "-", the first a letter or digit.`,
    );
  }
  if (name === embeddedExtractorName || name === 'embedded') {
    throw new InspectionError('invalid_config', `The name ${name} belongs to okng itself; choose another (--name).`);
  }
  const { installed, withoutWeights } = await listInstalledExtractors(modelsDir);
  const taken = [...installed, ...withoutWeights].find(({ card }) => card.name === name);
  if (taken === undefined) return;
  const folder = basename(dirname(taken.cardPath));
  if (folder !== name) {
    throw new InspectionError(
      'invalid_config',
      `The name ${name} is used by the card in the folder extractors/${folder}; choose another (--name).`,
    );
  }
  if (replace || !installed.includes(taken)) return;
  throw new InspectionError(
    'invalid_config',
    `The extractor ${name} is installed already; choose another name (--name), or replace it (--replace): memories fitted with it must then be fitted again, unless the new file is the same.`,
  );
}

/**
 * Reads the whole model, compares its hash with the card's and runs one black picture.
 *
 * @throws InspectionError `extractor_not_found`, `invalid_model_card`
 */
export async function verifyModel(modelsDir: string, name: string, threads: number): Promise<ModelCard> {
  const { card } = await findModel(modelsDir, name);
  const extractor = await openOnnxExtractor(card, { threads });
  await extractor.dispose();
  return card;
}

/**
 * Removes an installed model: its card first, then its model file, the weights it was fetched with, and the folder if nothing
 * else is in it.
 *
 * @throws InspectionError `extractor_not_found`
 */
export async function removeModel(modelsDir: string, name: string): Promise<void> {
  const { cardPath, card } = await findModel(modelsDir, name);
  await rm(cardPath);
  const folder = dirname(cardPath);
  // A card may point at a file elsewhere, which is not ours to remove.
  if (dirname(card.modelPath) === folder) await rm(card.modelPath, { force: true });
  await rm(join(folder, weightsFile), { force: true });
  // Not empty: something that is not ours lies there too.
  await rmdir(folder).catch(() => undefined);
}

async function findModel(modelsDir: string, name: string): Promise<InstalledExtractor> {
  const { installed, withoutWeights, broken } = await listInstalledExtractors(modelsDir);
  const found = [...installed, ...withoutWeights].find(({ card }) => card.name === name);
  if (found !== undefined) return found;
  const unusable = broken.find(({ folder }) => folder === name);
  if (unusable !== undefined) throw unusable.problem;
  const names = installed.map(({ card }) => card.name);
  throw new InspectionError(
    'extractor_not_found',
    `There is no installed extractor ${name}; ${names.length === 0 ? 'none is installed' : `installed are ${names.join(', ')}`}.`,
  );
}
