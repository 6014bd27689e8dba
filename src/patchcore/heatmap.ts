import type { GrayMap } from './anomaly_map.ts';
import { maskedValues, percentileInPlace } from './image_score.ts';
import type { RoiMask } from './roi_mask.ts';

/**
 * Pictures an anomaly map: its 1st to 99th percentile inside the mask becomes 0 to 255, 0 outside the mask. A flat map is
 * all 0. It shows where, not how much: two pictures' heatmaps are not on one scale.
 *
 * @returns [height · width] 8 bit
 * @throws InspectionError `empty_mask`, `shape_mismatch`
 */
export function heatmap(map: GrayMap, mask: RoiMask): Uint8Array {
  const values = maskedValues(map, mask);
  const low = percentileInPlace(values, 1);
  const high = percentileInPlace(values, 99);
  const gray = new Uint8Array(map.data.length);
  if (!(high > low)) return gray;
  const scale = 255 / (high - low);
  for (let i = 0; i < gray.length; i++) {
    if (mask.data[i] === 0) continue;
    const value = ((map.data[i] as number) - low) * scale;
    // The array cuts fractions off: half a level more rounds, and costs a third of Math.round.
    if (value > 0) gray[i] = value < 255 ? value + 0.5 : 255;
  }
  return gray;
}
