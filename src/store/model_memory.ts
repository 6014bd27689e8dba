import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { createMatrix, trustUnitRows, type UnitRowMatrix } from '../patchcore/matrix.ts';
import { encodeFlatL2 } from './faiss_file.ts';
import type { NpyArray } from './npy.ts';
import { decodeNpz, encodeNpz } from './npz.ts';
import { damagedFile, decodeJson, encodeJson, type FileContent, readStoredFile } from './stored_file.ts';

/**
 * What stands beside a bank in its file, as JSON. We write all of it; a file of the predecessor has some keys, other
 * keys, or none, so a reader finds every one of them optional. A key of ours with an unusable value counts as absent:
 * only the bank itself must be right.
 */
export interface MemoryMetadata {
  /** 1 for files of this service. */
  readonly format_version: number;
  readonly okng_version: string;
  readonly role_id: string;
  readonly roi_id: string;
  readonly recipe_id: string;
  readonly model_key: string;
  /** The extractor's name and fingerprint: a bank answers only for pictures of the same fingerprint. */
  readonly extractor: string;
  readonly fingerprint: string;
  /** Of the network's input in pixels; the predecessor's single number is a square. */
  readonly input_size: { readonly height: number; readonly width: number };
  readonly patch_size: number;
  readonly mm_per_px: number;
  readonly n_images: number;
  readonly n_embeddings: number;
  readonly coreset_rate_requested: number;
  readonly coreset_rate_applied: number;
  readonly coreset_size: number;
  /** How the score of a picture is made of the distances. */
  readonly k: number;
  readonly score_percentile: number;
  readonly blur_sigma: number;
  /** Counts the fits of this place from 1. */
  readonly generation: number;
  /** ISO 8601 in UTC. */
  readonly fitted_at_utc: string;
}

/** What a reader finds. `memory_id` is added by {@link encodeMemory}. */
export type StoredMetadata = { readonly [K in keyof MemoryMetadata]?: MemoryMetadata[K] | undefined } & {
  readonly memory_id?: string | undefined;
  readonly [unknownKey: string]: unknown;
};

/** A memory bank to be stored. */
export interface NewMemory {
  /** At least one row. */
  readonly bank: UnitRowMatrix;
  /** The grid of one picture, whose patches the rows were chosen from. */
  readonly grid: PatchGrid;
  readonly metadata: MemoryMetadata;
}

/** A memory bank as found on disk. Its bank is a view of the file's bytes: hold the memory, hold the file. */
export interface StoredMemory {
  readonly bank: UnitRowMatrix;
  readonly grid: PatchGrid;
  readonly metadata: StoredMetadata;
  /** See {@link memoryIdOf}. Computed from what was read, also for files that do not hold one. */
  readonly memoryId: string;
  /** Of the file this was read from, as `ModelStore.locate` gives it. */
  readonly stamp: string;
}

/** The two files of a memory, not yet written. */
export interface EncodedMemory {
  readonly npz: Uint8Array;
  readonly index: Uint8Array;
  readonly memoryId: string;
}

/** No picture has more patches on a side; a larger number is damage. */
const LONGEST_GRID_SIDE = 4096;

const text = z.string().optional().catch(undefined);
const positive = z.number().positive().optional().catch(undefined);
const count = z.int().nonnegative().optional().catch(undefined);
const inputSize = z
  .union([
    z.object({ height: z.number(), width: z.number() }),
    z.tuple([z.number(), z.number()]).transform(([height, width]) => ({ height, width })),
    z.number().transform((side) => ({ height: side, width: side })),
  ])
  .optional()
  .catch(undefined);

const metadataSchema = z.looseObject({
  format_version: count,
  okng_version: text,
  role_id: text,
  roi_id: text,
  recipe_id: text,
  model_key: text,
  extractor: text,
  fingerprint: text,
  input_size: inputSize,
  patch_size: positive,
  mm_per_px: positive,
  n_images: count,
  n_embeddings: count,
  coreset_rate_requested: positive,
  coreset_rate_applied: positive,
  coreset_size: count,
  k: count,
  score_percentile: z.number().optional().catch(undefined),
  blur_sigma: z.number().optional().catch(undefined),
  generation: count,
  fitted_at_utc: text,
  memory_id: text,
});

/**
 * Names a memory by what it is: hex sha256 over the bank's shape, the grid, the extractor's fingerprint (empty when
 * unknown) and the bank's float32 bytes. Equal ids give equal distances for every picture. About 1 s per GB.
 */
export function memoryIdOf(bank: UnitRowMatrix, grid: PatchGrid, fingerprint: string): string {
  const { buffer, byteOffset, byteLength } = bank.data;
  return createHash('sha256')
    .update(JSON.stringify(['okng memory 1', bank.rows, bank.cols, grid.rows, grid.cols, fingerprint]))
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex');
}

