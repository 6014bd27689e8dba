import { InspectionError } from '../errors.ts';
import { type PictureFormat, pictureFormat } from '../images/picture_format.ts';
import { type SampleLabel, sampleExtension, sampleLabels } from '../store/dataset_names.ts';
import type { DatasetStore, NewSample, SampleEntry } from '../store/dataset_store.ts';
import { inParallel } from '../store/in_parallel.ts';
import type { ModelStore } from '../store/model_store.ts';
import { sameScale } from '../store/recipe_file.ts';
import type { DatasetKey, SampleMeta } from '../store/sample_meta.ts';
import { sha256Hex } from '../store/sha256.ts';
import type { Vision } from '../workers/vision.ts';
import { type SampleRef, scaleInMeta } from './dataset_sample.ts';
import {
  type Copies,
  copiesOf,
  type DuplicateGroup,
  type DuplicateSearch,
  type Fingerprinted,
} from './duplicate_search.ts';
import type { NamedBytes } from './fit_model.ts';
import { requireScale } from './recipe_scale.ts';
import type { Turns } from './turns.ts';

export interface UploadRequest {
  readonly key: DatasetKey;
  readonly label: SampleLabel;
  /** At least one. */
  readonly pictures: readonly NamedBytes[];
  /** None, or one for each picture. */
  readonly metas: readonly SampleMeta[];
}

export interface Upload {
  /** The names the pictures are stored under, in their order. */
  readonly saved: readonly string[];
  /** The recipe's scale; null while it has none. */
  readonly mmPerPx: number | null;
  /** Those that were there already, or came twice in this upload. */
  readonly duplicates: readonly (SampleRef & Copies)[];
}

export interface DatasetListing {
  readonly classes: Readonly<Record<SampleLabel, readonly SampleEntry[]>>;
  readonly duplicates: readonly DuplicateGroup[];
}

export interface DatasetParts {
  readonly datasets: DatasetStore;
  readonly models: ModelStore;
  readonly vision: Pick<Vision, 'prove' | 'thumbnail'>;
  readonly duplicates: DuplicateSearch;
  readonly turns: Turns;
}

/** Pictures decoded at a time: inspections that come in meanwhile must not wait for a whole upload. */
const provenAtOnce = 2;

/**
 * Stores pictures as samples, all or none, after each has proved to be one; their bytes stay as they were sent. A scale in a
 * meta counts for the recipe: the first successful upload sets it.
 *
 * @throws InspectionError `missing_field` without pictures; `invalid_value` for metas of another number or a scale that is
 *   none; `mm_per_px_conflict`; the codes of `images/` naming the picture; `request_aborted`; `storage_full`
 */
export async function uploadSamples(
  { datasets, models, vision, turns }: Omit<DatasetParts, 'duplicates'>,
  { key, label, pictures, metas }: UploadRequest,
  signal?: AbortSignal,
): Promise<Upload> {
  if (pictures.length === 0) {
    throw new InspectionError('missing_field', 'The field images is missing; send at least one picture as a file.');
  }
  if (metas.length !== 0 && metas.length !== pictures.length) {
    throw new InspectionError(
      'invalid_value',
      `${metas.length} metas came with ${pictures.length} images; send none or one for each.`,
    );
  }
  const mmPerPx = oneScale(metas);
  if (mmPerPx !== null) await requireScale(models, key.recipeId, mmPerPx);

  const samples = await inParallel(
    pictures.map((picture, i) => ({ picture, meta: metas[i] ?? {} })),
    provenAtOnce,
    async ({ picture, meta }): Promise<NewSample> => {
      const { format, sketch } = await vision.prove(picture.bytes, picture.name, signal);
      return { bytes: picture.bytes, extension: sampleExtension(picture.name, format), meta, perceptual: sketch };
    },
  );
  const hashes = await inParallel(samples, provenAtOnce, ({ bytes }) => sha256Hex(bytes));
  const stored = await fingerprinted(datasets, key);

  const saved = await turns.take(`recipe ${key.recipeId}`, async () => {
    const staged = await datasets.stage(key, label, samples);
    if (mmPerPx === null) await staged.commit();
    else {
      try {
        await models.setRecipeMmPerPx(key.recipeId, mmPerPx, { done: 'The samples are stored', commit: staged.commit });
      } finally {
        await staged.discard();
      }
    }
    return staged.names;
  });
  const fresh = saved.map((filename, i): Fingerprinted => {
    const fingerprint = { sha256: hashes[i] as string, perceptual: samples[i]?.perceptual };
    return { label, filename, fingerprint };
  });
  const duplicates = fresh.map(({ filename, fingerprint }) => {
    const others = [...stored, ...fresh.filter((other) => other.filename !== filename)];
    return { label, filename, ...copiesOf(fingerprint, others) };
  });
  const { mm_per_px: recipeScale = null } = await models.readRecipe(key.recipeId);
  return {
    saved,
    mmPerPx: recipeScale,
    duplicates: duplicates.filter(({ exact, near }) => exact.length + near.length > 0),
  };
}

