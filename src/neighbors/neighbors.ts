import type { Matrix } from '../patchcore/matrix.ts';
import type { NeighborTable } from '../patchcore/nearest_neighbors.ts';

export type { NeighborTable };

/** The engines that may be chosen; they answer alike. */
export const neighborsEngineNames = ['onnx', 'faiss'] as const;

export type NeighborsEngineName = (typeof neighborsEngineNames)[number];

/** Exact k-nearest-neighbour search over one memory bank. Not safe for concurrent calls; each worker owns one. */
export interface Neighbors {
  readonly rows: number;
  readonly cols: number;
  /**
   * @param k 1 ≤ k; more than the bank has rows is cut to the bank's rows (the table's `k` tells)
   * @throws InspectionError `shape_mismatch` when the widths differ, `invalid_value` when k is not an integer ≥ 1
   */
  search(queries: Matrix, k: number): Promise<NeighborTable>;
  dispose(): Promise<void>;
}
