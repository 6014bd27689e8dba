import { blurReachPx } from './anomaly_map.ts';
import type { GridFrame, PatchGrid } from './grid.ts';
import { cellsInFrame } from './memory_bank.ts';
import type { RoiMask } from './roi_mask.ts';

/**
 * The grid cells whose patches have a say in the anomaly map inside a ROI: the cells that touch it and those beside them
 * that interpolation and blur mix in. A memory without the patches of the latter would find the rim of every good part
 * strange.
 *
 * @param mask of the picture that lies on the grid as `frame` says
 * @param sigmaPx blur of the map, as for `anomalyMap`
 * @returns row-major, ascending; at least one, and no cell of padding
 *
 * Cost: about four looks at each of the mask's pixels.
 */
export function cellsSeenThrough(mask: RoiMask, grid: PatchGrid, frame: GridFrame, sigmaPx: number): Int32Array {
  const reach = blurReachPx(sigmaPx);
  const rows = pixelsOfCells(mask.height, frame.top, frame.height, grid.rows, reach);
  const cols = pixelsOfCells(mask.width, frame.left, frame.width, grid.cols, reach);
  return cellsInFrame(grid, frame).filter((cell) => {
    const [top, bottom] = rows[Math.floor(cell / grid.cols)] as PixelRange;
    const [left, right] = cols[cell % grid.cols] as PixelRange;
    for (let y = top; y < bottom; y++) {
      const start = y * mask.width;
      if (mask.data.subarray(start + left, start + right).includes(1)) return true;
    }
    return false;
  });
}

/** What rounding makes of the end of a frame is no part of a cell, and what it makes of a weight of 0 is none. */
const negligible = 1e-6;

/** From the first pixel up to, not including, the second. */
type PixelRange = readonly [number, number];

/**
 * Along one axis: the pixels whose value depends on each cell. A pixel is interpolated between the two cells whose centres
 * it lies between, and beyond the outermost centre it is that cell's alone.
 */
function pixelsOfCells(
  pixels: number,
  start: number,
  extent: number,
  cells: number,
  reach: number,
): readonly PixelRange[] {
  const firstCell = Math.max(0, Math.floor(start + negligible));
  const lastCell = Math.min(cells, Math.ceil(start + extent - negligible)) - 1;
  // Of the pixel whose centre lies there; whole numbers are centres.
  const pixelAt = (position: number) => ((position - start) / extent) * pixels - 0.5;
  return Array.from({ length: cells }, (_, cell): PixelRange => {
    const first = cell <= firstCell ? 0 : Math.ceil(pixelAt(cell - 0.5) + negligible);
    const end = cell >= lastCell ? pixels : Math.floor(pixelAt(cell + 1.5) - negligible) + 1;
    return [Math.max(0, first - reach), Math.min(pixels, end + reach)];
  });
}
