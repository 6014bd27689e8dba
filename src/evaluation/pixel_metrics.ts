import { InspectionError } from '../errors.ts';
import type { GrayMap } from '../patchcore/anomaly_map.ts';
import { labelRegions } from './mask_regions.ts';

/**
 * Pixel metrics without the maps: each picture leaves a tally of its map's values, and the metrics read lists of tallies.
 * Values are counted in 8192 bins of equal width (1/4096) from 0 to 2, where all distances of unit rows lie; bin b holds
 * b/4096 ≤ value < (b + 1)/4096, the last one 2 as well. What lies outside counts as 0 or 2. Values of one bin are ties;
 * each metric says what that costs.
 */
export const tallyBins = 8192;

/** Distances of unit rows are at most 2, Euclidean and cosine. */
const highestValue = 2;
const binsPerUnit = tallyBins / highestValue;

/** Bins from the first to the last that is not empty. */
export interface BinCounts {
  /** Bin of `counts[0]`; 0 when there are none. */
  readonly firstBin: number;
  /** Fills its buffer, so that it can be moved between threads. */
  readonly counts: Float64Array;
}

/** What the pixel metrics keep of one picture: usually 10 to 50 kB. */
export interface PixelTally {
  /** Pixels outside the defects. */
  readonly normal: BinCounts;
  /** Pixels inside the defects. */
  readonly defect: BinCounts;
  /** Each defect pixel counts 1 / size of its region, so that every region adds up to 1. */
  readonly regionShares: BinCounts;
  /** Number of connected defects. */
  readonly regions: number;
}

/**
 * Counts the values of one picture's map. Defects that touch at a corner are one region (8-connectivity).
 *
 * Cost: a few milliseconds for 448 × 448 pixels.
 *
 * @param map at least one pixel, finite; not changed
 * @param mask [height · width] row-major, 0 = normal, anything else = defect; null when the picture has no defect. A
 *   picture with a defect whose mask is unknown must be left out, not passed as null.
 * @throws InspectionError `shape_mismatch` when map or mask does not fill the map's size, `invalid_value` when the map
 *   holds a number that is not finite
 */
export function tallyPicture(map: GrayMap, mask: Uint8Array | null): PixelTally {
  const { height, width, data } = map;
  if (data.length !== height * width) {
    throw new InspectionError(
      'shape_mismatch',
      `A map of ${data.length} pixels does not fill ${height} × ${width} pixels.`,
    );
  }
  const normal = new Float64Array(tallyBins);
  if (mask === null) {
    for (let i = 0; i < data.length; i++) {
      const bin = binOf(data[i] as number);
      normal[bin] = (normal[bin] as number) + 1;
    }
    const none: BinCounts = { firstBin: 0, counts: new Float64Array(0) };
    return { normal: trimmed(normal), defect: none, regionShares: none, regions: 0 };
  }
  const { labels, sizes } = labelRegions(mask, map);
  const shares = sizes.map((size) => 1 / size);
  const defect = new Float64Array(tallyBins);
  const regionShares = new Float64Array(tallyBins);
  for (let i = 0; i < data.length; i++) {
    const bin = binOf(data[i] as number);
    const label = labels[i] as number;
    if (label === 0) {
      normal[bin] = (normal[bin] as number) + 1;
    } else {
      defect[bin] = (defect[bin] as number) + 1;
      regionShares[bin] = (regionShares[bin] as number) + (shares[label - 1] as number);
    }
  }
  return {
    normal: trimmed(normal),
    defect: trimmed(defect),
    regionShares: trimmed(regionShares),
    regions: sizes.length,
  };
}

/**
 * Area under the ROC curve of all pixels of all pictures: the chance that a defect pixel's value is above a normal
 * pixel's, ties (values of one bin) counted half. Large defects count more than small ones; {@link auPro} does not.
 *
 * Binning error: at most half the share of (normal, defect) pairs of pixels that fall into one bin.
 *
 * Cost: O(pictures · occupied bins).
 *
 * @returns 0..1; null without a defect pixel or without a normal one
 */
export function pixelAuroc(tallies: readonly PixelTally[]): number | null {
  const normal = summed(tallies, ({ normal }) => normal);
  const defect = summed(tallies, ({ defect }) => defect);
  let normalBelow = 0;
  let defects = 0;
  let twicePairs = 0;
  for (let bin = 0; bin < tallyBins; bin++) {
    const normalHere = normal[bin] as number;
    const defectHere = defect[bin] as number;
    twicePairs += defectHere * (2 * normalBelow + normalHere);
    normalBelow += normalHere;
    defects += defectHere;
  }
  if (normalBelow === 0 || defects === 0) return null;
  return twicePairs / (2 * normalBelow * defects);
}