/**
 * Makes the npz and the FAISS index of a memory. Pure and heavy (two copies of the bank and three passes over it): run it
 * in a worker.
 *
 * @throws InspectionError `shape_mismatch` for a bank without rows; `internal_error` for metadata that is not finite
 */
export function encodeMemory({ bank, grid, metadata }: NewMemory): EncodedMemory {
  if (bank.rows < 1) throw new InspectionError('shape_mismatch', 'A memory bank without rows cannot be stored.');
  const memoryId = memoryIdOf(bank, grid, metadata.fingerprint);
  const json = encodeJson({ ...metadata, memory_id: memoryId });
  const npz = encodeNpz({
    emb: { dtype: 'float32', shape: [bank.rows, bank.cols], data: bank.data },
    token_h: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(grid.rows)) },
    token_w: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(grid.cols)) },
    metadata: { dtype: 'text', shape: [], data: [json] },
  });
  return { npz, index: encodeFlatL2(bank), memoryId };
}

/**
 * Reads a memory from its npz; the other two files of its place are not needed. Needs no store: a worker can call it.
 *
 * @throws InspectionError `memory_not_fitted` when there is no file; `damaged_file` as {@link decodeMemory}
 */
export async function readModelMemory(npzPath: string): Promise<StoredMemory> {
  const file = await readStoredFile(npzPath);
  if (file === undefined) {
    throw new InspectionError(
      'memory_not_fitted',
      `Memoria no encontrada / memory not fitted: there is no file '${basename(npzPath)}'. Fit this role and ROI first.`,
    );
  }
  return decodeMemory(file, basename(npzPath));
}

/**
 * Makes a memory of the bytes of an npz: ours, numpy's, or the predecessor's with or without metadata.
 *
 * @param fileName for the error's text
 * @throws InspectionError `damaged_file`, naming the array: not an npz, an array missing or of another type or shape,
 *   numbers that are not finite, rows longer than 1, a grid that cannot be, metadata that is not a JSON object, or
 *   a `memory_id` that is not the one of this bank
 */
export function decodeMemory({ bytes, stamp }: FileContent, fileName: string): StoredMemory {
  const arrays = decodeNpz(bytes, { fileName });
  const bank = readBank(arrays.get('emb'), fileName);
  const grid = {
    rows: readGridSide(arrays.get('token_h'), 'token_h', fileName),
    cols: readGridSide(arrays.get('token_w'), 'token_w', fileName),
  };
  const metadata = readMetadata(arrays.get('metadata'), fileName);
  const memoryId = memoryIdOf(bank, grid, metadata.fingerprint ?? '');
  if (metadata.memory_id !== undefined && metadata.memory_id !== memoryId) {
    throw damagedFile(fileName, `its bank has the id ${memoryId}, but its metadata says ${metadata.memory_id}`);
  }
  return { bank, grid, metadata, memoryId, stamp };
}

function readBank(emb: NpyArray | undefined, fileName: string): UnitRowMatrix {
  if (emb === undefined) throw damagedFile(fileName, "array 'emb' is missing");
  const [rows = 0, cols = 0] = emb.shape;
  if ((emb.dtype !== 'float32' && emb.dtype !== 'float64') || emb.shape.length !== 2 || rows < 1 || cols < 1) {
    throw damagedFile(
      fileName,
      `array 'emb' must be [m, d] of floats with m and d at least 1, but is ${emb.dtype} (${emb.shape.join(', ')})`,
    );
  }
  const data = emb.dtype === 'float32' ? emb.data : Float32Array.from(emb.data);
  try {
    return trustUnitRows(createMatrix(rows, cols, data));
  } catch (error) {
    throw damagedFile(
      fileName,
      `array 'emb' must hold rows of length 1 (${error instanceof Error ? error.message : error})`,
      error,
    );
  }
}

function readGridSide(array: NpyArray | undefined, name: string, fileName: string): number {
  if (array === undefined) throw damagedFile(fileName, `array '${name}' is missing`);
  const side = array.dtype === 'text' || array.data.length !== 1 ? Number.NaN : Number(array.data[0]);
  if (!Number.isInteger(side) || side < 1 || side > LONGEST_GRID_SIDE) {
    throw damagedFile(
      fileName,
      `array '${name}' must be one integer from 1 to ${LONGEST_GRID_SIDE}, not ${array.data.slice(0, 3).join(', ')}`,
    );
  }
  return side;
}

function readMetadata(array: NpyArray | undefined, fileName: string): StoredMetadata {
  if (array === undefined) return {};
  if (array.dtype !== 'text' || array.data.length !== 1) {
    throw damagedFile(fileName, `array 'metadata' must be one text, but is ${array.dtype} (${array.shape.join(', ')})`);
  }
  const json = decodeJson(new TextEncoder().encode(array.data[0]), fileName);
  const metadata = metadataSchema.safeParse(json);
  if (!metadata.success) throw damagedFile(fileName, "array 'metadata' must be a JSON object", metadata.error);
  return metadata.data;
}
