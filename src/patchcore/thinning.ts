import { squaredLengths } from '../kernels/row_loops.ts';
import { type CoresetHooks, type DotProducts, selectCoreset } from './coreset.ts';
import { type Matrix, squaredDistance } from './matrix.ts';

/** What is left of a group of rows. */
export interface ThinnedRows {
  /** Rows of the group, ascending, each once; fewer than asked for where only so many differ. */
  readonly kept: Int32Array;
  /** Every row of the group lies at most this far (Euclidean) from one that is kept. Never below the truth. */
  readonly radius: number;
}

/** More than float64 loses in a distance of ten thousand columns and in adding a few of them. */
const lostInRounding = 1e-12;

/**
 * The `size` farthest-first representatives of a group of rows, and how well they stand for the others: the products say
 * which of them is nearest to a row, how far it is is measured again in float64.
 *
 * Cost: 2 · rows · size · cols operations in `products`.
 *
 * @param size at least 1
 * @throws InspectionError `shape_mismatch` without rows; `request_aborted`
 *
 * Source: Gonzalez 1985 (greedy k-center): no other choice of `size` rows, or of points that are no rows, has less than half
 * this radius.
 */
export async function thinRows(
  group: Matrix,
  size: number,
  products: DotProducts,
  hooks: Omit<CoresetHooks, 'onProducts'> = {},
): Promise<ThinnedRows> {
  const squares = squaredLengths(group);
  const nearest = new Int32Array(group.rows);
  // Of the nearest: its dot product with the row less half its square, which grows as the distance falls.
  const nearness = new Float64Array(group.rows).fill(Number.NEGATIVE_INFINITY);
  const onProducts: CoresetHooks['onProducts'] = ({ firstRow, rows, picks, dots }) => {
    const halfSquares = Float64Array.from(picks, (pick) => (squares[pick] as number) / 2);
    for (let row = 0; row < rows; row++) {
      let most = nearness[firstRow + row] as number;
      for (let i = 0; i < picks.length; i++) {
        const near = (dots[row * picks.length + i] as number) - (halfSquares[i] as number);
        if (near <= most) continue;
        most = near;
        nearest[firstRow + row] = picks[i] as number;
      }
      nearness[firstRow + row] = most;
    }
  };
  const kept = Int32Array.from(new Set(await selectCoreset(group, size, products, { ...hooks, onProducts }))).sort();
  // All were kept in their own order, without a product.
  if (kept.length === group.rows) return { kept, radius: 0 };
  let squared = 0;
  for (let row = 0; row < group.rows; row++) {
    squared = Math.max(squared, squaredDistance(group, row, group, nearest[row] as number));
  }
  return { kept, radius: Math.sqrt(squared) * (1 + lostInRounding) };
}
