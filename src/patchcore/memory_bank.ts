import { type CoresetHooks, coresetSize, type DotProducts, selectCoreset } from './coreset.ts';
import type { GridFrame, PatchGrid } from './grid.ts';
import { selectRows, type UnitRowMatrix } from './matrix.ts';

/** What okng knows of good parts: a coreset of their patch embeddings. */
export interface MemoryBank {
  /** [kept, d] in the order they were picked. */
  readonly rows: UnitRowMatrix;
  /** [kept] which of the patches each row is. */
  readonly picks: Int32Array;
}

/** A cell touched by less than this part of itself is padding: the rounding of a frame must not count. */
const negligible = 1e-6;

/**
 * Keeps a greedy k-center coreset of the normalised patch embeddings of all good pictures.
 *
 * @param unit [patches, d] all pictures below each other, cells of padding left out
 * @param rate 0 < rate ≤ 1; 1 keeps every patch in its order
 * @throws InspectionError `shape_mismatch` without patches; `request_aborted`
 *
 * Source: Roth et al. 2022, arXiv:2106.08265, sec. 3.1–3.2; they do not normalise.
 */
export async function buildMemoryBank(
  unit: UnitRowMatrix,
  rate: number,
  products: DotProducts,
  hooks: CoresetHooks = {},
): Promise<MemoryBank> {
  const size = coresetSize(unit.rows, rate);
  const picks = await selectCoreset(unit, size, products, hooks);
  return { rows: size === unit.rows ? unit : selectRows(unit, picks), picks };
}

/**
 * The grid cells that the picture touches, in row-major order. A cell counts however little of it is picture, so that no
 * pixel of the picture goes without a score; cells of padding only enter neither bank nor score.
 */
export function cellsInFrame(grid: PatchGrid, frame: GridFrame): Int32Array {
  const firstRow = Math.max(0, Math.floor(frame.top + negligible));
  const lastRow = Math.min(grid.rows, Math.ceil(frame.top + frame.height - negligible));
  const firstCol = Math.max(0, Math.floor(frame.left + negligible));
  const lastCol = Math.min(grid.cols, Math.ceil(frame.left + frame.width - negligible));
  const cells: number[] = [];
  for (let row = firstRow; row < lastRow; row++) {
    for (let col = firstCol; col < lastCol; col++) cells.push(row * grid.cols + col);
  }
  return Int32Array.from(cells);
}
