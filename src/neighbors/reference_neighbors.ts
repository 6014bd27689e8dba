import type { Matrix } from '../patchcore/matrix.ts';
import { nearestNeighbors } from '../patchcore/nearest_neighbors.ts';
import type { Neighbors } from './neighbors.ts';

/** The plain loop behind the interface: what every engine is compared with. */
export function referenceNeighbors(bank: Matrix): Neighbors {
  return {
    rows: bank.rows,
    cols: bank.cols,
    bytes: bank.data.byteLength,
    keepsBank: true,
    search: async (queries, k) => nearestNeighbors(queries, bank, k),
    dispose: async () => undefined,
  };
}