/**
 * Area under the curve of per-region overlap (mean over all defect regions of the share of pixels at or above the
 * threshold, so that small defects count as much as large ones) against the false positive rate (share of all normal
 * pixels at or above the threshold, those of OK pictures and around defects included), from rate 0 to `maxFpr`, divided by
 * `maxFpr`. The curve starts at (0, 0), is straight between thresholds and is cut at the limit by linear interpolation.
 *
 * Binning error: at most half the sum, over the bins up to the limit, of the rise in overlap times the rise in rate within
 * the bin, divided by `maxFpr`; for the bin in which the limit lies, not halved and with the rise in rate up to the limit.
 *
 * Cost: O(pictures · occupied bins).
 *
 * @param maxFpr above 0, at most 1; 0.3 is usual, 0.05 looks at what a line could bear
 * @returns 0..1; guessing gives `maxFpr` / 2; null without a defect region or without a normal pixel
 * @throws InspectionError `invalid_value` for another limit
 *
 * Source: Bergmann et al. 2021, "The MVTec Anomaly Detection Dataset", IJCV 129 (AU-PRO); regions are
 * 8-connected as in their evaluation code.
 */
export function auPro(tallies: readonly PixelTally[], maxFpr: number): number | null {
  if (!(maxFpr > 0 && maxFpr <= 1)) {
    throw new InspectionError(
      'invalid_value',
      `The highest false positive rate is ${maxFpr}; it must be above 0 and at most 1.`,
    );
  }
  const regions = regionCount(tallies);
  const normal = summed(tallies, ({ normal }) => normal);
  const normalPixels = normal.reduce((sum, count) => sum + count, 0);
  if (regions === 0 || normalPixels === 0) return null;
  const shares = summed(tallies, ({ regionShares }) => regionShares);
  // Rates are counted in pixels and overlaps in regions; the division at the end turns both into shares.
  const limit = maxFpr * normalPixels;
  let falsePositives = 0;
  let overlap = 0;
  let area = 0;
  for (let bin = tallyBins - 1; bin >= 0 && falsePositives < limit; bin--) {
    const normalHere = normal[bin] as number;
    const rise = shares[bin] as number;
    const run = Math.min(normalHere, limit - falsePositives);
    if (run > 0) area += run * (overlap + (rise * run) / normalHere / 2);
    falsePositives += normalHere;
    overlap += rise;
  }
  return Math.min(1, area / (limit * regions));
}

/**
 * How much of a defect is marked at a threshold: the mean over all defect regions of the share of pixels at or above it.
 *
 * Binning error: the threshold counts as the lower edge of its bin, so it is up to 1/4096 lower than asked for and never
 * higher; the value is never too small, and exact for multiples of 1/4096. At or below 0 everything is marked; above 2
 * the last bin is.
 *
 * Cost: O(pictures · occupied bins).
 *
 * @param threshold in the map's unit, finite
 * @returns 0..1; null without a defect region
 * @throws InspectionError `invalid_value` when the threshold is not finite
 */
export function regionOverlap(tallies: readonly PixelTally[], threshold: number): number | null {
  if (!Number.isFinite(threshold)) {
    throw new InspectionError('invalid_value', `The threshold is ${threshold}; it must be finite.`);
  }
  const regions = regionCount(tallies);
  if (regions === 0) return null;
  const lowest = binOf(threshold);
  let overlap = 0;
  for (const { regionShares } of tallies) {
    const { firstBin, counts } = regionShares;
    for (let i = Math.max(0, lowest - firstBin); i < counts.length; i++) overlap += counts[i] as number;
  }
  return Math.min(1, overlap / regions);
}

function binOf(value: number): number {
  if (value >= 0 && value < highestValue) return Math.floor(value * binsPerUnit);
  if (!Number.isFinite(value)) {
    throw new InspectionError('invalid_value', `Pixel metrics need finite values; one of the map is ${value}.`);
  }
  return value < 0 ? 0 : tallyBins - 1;
}

/** A copy without the empty bins at both ends. */
function trimmed(counts: Float64Array): BinCounts {
  let end = counts.length;
  while (end > 0 && counts[end - 1] === 0) end--;
  let firstBin = 0;
  while (firstBin < end && counts[firstBin] === 0) firstBin++;
  return end === 0 ? { firstBin: 0, counts: counts.slice(0, 0) } : { firstBin, counts: counts.slice(firstBin, end) };
}

function summed(tallies: readonly PixelTally[], part: (tally: PixelTally) => BinCounts): Float64Array {
  // Bootstrap draws hold many pictures more than once: a third of the additions can be spared.
  const times = new Map<PixelTally, number>();
  for (const tally of tallies) times.set(tally, (times.get(tally) ?? 0) + 1);
  const sum = new Float64Array(tallyBins);
  for (const [tally, weight] of times) addInPlace(sum, part(tally), weight);
  return sum;
}

function addInPlace(sum: Float64Array, { firstBin, counts }: BinCounts, weight: number): void {
  for (let i = 0; i < counts.length; i++) {
    const bin = firstBin + i;
    sum[bin] = (sum[bin] as number) + weight * (counts[i] as number);
  }
}

function regionCount(tallies: readonly PixelTally[]): number {
  return tallies.reduce((sum, { regions }) => sum + regions, 0);
}
