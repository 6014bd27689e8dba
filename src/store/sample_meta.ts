import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import type { SampleLabel } from './dataset_names.ts';
import type { ModelKey } from './places.ts';
import { damagedFile, decodeJson, encodeJson } from './stored_file.ts';

/** Which dataset is meant: one per recipe, role and ROI, whatever the model_key. */
export type DatasetKey = Pick<ModelKey, 'recipeId' | 'roleId' | 'roiId'>;

/** A sample's JSON object: what the client sent, the defaults where it sent nothing, and `okng`. */
export type SampleMeta = Readonly<Record<string, unknown>>;

/** What two uploads of one picture have in common. */
export interface Fingerprint {
  /** Of the stored bytes, in lower-case hex: equal for exact duplicates. */
  readonly sha256: string;
  /** Of what the picture shows, as its maker wrote it; absent when none was given. */
  readonly perceptual?: string | undefined;
}

const fingerprintSchema = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  perceptual: z.string().optional().catch(undefined),
});

/**
 * What a meta says where nobody has said otherwise.
 *
 * @param name the stored name
 */
export function defaultMeta(key: DatasetKey, label: SampleLabel, name: string, createdAtMs: number): SampleMeta {
  return {
    role_id: key.roleId,
    roi_id: key.roiId,
    label,
    filename: name,
    recipe_id: key.recipeId,
    created_at_utc: new Date(createdAtMs).toISOString(),
  };
}

/**
 * A meta as it is stored. The client's values are kept as they are and win over the defaults; `okng` alone is ours, so
 * that a meta that was downloaded with another picture cannot vouch for this one.
 *
 * On one line: indenting would square the size of a meta that is nested for that purpose.
 *
 * @throws InspectionError `invalid_value` when the client's values hold a number that is not finite, or are nested deeper
 *   than can be written out
 */
export function encodeSampleMeta(defaults: SampleMeta, sent: SampleMeta, okng: Fingerprint): Uint8Array {
  try {
    return new TextEncoder().encode(`${encodeJson({ ...defaults, ...sent, okng })}\n`);
  } catch (error) {
    const why = error instanceof RangeError ? 'It is nested too deep.' : error instanceof Error ? error.message : '';
    throw new InspectionError('invalid_value', `A picture's meta cannot be stored as JSON. ${why}`, { cause: error });
  }
}

/** @throws InspectionError `damaged_file`: not a JSON object */
export function decodeSampleMeta(bytes: Uint8Array, fileName: string): SampleMeta {
  const meta = decodeJson(bytes, fileName);
  if (typeof meta === 'object' && meta !== null && !Array.isArray(meta)) return meta as SampleMeta;
  throw damagedFile(fileName, 'it must be a JSON object');
}

/** The fingerprint in a meta; undefined where there is none, as in the predecessor's. */
export function fingerprintIn({ okng }: SampleMeta): Fingerprint | undefined {
  return fingerprintSchema.safeParse(okng).data;
}
