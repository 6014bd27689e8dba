import type { UnitRowMatrix } from '../../src/patchcore/matrix.ts';
import { createMatrix } from '../../src/patchcore/matrix.ts';
import type { MemoryMetadata, NewMemory } from '../../src/store/model_memory.ts';

/** A bank whose row i points along axis (i + turn) mod cols: unit rows, and different for every turn below cols. */
export function axisBank(rows: number, cols: number, turn: number): UnitRowMatrix {
  const data = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) data[row * cols + ((row + turn) % cols)] = 1;
  return createMatrix(rows, cols, data) as UnitRowMatrix;
}

export function someMetadata(generation: number): MemoryMetadata {
  return {
    format_version: 1,
    okng_version: '0.1.0',
    role_id: 'Maße',
    roi_id: 'roi 1',
    recipe_id: 'default',
    model_key: 'roi 1',
    extractor: 'embedded_filter_bank',
    fingerprint: 'f00d',
    input_size: { height: 448, width: 448 },
    patch_size: 14,
    mm_per_px: 0.2,
    n_images: 3,
    n_embeddings: 3072,
    coreset_rate_requested: 0.02,
    coreset_rate_applied: 0.0201,
    coreset_size: 62,
    score_mode: 'percentile',
    pictures: [{ name: 'ok.png', height: 448, width: 448, frame: [0, 0, 32, 31], left_out_score: 0.25 }],
    k: 1,
    score_percentile: 99,
    blur_sigma: 1,
    generation,
    fitted_at_utc: '2024-05-01T10:00:00Z',
  };
}

/** A memory whose bank tells its generation, so that a mixture of two would be seen. */
export function someMemory(generation: number, rows = 12, cols = 16): NewMemory {
  return {
    bank: axisBank(rows, cols, generation % cols),
    grid: { rows: 32, cols: 31 },
    metadata: someMetadata(generation),
  };
}
