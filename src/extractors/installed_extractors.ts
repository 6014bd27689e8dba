import { access, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { InspectionError } from '../errors.ts';
import type { SessionOptions } from '../onnx/onnx_session.ts';
import { embeddedExtractorInfo, embeddedExtractorName, openEmbeddedExtractor } from './embedded/embedded_extractor.ts';
import type { Extractor, ExtractorInfo } from './extractor.ts';
import { describeModelCard, type ModelCard, missingWeights, readModelCard, withInputSize } from './model_card.ts';
import { openOnnxExtractor } from './onnx_extractor.ts';

/** What a worker thread needs to open an extractor; plain JSON. */
export type ExtractorSource =
  | { readonly kind: 'embedded' }
  | {
      readonly kind: 'onnx';
      /** Absolute. */
      readonly cardPath: string;
      /** Side of the square input in pixels, where it is not the card's own. */
      readonly inputSize?: number;
      /** Of the card when it was chosen: one edited since must not pass for it. */
      readonly fingerprint: string;
    };

/** An extractor that was chosen, not loaded. */
export interface ChosenExtractor {
  readonly source: ExtractorSource;
  /** `width` may be null: only loading tells. */
  readonly info: ExtractorInfo;
  /** What the people who run the service should know of the choice, or null. */
  readonly notice: string | null;
}

/** A card with its model file. */
export interface InstalledExtractor {
  readonly cardPath: string;
  readonly card: ModelCard;
}

/** What lies under `<modelsDir>/extractors`; every list in the order of the folders' names. */
export interface InstalledExtractors {
  readonly installed: readonly InstalledExtractor[];
  /** Cards whose model file is absent. */
  readonly withoutWeights: readonly InstalledExtractor[];
  /** Cards that cannot be used, and why. */
  readonly broken: readonly { readonly folder: string; readonly problem: InspectionError }[];
}

/** What users write for the embedded extractor; its own name does as well. */
const embedded = 'embedded';

/**
 * Looks for `<modelsDir>/extractors/<folder>/card.json`. Folders without a card are passed over, a missing
 * `extractors` folder means none. Model files are not read.
 *
 * A name used twice belongs to the first folder; the second is broken, as is a card that takes the embedded
 * extractor's name.
 */
export async function listInstalledExtractors(modelsDir: string): Promise<InstalledExtractors> {
  const root = join(resolve(modelsDir), 'extractors');
  const installed: InstalledExtractor[] = [];
  const withoutWeights: InstalledExtractor[] = [];
  const broken: { folder: string; problem: InspectionError }[] = [];
  const folderOf = new Map([
    [embedded, 'okng'],
    [embeddedExtractorName, 'okng'],
  ]);
  for (const folder of await foldersIn(root)) {
    const cardPath = join(root, folder, 'card.json');
    if (!(await exists(cardPath))) continue;
    try {
      const card = await readModelCard(cardPath);
      const owner = folderOf.get(card.name);
      if (owner !== undefined) {
        throw new InspectionError(
          'invalid_model_card',
          `The model card ${folder}/card.json has the name ${card.name}, which belongs to ${owner}; choose another name.`,
        );
      }
      folderOf.set(card.name, folder);
      ((await exists(card.modelPath)) ? installed : withoutWeights).push({ cardPath, card });
    } catch (problem) {
      if (!(problem instanceof InspectionError)) throw problem;
      broken.push({ folder, problem });
    }
  }
  return { installed, withoutWeights, broken };
}

/**
 * Chooses an extractor without loading it.
 *
 * @param wanted `embedded`, the name of an installed extractor, or the path of a model card (it ends in `.json` or
 *   contains a path separator). Absent: an installed DINOv2 (its name begins with `vit_` and contains `dinov2`; the
 *   small one first, then by name), else the embedded one
 * @param inputSize side of the square input in pixels instead of the card's own; the embedded extractor has one
 *   size, says so in `notice` and goes on
 * @throws InspectionError `extractor_not_found` with the names that are there; `invalid_model_card` when the wanted
 *   card is unusable; `invalid_config` when the input size does not fit
 */
export async function chooseExtractor(wish: {
  readonly modelsDir: string;
  readonly wanted?: string;
  readonly inputSize?: number;
}): Promise<ChosenExtractor> {
  const { wanted, inputSize } = wish;
  if (wanted === embedded || wanted === embeddedExtractorName) return chosenEmbedded(inputSize);
  if (wanted !== undefined && (wanted.endsWith('.json') || /[/\\]/.test(wanted))) {
    const cardPath = resolve(wanted);
    const card = await readModelCard(cardPath);
    if (!(await exists(card.modelPath))) throw new InspectionError('extractor_not_found', missingWeights(card));
    return chosenOnnx({ cardPath, card }, inputSize);
  }
  const found = await listInstalledExtractors(wish.modelsDir);
  if (wanted === undefined) {
    const best = bestDinov2(found.installed);
    return best === undefined ? chosenEmbedded(inputSize) : chosenOnnx(best, inputSize);
  }
  const match = found.installed.find(({ card }) => card.name === wanted);
  if (match !== undefined) return chosenOnnx(match, inputSize);
  throw notFound(wanted, found);
}

/**
 * Loads an extractor, with ONNX Runtime if this thread has not loaded it yet.
 *
 * @throws InspectionError as {@link openOnnxExtractor}; as {@link readModelCard} when the card changed meanwhile
 */
export async function openExtractor(source: ExtractorSource, options: SessionOptions): Promise<Extractor> {
  if (source.kind === 'embedded') return openEmbeddedExtractor(options);
  const { cardPath, inputSize, fingerprint } = source;
  const card = resized(await readModelCard(cardPath), inputSize);
  if (describeModelCard(card).fingerprint !== fingerprint) {
    throw new InspectionError(
      'invalid_model_card',
      `The model card of ${card.name} was changed after it was chosen; restart the service to use it.`,
    );
  }
  return openOnnxExtractor(card, options);
}

/** Lines that ran the predecessor have INPUT_SIZE set for its network; that must not keep this one from starting. */
function chosenEmbedded(inputSize: number | undefined): ChosenExtractor {
  const info = embeddedExtractorInfo();
  const own = info.preprocessing.height;
  const ignored =
    inputSize === undefined || inputSize === own
      ? null
      : `INPUT_SIZE ${inputSize} is ignored: the embedded extractor works at ${own} pixels only.`;
  return { source: { kind: 'embedded' }, info, notice: ignored };
}

function chosenOnnx({ cardPath, card }: InstalledExtractor, inputSize: number | undefined): ChosenExtractor {
  const info = describeModelCard(resized(card, inputSize));
  const { fingerprint } = info;
  return {
    source: { kind: 'onnx', cardPath, fingerprint, ...(inputSize !== undefined && { inputSize }) },
    info,
    notice: null,
  };
}

function resized(card: ModelCard, inputSize: number | undefined): ModelCard {
  return inputSize === undefined ? card : withInputSize(card, inputSize);
}

function bestDinov2(installed: readonly InstalledExtractor[]): InstalledExtractor | undefined {
  const rank = (name: string) => (name.startsWith('vit_small') ? 0 : 1);
  return installed
    .filter(({ card }) => card.name.startsWith('vit_') && card.name.includes('dinov2'))
    .sort(({ card: a }, { card: b }) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1))[0];
}

function notFound(wanted: string, { installed, withoutWeights, broken }: InstalledExtractors): InspectionError {
  const unfinished = withoutWeights.find(({ card }) => card.name === wanted);
  if (unfinished !== undefined) return new InspectionError('extractor_not_found', missingWeights(unfinished.card));
  const unusable = broken.find(({ folder }) => folder === wanted);
  if (unusable !== undefined) return unusable.problem;
  const names = [embedded, ...installed.map(({ card }) => card.name)];
  const cards = withoutWeights.map(({ card }) => card.name);
  return new InspectionError(
    'extractor_not_found',
    `There is no extractor ${wanted}. Installed: ${names.join(', ')}.${cards.length === 0 ? '' : ` Cards without model file: ${cards.join(', ')}.`}${broken.length === 0 ? '' : ` Unusable cards: ${broken.map(({ folder }) => folder).join(', ')}.`}`,
  );
}

async function foldersIn(root: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(root);
    return entries.sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new InspectionError(
      'extractor_not_found',
      'The folder "extractors" in the models folder cannot be read; check its access rights.',
      { cause: error },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
