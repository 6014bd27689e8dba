import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { z } from 'zod';
import { InspectionError } from '../errors.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { type ScoreMode, scoreModes } from '../patchcore/image_score.ts';
import { createMatrix, type Matrix, trustUnitRows, type UnitRowMatrix } from '../patchcore/matrix.ts';
import type { PatchSources, PositionMemory } from '../patchcore/position_memory.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
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
  /** Absent: the coreset was chosen from every patch. */
  readonly thinned?: ThinnedPatches | undefined;
  /** How the score of a picture is made of the distances. */
  readonly k: number;
  readonly score_percentile: number;
  readonly blur_sigma: number;
  /** `percentile` or `top_share`. */
  readonly score_mode: ScoreMode;
  /** The good pictures, in the order that the arrays `row_picture` and `pos_picture` count them. */
  readonly pictures: readonly StoredPicture[];
  /** Counts the fits of this place from 1. */
  readonly generation: number;
  /** ISO 8601 in UTC. */
  readonly fitted_at_utc: string;
}

/** Of more patches than a fit holds at once (`BDI_FIT_PATCHES`) only some were there to choose from. */
export interface ThinnedPatches {
  readonly patches_seen: number;
  readonly patches_kept: number;
  /** Every patch seen lies at most this far from one that was kept. */
  readonly radius: number;
}

/** A good picture that a memory was fitted from. */
export interface StoredPicture {
  readonly name: string;
  /** Of its bytes, in hex; absent in files of earlier versions. */
  readonly sha256?: string | undefined;
  /** The ROI it was fitted with, in the words of a request; absent: the whole picture. */
  readonly shape?: ({ readonly kind: string } & ShapeSpec['numbers']) | undefined;
  readonly height: number;
  readonly width: number;
  /** Where it lay on the patch grid: top, left, height, width, in patches. */
  readonly frame: readonly [number, number, number, number];
  /** What it would score if it were not in the memory. */
  readonly left_out_score: number | null;
  /** Mean of all channels, 0..255. */
  readonly brightness?: number | undefined;
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
  /** Where the bank's rows come from; rows as long as the bank. */
  readonly sources?: PatchSources;
  readonly position?: PositionMemory;
}

/** A memory bank as found on disk. Its bank is a view of the file's bytes: hold the memory, hold the file. */
export interface StoredMemory {
  readonly bank: UnitRowMatrix;
  readonly grid: PatchGrid;
  readonly metadata: StoredMetadata;
  /** See {@link memoryIdOf}. Computed from what was read, also for files that do not hold one. */
  readonly memoryId: string;
  readonly sources: PatchSources | null;
  readonly position: PositionMemory | null;
  /** Where in the file the bank's first row begins; null when its rows do not lie there as they do in memory. */
  readonly bankAt: number | null;
  /** Of the file this was read from, as `ModelStore.locate` gives it. */
  readonly stamp: string;
}

/** The two files of a memory, not yet written. */
export interface EncodedMemory {
  readonly npz: Uint8Array;
  readonly index: Uint8Array;
  readonly memoryId: string;
  /** As its metadata says. */
  readonly generation: number;
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
  thinned: z
    .object({ patches_seen: z.number(), patches_kept: z.number(), radius: z.number() })
    .optional()
    .catch(undefined),
  k: count,
  score_percentile: z.number().optional().catch(undefined),
  blur_sigma: z.number().optional().catch(undefined),
  generation: count,
  score_mode: z.enum(scoreModes).optional().catch(undefined),
  pictures: z
    .array(
      z.object({
        name: z.string(),
        sha256: z.string().optional(),
        shape: z.looseObject({ kind: z.string() }).catchall(z.number()).optional(),
        height: z.int().positive(),
        width: z.int().positive(),
        frame: z.tuple([z.number(), z.number(), z.number(), z.number()]),
        left_out_score: z.number().nullable(),
        brightness: z.number().optional(),
      }),
    )
    .optional()
    .catch(undefined),
  fitted_at_utc: text,
  memory_id: text,
});

/** What of a memory makes scores. */
export interface ScoringMemory {
  readonly bank: UnitRowMatrix;
  readonly grid: PatchGrid;
  /** Of the extractor; empty when unknown. */
  readonly fingerprint: string;
  readonly scoreMode: ScoreMode;
  readonly position: PositionMemory | null;
}

/**
 * Names a memory by what it is: hex sha256 over the bank's shape, the grid, the extractor's fingerprint, the bank's float32
 * bytes, and the score mode and the position memory where they are not the plain ones. Equal ids give equal scores for
 * every picture. About 1 s per GB.
 */
