import { z } from 'zod';
import { type CalibrationFile, calibrationSchema } from './calibration_file.ts';
import { sha256HexNow } from './sha256.ts';
import { damagedFile, decodeJson, encodeJson } from './stored_file.ts';

/** How a memory came to this place. `found`: it lay there, from the predecessor or an okng without generations. */
export const generationMakers = ['fit', 'import', 'found'] as const;
export type GenerationMaker = (typeof generationMakers)[number];

/** What stands beside the memory of a generation, its calibration included: one file, so that one rename changes it. */
export interface GenerationRecord {
  /** Counts the memories of a place from 1; no two memories have the same number. */
  readonly generation: number;
  readonly made_by: GenerationMaker;
  readonly created_at_utc: string;
  /** When it was last made the one that answers; null: never. */
  readonly live_since_utc: string | null;
  readonly memory_id: string;
  readonly npz_bytes: number;
  readonly npz_sha256: string;
  /** `fileStamp` of the memory where it answers: tells without reading that a file is this one. */
  readonly npz_stamp: string;
  readonly calibration: CalibrationFile | null;
}

const recordSchema = z.object({
  generation: z.int().positive(),
  made_by: z.enum(generationMakers),
  created_at_utc: z.string(),
  live_since_utc: z.string().nullable(),
  memory_id: z.string(),
  npz_bytes: z.int().positive(),
  npz_sha256: z.string(),
  npz_stamp: z.string(),
  calibration: calibrationSchema.nullable(),
});

/** @throws InspectionError `internal_error` naming a number that is not finite */
export function encodeGeneration(record: GenerationRecord): Uint8Array {
  return new TextEncoder().encode(`${encodeJson({ ...record, checksum: checksumOf(record) }, 2)}\n`);
}

/** @throws InspectionError `damaged_file`: not as {@link encodeGeneration} wrote it */
export function decodeGeneration(bytes: Uint8Array, fileName: string): GenerationRecord {
  const { checksum, ...rest } = (decodeJson(bytes, fileName) ?? {}) as { checksum?: unknown };
  if (checksum !== checksumIn(rest, fileName)) throw damagedFile(fileName, 'it does not match its checksum');
  const record = recordSchema.safeParse(rest);
  if (!record.success) throw damagedFile(fileName, 'it is not the record of a generation', record.error);
  return record.data;
}

/** A number beyond all numbers, or a nesting too deep, can be read but not written again. */
function checksumIn(content: object, fileName: string): string {
  try {
    return checksumOf(content);
  } catch (error) {
    throw damagedFile(fileName, 'it holds what no record holds', error);
  }
}

function checksumOf(content: object): string {
  return sha256HexNow(encodeJson(content));
}
