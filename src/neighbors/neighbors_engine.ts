import type { Matrix } from '../patchcore/matrix.ts';
import { requireFaissAddon } from './faiss_addon.ts';
import { createFaissNeighbors } from './faiss_neighbors.ts';
import { startFaissProcess } from './faiss_process.ts';
import { createInt8Neighbors } from './int8_neighbors.ts';
import type { Neighbors, NeighborsEngineName, StoredRows } from './neighbors.ts';
import { createOnnxNeighbors } from './onnx_neighbors.ts';

/** What searches the banks of one thread. Not safe for concurrent calls. */
export interface NeighborsEngine {
  /**
   * @param openRows the bank's rows where they are stored, asked for by an engine that does not keep the bank; without them,
   *   or if they are null, it keeps it
   */
  open(bank: Matrix, openRows?: () => Promise<StoredRows | null>): Promise<Neighbors>;
  /** Brings up what the first search would have to wait for. */
  warm(): Promise<void>;
  /** To be called when no bank is open any more. */
  dispose(): Promise<void>;
}

/**
 * @param options.threads of one search, ≥ 1
 * @throws InspectionError `invalid_config` when faiss-node is not built here
 */
export function neighborsEngine(name: NeighborsEngineName, options: { readonly threads: number }): NeighborsEngine {
  // Their sessions are opened with a bank, in milliseconds.
  const onnx = { warm: async () => undefined, dispose: async () => undefined };
  if (name === 'onnx') return { ...onnx, open: (bank) => createOnnxNeighbors(bank, options) };
  if (name === 'onnx_int8') {
    return {
      ...onnx,
      open: async (bank, openRows) => {
        const stored = (await openRows?.()) ?? null;
        return stored === null ? createOnnxNeighbors(bank, options) : createInt8Neighbors(bank, stored, options);
      },
    };
  }
  const faiss = startFaissProcess({ addon: requireFaissAddon(), ...options });
  return {
    open: async (bank) => createFaissNeighbors(bank, faiss),
    warm: faiss.warm,
    dispose: faiss.dispose,
  };
}
