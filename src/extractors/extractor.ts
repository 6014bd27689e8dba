import type { NetworkInput, Preprocessing } from '../images/preprocessing.ts';
import type { Device } from '../onnx/onnx_session.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import type { Matrix } from '../patchcore/matrix.ts';

export type { NetworkInput, Preprocessing };

/** What one picture becomes. */
export interface PatchEmbeddings {
  readonly grid: PatchGrid;
  /** [grid.rows · grid.cols, d] row-major over the grid, as the network gives them: not normalised. */
  readonly embeddings: Matrix;
  /**
   * One vector for the whole picture, for finding similar pictures; not normalised. To be read before the embeddings are
   * changed or given away: it may be made of them.
   */
  readonly imageVector: Float32Array;
}

/** What is known of an extractor without loading it. */
export interface ExtractorInfo {
  /** For example `embedded_filter_bank` or `vit_small_patch14_dinov2.lvd142m`. */
  readonly name: string;
  /** Hex sha256 over weights and preprocessing: equal fingerprints give equal embeddings. */
  readonly fingerprint: string;
  readonly preprocessing: Preprocessing;
  readonly grid: PatchGrid;
  /** Columns of the patch embeddings; null where only loading the model can tell. A loaded extractor always knows. */
  readonly width: number | null;
  /** Input pixels per grid cell. */
  readonly patchSize: number;
}

/**
 * Pixels → patch embeddings. Not safe for concurrent calls of `extract`; each worker owns one. It has run once when it is
 * opened, so that the first picture is as fast as the next.
 */
export interface Extractor {
  readonly info: ExtractorInfo;
  /** Where it runs. Devices round differently: distances may differ in the fourth digit. */
  readonly device: Device;
  /** The arrays are the caller's to change. @throws InspectionError `shape_mismatch` when the input is not of the preprocessing's size */
  extract(input: NetworkInput): Promise<PatchEmbeddings>;
  dispose(): Promise<void>;
}
