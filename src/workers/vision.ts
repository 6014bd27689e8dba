import type { NetworkInput } from '../extractors/extractor.ts';
import type { PictureFormat } from '../images/picture_format.ts';
import type { Device } from '../onnx/onnx_session.ts';
import type { GrayMap } from '../patchcore/anomaly_map.ts';
import type { GridFrame, ImageSize, PatchGrid } from '../patchcore/grid.ts';
import type { ScoreMode } from '../patchcore/image_score.ts';
import type { Matrix } from '../patchcore/matrix.ts';
import type { CollectedPatches } from '../patchcore/patch_collection.ts';
import type { Region } from '../patchcore/regions.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import type { ThinnedRows } from '../patchcore/thinning.ts';
import type { EncodedMemory, MemoryMetadata, ThinnedPatches } from '../store/model_memory.ts';
import type { IndexState, MemoryAddress } from '../store/model_store.ts';
import type { ModelPlace } from '../store/places.ts';

/** A picture made ready for the network, with what is needed to find the way back to its own pixels. */
export interface PreparedPicture {
  readonly size: ImageSize;
  /** Its array may lie in memory that threads share. */
  readonly input: NetworkInput;
  /** Where the picture lies on the patch grid; a letterboxed one does not cover it all. */
  readonly frame: GridFrame;
  /** Mean of all channels of the picture as it came, 0..255. */
  readonly brightness: number;
  readonly decodeMs: number;
  readonly prepareMs: number;
}

/** The patch embeddings of one good picture: only the cells that the picture touches, raw (not normalised). */
export interface EmbeddedPicture {
  readonly embeddings: Matrix;
  readonly extractMs: number;
}

/** What makes a picture a sample: that it can be read, and what it has in common with its copies. */
export interface ProvenPicture {
  readonly format: PictureFormat;
  readonly size: ImageSize;
  /** See `pictureSketch`. */
  readonly sketch: string;
}

/** A good picture of a fit, as its memory remembers it. */
export interface FittedPicture {
  readonly name: string;
  /** Of the picture's bytes, in hex; null where the file does not say. */
  readonly sha256: string | null;
  readonly size: ImageSize;
  /** The ROI it was fitted with. */
  readonly shape: ShapeSpec;
  readonly frame: GridFrame;
  /** What the picture would score if it were not in the memory; null where that was not computed. */
  readonly leftOutScore: number | null;
  /** As {@link PreparedPicture.brightness}; null where the file does not say. */
  readonly brightness: number | null;
}

/** Which pixels of a picture are defects. */
export interface TruthMask extends ImageSize {
  /** [height · width] 1 = defect. */
  readonly data: Uint8Array;
}

/** What is known of a memory without its rows. */
export interface MemoryDescription {
  /** Hex sha256 over rows, grid and fingerprint: equal memories have equal ids. */
  readonly memoryId: string;
  /** Null when the memory was fitted elsewhere and does not say. */
  readonly fingerprint: string | null;
  readonly extractorName: string | null;
  readonly grid: PatchGrid;
  readonly rows: number;
  readonly cols: number;
  readonly coresetRateRequested: number | null;
  readonly coresetRateApplied: number | null;
  readonly mmPerPx: number | null;
  readonly generation: number;
  /** ISO 8601; null where the file does not say. */
  readonly fittedAtUtc: string | null;
  /** How this memory's maps become scores. */
  readonly scoreMode: ScoreMode;
  /** Share of the distance by position in a patch's distance; 0 = no position memory. */
  readonly positionWeight: number;
  /** The good pictures it was fitted from; empty where its file does not say. */
  readonly pictures: readonly FittedPicture[];
}

/** Distances of one picture's patches to their nearest bank row. */
export interface MeasuredPicture {
  /** The memory that was really used; compare it with the one that was described. */
  readonly memoryId: string;
  readonly grid: PatchGrid;
  /** [rows · cols] Euclidean, 0 in cells that hold padding only. */
  readonly distances: Float32Array;
  /** Where each patch found its nearest in the bank; null where not asked for, or where the memory does not know. */
  readonly matches: PatchMatches | null;
  readonly extractMs: number;
  readonly searchMs: number;
}

/**
 * Of every cell of the grid: the row of the memory nearest to its patch, of the position memory where that counts for more
 * than the bank. Cells that hold padding only have picture -1.
 */
export interface PatchMatches {
  /** Index into the memory's pictures. */
  readonly picture: Int32Array;
  /** Row-major over that picture's grid. */
  readonly cell: Int32Array;
  /** Euclidean, to that row. */
  readonly distance: Float32Array;
}

export interface DrawOrder {
  readonly distances: Float32Array;
  readonly grid: PatchGrid;
  readonly frame: GridFrame;
  readonly size: ImageSize;
  readonly shape: ShapeSpec;
  readonly sigmaPx: number;
  readonly scoreMode: ScoreMode;
  readonly scorePercentile: number;
  /** Null: no regions. */
  readonly threshold: number | null;
  readonly areaMm2Thr: number;
  readonly mmPerPx: number;
  readonly heatmap: boolean;
  /** Hand over the anomaly map itself. */
  readonly map: boolean;
}

export interface Drawing {
  readonly score: number;
  readonly regions: readonly Region[];
  readonly heatmapPng: Uint8Array | null;
  readonly map: GrayMap | null;
  readonly mapMs: number;
  readonly regionsMs: number;
  readonly encodeMs: number;
}

