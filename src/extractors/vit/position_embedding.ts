import type { PatchGrid } from '../../patchcore/grid.ts';

/** Keys' kernel parameter; -0.75 is PyTorch's, with which DINOv2 was trained and read. */
const sharpness = -0.75;

/** The four cells of the old axis that a cell of the new one is made of, and their shares; the shares sum to 1. */
interface Taps {
  readonly cells: readonly number[];
  readonly shares: readonly number[];
}

/**
 * The position embedding of another grid: bicubic (a = -0.75), half-pixel centres, borders repeated, no antialias. So do
 * PyTorch's `interpolate` and the ViTs that were trained on one grid and are used on another. The same grid gives the same
 * numbers.
 *
 * @param positions [from.rows · from.cols, width] row-major, not changed
 * @returns [to.rows · to.cols, width], always a new array; sums in float64
 *
 * Source: Keys 1981, doi:10.1109/TASSP.1981.1163711 (there a = -0.5).
 */
export function resizePositions(positions: Float32Array, from: PatchGrid, to: PatchGrid, width: number): Float32Array {
  const down = cubicTaps(from.rows, to.rows);
  const across = cubicTaps(from.cols, to.cols);
  const resized = new Float32Array(to.rows * to.cols * width);
  const sums = new Float64Array(width);
  for (const [row, vertical] of down.entries()) {
    for (const [col, horizontal] of across.entries()) {
      sums.fill(0);
      for (const [i, y] of vertical.cells.entries()) {
        for (const [j, x] of horizontal.cells.entries()) {
          const share = (vertical.shares[i] as number) * (horizontal.shares[j] as number);
          const start = (y * from.cols + x) * width;
          for (let k = 0; k < width; k++) sums[k] = (sums[k] as number) + share * (positions[start + k] as number);
        }
      }
      resized.set(sums, (row * to.cols + col) * width);
    }
  }
  return resized;
}

function cubicTaps(from: number, to: number): readonly Taps[] {
  return Array.from({ length: to }, (_, cell) => {
    const position = ((cell + 0.5) * from) / to - 0.5;
    const first = Math.floor(position) - 1;
    const near = [first, first + 1, first + 2, first + 3];
    return {
      cells: near.map((at) => Math.min(from - 1, Math.max(0, at))),
      shares: near.map((at) => cubic(position - at)),
    };
  });
}

/** Keys' cubic kernel. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1;
  return x < 2 ? sharpness * (((x - 5) * x + 8) * x - 4) : 0;
}