/** The scale that metas agree on; null where none gives one. */
function oneScale(metas: readonly SampleMeta[]): number | null {
  const scales = metas.flatMap((meta) => scaleInMeta(meta) ?? []);
  const [first = null] = scales;
  const other = scales.find((scale) => first !== null && !sameScale(scale, first));
  if (other === undefined) return first;
  throw new InspectionError(
    'mm_per_px_conflict',
    `The metas say mm_per_px ${first} and ${other}; a recipe works with one. Upload pictures of another scale to another recipe.`,
  );
}

/** @returns every sample that has a fingerprint, OK ones first, by name */
async function fingerprinted(datasets: DatasetStore, key: DatasetKey): Promise<readonly Fingerprinted[]> {
  const found: Fingerprinted[] = [];
  for (const label of sampleLabels) {
    for (const [filename, fingerprint] of await datasets.fingerprints(key, label))
      found.push({ label, filename, fingerprint });
  }
  return found;
}

/**
 * What a dataset holds, and which of it shows one picture twice. Samples that another service stored have no fingerprint
 * and are no one's duplicates.
 */
export async function listDataset(
  { datasets, duplicates }: Pick<DatasetParts, 'datasets' | 'duplicates'>,
  key: DatasetKey,
): Promise<DatasetListing> {
  const name = JSON.stringify([key.recipeId, key.roleId, key.roiId]);
  const [classes, groups] = await Promise.all([
    datasets.list(key),
    fingerprinted(datasets, key).then((samples) => duplicates.groups(name, samples)),
  ]);
  return { classes, duplicates: groups };
}

/** A stored picture as it was sent, and what it is. */
export interface SampleFile {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
}

/** @throws InspectionError `not_found` */
export async function sampleFile(
  { datasets }: Pick<DatasetParts, 'datasets'>,
  key: DatasetKey,
  { label, filename }: SampleRef,
): Promise<SampleFile> {
  const bytes = await datasets.read(key, label, filename);
  return { bytes, mediaType: mediaTypeOf(bytes) };
}

const mediaTypes: Readonly<Record<PictureFormat, string>> = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  bmp: 'image/bmp',
  tiff: 'image/tiff',
  webp: 'image/webp',
};

/** By the bytes: another service's file may be called anything. */
function mediaTypeOf(bytes: Uint8Array): string {
  try {
    return mediaTypes[pictureFormat(bytes, '')];
  } catch (error) {
    if (error instanceof InspectionError) return 'application/octet-stream';
    throw error;
  }
}

/**
 * A small JPEG of a stored picture.
 *
 * @param maxSide longest side in pixels
 * @throws InspectionError `not_found`; the codes of `images/`
 */
export async function sampleThumbnail(
  { datasets, vision }: Pick<DatasetParts, 'datasets' | 'vision'>,
  key: DatasetKey,
  { label, filename }: SampleRef,
  maxSide: number,
): Promise<Uint8Array> {
  return await vision.thumbnail(await datasets.read(key, label, filename), filename, maxSide);
}