export function memoryIdOf({ bank, grid, fingerprint, scoreMode, position }: ScoringMemory): string {
  const hash = createHash('sha256')
    .update(JSON.stringify(['okng memory 1', bank.rows, bank.cols, grid.rows, grid.cols, fingerprint]))
    .update(bytesOf(bank.data));
  if (scoreMode !== 'percentile') hash.update(JSON.stringify(['score mode', scoreMode]));
  if (position !== null) {
    hash
      .update(JSON.stringify(['position', position.rows.rows, position.weight]))
      .update(bytesOf(position.starts))
      .update(bytesOf(position.rows.data));
  }
  return hash.digest('hex');
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * Makes the npz and the FAISS index of a memory. Pure and heavy (two copies of the bank and three passes over it): run it
 * in a worker.
 *
 * @throws InspectionError `shape_mismatch` for a bank without rows; `internal_error` for metadata that is not finite
 */
export function encodeMemory({ bank, grid, metadata, sources, position }: NewMemory): EncodedMemory {
  if (bank.rows < 1) throw new InspectionError('shape_mismatch', 'A memory bank without rows cannot be stored.');
  const memoryId = memoryIdOf({
    bank,
    grid,
    fingerprint: metadata.fingerprint,
    scoreMode: metadata.score_mode,
    position: position ?? null,
  });
  const json = encodeJson({ ...metadata, memory_id: memoryId });
  const npz = encodeNpz({
    emb: { dtype: 'float32', shape: [bank.rows, bank.cols], data: bank.data },
    token_h: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(grid.rows)) },
    token_w: { dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(grid.cols)) },
    metadata: { dtype: 'text', shape: [], data: [json] },
    ...(sources !== undefined && {
      row_picture: { dtype: 'int32', shape: [bank.rows], data: sources.picture },
      row_cell: { dtype: 'int32', shape: [bank.rows], data: sources.cell },
    }),
    ...(position !== undefined && {
      pos_emb: { dtype: 'float32', shape: [position.rows.rows, position.rows.cols], data: position.rows.data },
      pos_starts: { dtype: 'int32', shape: [position.starts.length], data: position.starts },
      pos_picture: { dtype: 'int32', shape: [position.picture.length], data: position.picture },
      pos_weight: { dtype: 'float64', shape: [], data: Float64Array.of(position.weight) },
    }),
  });
  return { npz, index: encodeFlatL2(bank), memoryId, generation: metadata.generation };
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
  const sources = readSources(arrays, bank.rows);
  const position = readPosition(arrays, bank.cols, grid, fileName);
  const scoreMode = metadata.score_mode ?? 'percentile';
  const memoryId = memoryIdOf({ bank, grid, fingerprint: metadata.fingerprint ?? '', scoreMode, position });
  if (metadata.memory_id !== undefined && metadata.memory_id !== memoryId) {
    throw damagedFile(fileName, `its bank has the id ${memoryId}, but its metadata says ${metadata.memory_id}`);
  }
  const bankAt = bank.data.buffer === bytes.buffer ? bank.data.byteOffset - bytes.byteOffset : null;
  return { bank, grid, metadata, memoryId, sources, position, bankAt, stamp };
}

/** What an inspection needs of a memory besides its bank, copied: the file's bytes, of which all of it is a view, may go. */
export function besidesBank({ sources, position }: StoredMemory): Pick<StoredMemory, 'sources' | 'position'> {
  return {
    sources: sources && { picture: sources.picture.slice(), cell: sources.cell.slice() },
    position: position && {
      ...position,
      rows: { ...position.rows, data: position.rows.data.slice() },
      starts: position.starts.slice(),
      picture: position.picture.slice(),
    },
  };
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
  return unitRowsOf(createMatrix(rows, cols, data), 'emb', fileName);
}

function unitRowsOf(matrix: Matrix, name: string, fileName: string): UnitRowMatrix {
  try {
    return trustUnitRows(matrix);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw damagedFile(fileName, `array '${name}' must hold rows of length 1 (${reason})`, error);
  }
}

/** Null when the file does not say, or says it for other rows: explanations need it, scores do not. */
function readSources(arrays: ReadonlyMap<string, NpyArray>, rows: number): PatchSources | null {
  const picture = arrays.get('row_picture');
  const cell = arrays.get('row_cell');
  if (picture?.dtype !== 'int32' || cell?.dtype !== 'int32') return null;
  return picture.data.length === rows && cell.data.length === rows ? { picture: picture.data, cell: cell.data } : null;
}

/** Null when the file has no position memory. One that cannot be right is damage: without it scores would be others. */
function readPosition(
  arrays: ReadonlyMap<string, NpyArray>,
  cols: number,
  grid: PatchGrid,
  fileName: string,
): PositionMemory | null {
  const emb = arrays.get('pos_emb');
  if (emb === undefined) return null;
  const starts = arrays.get('pos_starts');
  const picture = arrays.get('pos_picture');
  const weight = arrays.get('pos_weight');
  const rows = emb.shape[0] ?? 0;
  if (
    emb.dtype !== 'float32' ||
    emb.shape.length !== 2 ||
    emb.shape[1] !== cols ||
    starts?.dtype !== 'int32' ||
    picture?.dtype !== 'int32' ||
    picture.data.length !== rows ||
    weight?.dtype !== 'float64' ||
    !isPartition(starts.data, grid.rows * grid.cols, rows) ||
    !((weight.data[0] as number) > 0 && (weight.data[0] as number) <= 1)
  ) {
    throw damagedFile(
      fileName,
      "the arrays 'pos_emb', 'pos_starts', 'pos_picture' and 'pos_weight' do not fit together",
    );
  }
  return {
    grid,
    rows: unitRowsOf(createMatrix(rows, cols, emb.data), 'pos_emb', fileName),
    starts: starts.data,
    picture: picture.data,
    weight: weight.data[0] as number,
  };
}

/** Whether `starts` cuts `rows` rows into one piece per cell. */
function isPartition(starts: Int32Array, cells: number, rows: number): boolean {
  const ascends = starts.every((start, i) => i === 0 || start >= (starts[i - 1] as number));
  return starts.length === cells + 1 && starts[0] === 0 && starts[cells] === rows && ascends;
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
