import { InspectionError } from '../errors.ts';
import type { ImageSize } from '../patchcore/grid.ts';

export interface LabelledRegions {
  /** [height · width] row-major: 0 = no region, else the region's number, from 1. */
  readonly labels: Int32Array;
  /** Pixels of each region; region n is at n - 1. */
  readonly sizes: readonly number[];
}

/**
 * Numbers the connected regions of a mask; pixels that touch at a corner are connected (8-connectivity). Numbers follow
 * the regions' first pixels from top to bottom, then from left to right. Unlike `findRegions` of patchcore it counts
 * pixels: a hole is not part of the region around it, a blob in the hole is a region of its own. O(pixels).
 *
 * @param mask [height · width] row-major, 0 = outside, anything else inside; not changed
 * @throws InspectionError `shape_mismatch` when the mask does not fill the size
 */
export function labelRegions(mask: Uint8Array, { height, width }: ImageSize): LabelledRegions {
  if (mask.length !== height * width) {
    throw new InspectionError(
      'shape_mismatch',
      `A mask of ${mask.length} pixels does not fill ${height} × ${width} pixels.`,
    );
  }
  const labels = new Int32Array(mask.length);
  const sizes: number[] = [];
  // Pixels that have their number and whose neighbours have not been looked at.
  const open: number[] = [];
  for (let first = 0; first < mask.length; first++) {
    if (mask[first] === 0 || labels[first] !== 0) continue;
    const label = sizes.length + 1;
    let size = 0;
    labels[first] = label;
    open.push(first);
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      size++;
      const x = at % width;
      const y = (at - x) / width;
      const left = Math.max(0, x - 1);
      const right = Math.min(width - 1, x + 1);
      const bottom = Math.min(height - 1, y + 1);
      for (let row = Math.max(0, y - 1); row <= bottom; row++) {
        for (let next = row * width + left; next <= row * width + right; next++) {
          if (mask[next] === 0 || labels[next] !== 0) continue;
          labels[next] = label;
          open.push(next);
        }
      }
    }
    sizes.push(size);
  }
  return { labels, sizes };
}
