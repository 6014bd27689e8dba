import { layout, loopsWith } from '../kernels/loops.ts';
import type { GrayMap } from './anomaly_map.ts';
import { maskedValues, percentile } from './image_score.ts';
import { type RoiMask, runsInside } from './roi_mask.ts';

/**
 * Pictures an anomaly map: its 1st to 99th percentile inside the mask becomes 0 to 255, 0 outside the mask. A flat map is
 * all 0. It shows where, not how much: two pictures' heatmaps are not on one scale.
 *
 * @param values the map's values inside the mask, in any order; not changed
 * @returns [height · width] 8 bit
 * @throws InspectionError `empty_mask`, `shape_mismatch`
 */
export function heatmap(map: GrayMap, mask: RoiMask, values = maskedValues(map, mask)): Uint8Array {
  const low = percentile(values, 1);
  const high = percentile(values, 99);
  const gray = new Uint8Array(map.data.length);
  if (!(high > low)) return gray;
  const scale = 255 / (high - low);
  let painted = 0;
  paint(map.data, low, scale, gray);
  for (const [first, behind] of runsInside(mask)) {
    gray.fill(0, painted, first);
    painted = behind;
  }
  gray.fill(0, painted);
  return gray;
}

/** Values that are painted in one go. */
const chunk = 16384;

/** (value - low) · scale, rounded, cut to 0..255. */
function paint(values: Float32Array, low: number, scale: number, gray: Uint8Array): void {
  const plan = layout();
  const [valuesAt, grayAt] = [plan(chunk * 4), plan(chunk)];
  const loops = loopsWith(plan(0));
  for (let start = 0; start < values.length; start += chunk) {
    const some = values.subarray(start, start + chunk);
    new Float32Array(loops.memory.buffer, valuesAt, chunk).set(some);
    loops.paint(valuesAt, some.length, low, scale, grayAt);
    gray.set(new Uint8Array(loops.memory.buffer, grayAt, some.length), start);
  }
}
