import { concatRows } from '../patchcore/matrix.ts';
import { buildMemoryBank } from '../patchcore/memory_bank.ts';
import { encodeMemory } from '../store/model_memory.ts';
import type { FitOrder, FittedMemory } from './vision.ts';

export interface FitStepHooks {
  readonly onProgress?: (done: number, total: number) => void;
  readonly shouldStop?: () => boolean;
}

/**
 * Embeddings → memory bank → the bytes of its files. Blocks its thread for the whole time.
 *
 * @throws InspectionError `request_aborted` when `shouldStop` says so
 */
export function fitMemory(order: FitOrder, hooks: FitStepHooks = {}): FittedMemory {
  const bank = buildMemoryBank(concatRows(order.pictures), order.coresetRate, hooks);
  const encoded = encodeMemory({
    bank: bank.rows,
    grid: order.grid,
    metadata: {
      ...order.about,
      n_images: order.pictures.length,
      n_embeddings: bank.embeddings,
      coreset_size: bank.rows.rows,
      coreset_rate_requested: order.coresetRate,
      coreset_rate_applied: bank.rateApplied,
    },
  });
  return {
    encoded,
    embeddings: bank.embeddings,
    coresetSize: bank.rows.rows,
    coresetRateApplied: bank.rateApplied,
  };
}