/** Which cells of a picture a ROI needs, for a map of that blur. */
export interface RoiCellsOrder {
  readonly name: string;
  readonly shape: ShapeSpec;
  readonly size: ImageSize;
  readonly frame: GridFrame;
  readonly sigmaPx: number;
}

/** One good picture of a fit, without its patches. */
export interface FitPicture {
  readonly name: string;
  /** Of its bytes, in hex. */
  readonly sha256?: string | undefined;
  readonly size: ImageSize;
  readonly frame: GridFrame;
  readonly brightness: number;
  /** The ROI inside which it is scored; absent: the whole picture. */
  readonly shape?: ShapeSpec | undefined;
}

export interface FitOrder {
  /** In the order they were posted. */
  readonly pictures: readonly FitPicture[];
  /** Of those pictures, by their numbers. */
  readonly patches: CollectedPatches;
  /** At most so many pictures get a leave-one-out score, spread evenly. Absent: 60; more say the same and take longer. */
  readonly mostLeftOut?: number | undefined;
  /** How leave-one-out scores are made. */
  readonly scoreMode: ScoreMode;
  readonly scorePercentile: number;
  readonly sigmaPx: number;
  /** What patches with their places may take; 0: none are kept. */
  readonly positionBytes: number;
  readonly grid: PatchGrid;
  readonly coresetRate: number;
  /** What the file says beside the bank; the fit adds the numbers it finds. */
  readonly about: Omit<
    MemoryMetadata,
    | 'n_images'
    | 'n_embeddings'
    | 'coreset_size'
    | 'coreset_rate_requested'
    | 'coreset_rate_applied'
    | 'thinned'
    | 'pictures'
    | 'score_mode'
  >;
}

/** A fitted memory as the files to be written; nothing is on disk yet. */
export interface FittedMemory {
  readonly encoded: EncodedMemory;
  /** Patches of the pictures, those that were thinned away included. */
  readonly embeddings: number;
  readonly coresetSize: number;
  readonly coresetRateApplied: number;
  /** Null: no patch was thinned away. */
  readonly thinned: ThinnedPatches | null;
  readonly positionWeight: number;
  /** @see FittedPicture.leftOutScore, in the order of the pictures. */
  readonly leftOutScores: readonly (number | null)[];
}

export interface MeasureOptions {
  /** Say where each patch found its nearest. */
  readonly matches?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FitHooks {
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * The heavy steps of okng, off the event loop. The bytes of `prepare`, the picture of `embed` and the patches of `thin` and
 * `fit` are given away: with worker threads they are moved, not copied. A picture may be measured again, so `measure` copies.
 *
 * Steps wait for a thread in the order they came. A step whose signal fires before it has begun costs none: it is not begun.
 *
 * Errors: what the steps throw, with their codes; `request_aborted` when the signal fired before the step began;
 * `shutting_down` after `close`.
 */
export interface Vision {
  /** Decodes and letterboxes. @throws InspectionError the codes of `images/` */
  prepare(bytes: Uint8Array, name: string, signal?: AbortSignal): Promise<PreparedPicture>;
  /**
   * Gives back the memory that the input lies in, for the next picture; call it once, when no result of a step with this
   * picture is wanted any more. One that is never released is freed late: V8 does not count what threads share.
   */
  release(picture: PreparedPicture): void;
  embed(picture: PreparedPicture): Promise<EmbeddedPicture>;
  /** @throws InspectionError `damaged_file`; `extractor_mismatch` when the widths or grids differ */
  measure(picture: PreparedPicture, memory: MemoryAddress, options?: MeasureOptions): Promise<MeasuredPicture>;
  /** @throws InspectionError `damaged_file` */
  describe(memory: MemoryAddress): Promise<MemoryDescription>;
  /**
   * Decodes a picture to see that it is one. Its bytes are copied and stay the caller's.
   *
   * @throws InspectionError the codes of `images/`
   */
  prove(bytes: Uint8Array, name: string, signal?: AbortSignal): Promise<ProvenPicture>;
  /** See `cellsSeenThrough`. @throws InspectionError `empty_mask`, `invalid_shape` naming the picture */
  roiCells(order: RoiCellsOrder): Promise<Int32Array>;
  /** A small JPEG of a picture, longest side at most `maxSide`. @throws InspectionError the codes of `images/` */
  thumbnail(bytes: Uint8Array, name: string, maxSide: number): Promise<Uint8Array>;
  /** A truth's mask: 1 where it is white. @throws InspectionError the codes of `images/` */
  mask(bytes: Uint8Array, name: string): Promise<TruthMask>;
  /** See `ModelStore.ensureIndex`; reads the memory itself. @throws InspectionError `damaged_file`, `storage_full` */
  repairIndex(place: ModelPlace): Promise<IndexState>;
  /** Map, mask, score, regions and the heatmap's PNG. @throws InspectionError `empty_mask`, `invalid_shape` */
  draw(order: DrawOrder, signal?: AbortSignal): Promise<Drawing>;
  /** @see `thinRows` of raw patches, made unit rows here. @throws InspectionError `request_aborted`, `shape_mismatch` */
  thin(patches: Matrix, size: number, signal?: AbortSignal): Promise<ThinnedRows>;
  /** Coreset and the bytes of the files. @throws InspectionError `request_aborted` when the signal fires */
  fit(order: FitOrder, hooks?: FitHooks): Promise<FittedMemory>;
  /** Loads the extractor and the codecs, so that the first picture is as fast as the next. */
  /** @returns where the network runs */
  warm(): Promise<Device>;
  close(): Promise<void>;
}
