import type { Matrix } from '../patchcore/matrix.ts';
import type { NeighborTable } from '../patchcore/nearest_neighbors.ts';

export type { NeighborTable };

/** The engines that may be chosen. `onnx` and `faiss` answer alike, `onnx_int8` nearly (`int8_neighbors.ts` says how nearly). */
export const neighborsEngineNames = ['onnx', 'onnx_int8', 'faiss'] as const;

export type NeighborsEngineName = (typeof neighborsEngineNames)[number];

/** K-nearest-neighbour search over one memory bank. Not safe for concurrent calls; each worker owns one. */
export interface Neighbors {
  readonly rows: number;
  readonly cols: number;
  /** What it takes of this process's memory for the bank. */
  readonly bytes: number;
  /** Whether it searches the bank's array where it lies. If not, that may go. */
  readonly keepsBank: boolean;
  /**
   * @param k 1 ≤ k; more than the bank has rows is cut to the bank's rows (the table's `k` tells)
   * @throws InspectionError `shape_mismatch` when the widths differ, `invalid_value` when k is not an integer ≥ 1
   */
  search(queries: Matrix, k: number): Promise<NeighborTable>;
  dispose(): Promise<void>;
}

/** A bank's rows as they were before they were made smaller, somewhere else than in memory. */
export interface StoredRows {
  /**
   * @param rows ascending, each once
   * @returns those rows in their order
   */
  read(rows: Int32Array): Promise<Matrix>;
  close(): Promise<void>;
}
