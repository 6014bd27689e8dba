import type { Matrix } from '../patchcore/matrix.ts';
import { requireFaissAddon } from './faiss_addon.ts';
import { createFaissNeighbors } from './faiss_neighbors.ts';
import { startFaissProcess } from './faiss_process.ts';
import type { Neighbors, NeighborsEngineName } from './neighbors.ts';
import { createOnnxNeighbors } from './onnx_neighbors.ts';

/** What searches the banks of one thread. Not safe for concurrent calls. */
export interface NeighborsEngine {
  open(bank: Matrix): Promise<Neighbors>;
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
  if (name === 'onnx') {
    return {
      open: (bank) => createOnnxNeighbors(bank, options),
      // Its session is opened with a bank, in milliseconds.
      warm: async () => undefined,
      dispose: async () => undefined,
    };
  }
  const faiss = startFaissProcess({ addon: requireFaissAddon(), ...options });
  return {
    open: async (bank) => createFaissNeighbors(bank, faiss),
    warm: faiss.warm,
    dispose: faiss.dispose,
  };
}
