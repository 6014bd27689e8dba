import { createOnnxProducts, type OnnxProducts } from '../neighbors/onnx_products.ts';
import type { DotProducts } from '../patchcore/coreset.ts';
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
export async function fitMemory(
  order: FitOrder,
  products: DotProducts,
  hooks: FitStepHooks = {},
): Promise<FittedMemory> {
  const bank = await buildMemoryBank(concatRows(order.pictures), order.coresetRate, products, hooks);
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

export interface FitSettings {
  /** Threads of one matrix product. */
  readonly threads: number;
}

/** {@link fitMemory} with ONNX Runtime for its matrix products, loaded with the first fit. One per thread. */
export interface FitSteps {
  fit(order: FitOrder, hooks?: FitStepHooks): Promise<FittedMemory>;
  dispose(): Promise<void>;
}

export function createFitSteps(settings: FitSettings): FitSteps {
  let opened: Promise<OnnxProducts> | null = null;
  return {
    fit: async (order, hooks) => {
      opened ??= createOnnxProducts(settings);
      return await fitMemory(order, (await opened).products, hooks);
    },
    dispose: async () => {
      await (await opened)?.dispose();
      opened = null;
    },
  };
}
