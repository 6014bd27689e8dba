import { InspectionError } from '../errors.ts';
import type { GridFrame, ImageSize, PatchGrid } from './grid.ts';

/** One number per pixel. */
export interface GrayMap extends ImageSize {
  /** [height · width] row-major. */
  readonly data: Float32Array;
}

/** The predecessor's window for its blur of 1 px; wider blurs reach three sigma. */
const smallestRadius = 3;

/**
 * Draws a patch-score grid at image size: bilinear, then Gaussian blur.
 *
 * Every pixel's centre is mapped to the grid through `frame`, so padding is cut away, not stretched over the picture.
 * Cells the picture does not touch are never read. The blur's window is 7 × 7 (for a sigma above 1: three sigma to each
 * side), mirrored at the border without repeating the edge (reflect-101).
 *
 * @param patchScores [rows · cols] row-major, any unit; cells of padding may hold anything
 * @param sigmaPx blur in image pixels, ≥ 0; 0 means none
 * @returns same unit; values stay within the input's range
 * @throws InspectionError `shape_mismatch` if the scores do not fill the grid
 *
 * Source: Roth et al. 2022, arXiv:2106.08265, sec. 3.3 (they use sigma 4).
 */
export function anomalyMap(
  patchScores: Float32Array,
  grid: PatchGrid,
  frame: GridFrame,
  size: ImageSize,
  sigmaPx: number,
): GrayMap {
  if (patchScores.length !== grid.rows * grid.cols) {
    throw new InspectionError(
      'shape_mismatch',
      `${patchScores.length} patch scores do not fill a ${grid.rows} × ${grid.cols} grid.`,
    );
  }
  const rows = interpolation(size.height, frame.top, frame.height, grid.rows);
  const cols = interpolation(size.width, frame.left, frame.width, grid.cols);
  const data = new Float32Array(size.height * size.width);
  // One grid row at image width at a time: the row above and the one below the current pixel row.
  const upper = new Float32Array(size.width);
  const lower = new Float32Array(size.width);
  let upperRow = -1;
  let lowerRow = -1;
  for (let y = 0; y < size.height; y++) {
    const low = rows.low[y] as number;
    const high = rows.high[y] as number;
    if (upperRow !== low) {
      widen(patchScores, low * grid.cols, cols, upper);
      upperRow = low;
    }
    if (lowerRow !== high) {
      widen(patchScores, high * grid.cols, cols, lower);
      lowerRow = high;
    }
    const share = rows.share[y] as number;
    const start = y * size.width;
    for (let x = 0; x < size.width; x++) {
      const above = upper[x] as number;
      data[start + x] = above + ((lower[x] as number) - above) * share;
    }
  }
  return { ...size, data: sigmaPx > 0 ? blur(data, size, gaussianKernel(sigmaPx)) : data };
}

/** For every pixel of one axis: the two cells it lies between and how far it is towards the second. */
interface Interpolation {
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly share: Float64Array;
}

function interpolation(pixels: number, start: number, extent: number, cells: number): Interpolation {
  const first = Math.max(0, Math.floor(start + 1e-6));
  const last = Math.min(cells, Math.ceil(start + extent - 1e-6)) - 1;
  const low = new Int32Array(pixels);
  const high = new Int32Array(pixels);
  const share = new Float64Array(pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const position = start + ((pixel + 0.5) / pixels) * extent - 0.5;
    const clamped = Math.min(last, Math.max(first, position));
    low[pixel] = Math.floor(clamped);
    high[pixel] = Math.min(last, Math.floor(clamped) + 1);
    share[pixel] = clamped - Math.floor(clamped);
  }
  return { low, high, share };
}

function widen(scores: Float32Array, start: number, cols: Interpolation, out: Float32Array): void {
  for (let x = 0; x < out.length; x++) {
    const left = scores[start + (cols.low[x] as number)] as number;
    const right = scores[start + (cols.high[x] as number)] as number;
    out[x] = left + (right - left) * (cols.share[x] as number);
  }
}

/** Half of a symmetric kernel: the middle first. It sums to 1 with its mirror image. */
function gaussianKernel(sigmaPx: number): Float64Array {
  const radius = Math.max(smallestRadius, Math.ceil(3 * sigmaPx));
  const half = Float64Array.from({ length: radius + 1 }, (_, i) => Math.exp((-i * i) / (2 * sigmaPx * sigmaPx)));
  const sum = half.reduce((total, weight, i) => total + (i === 0 ? weight : 2 * weight), 0);
  return half.map((weight) => weight / sum);
}

/** Separable blur: along the rows, then along the columns. */
function blur(data: Float32Array, { height, width }: ImageSize, kernel: Float64Array): Float32Array {
  const radius = kernel.length - 1;
  const middle = kernel[0] as number;
  const across = new Float32Array(data.length);
  const padded = new Float32Array(width + 2 * radius);
  for (let y = 0; y < height; y++) {
    const start = y * width;
    padded.set(data.subarray(start, start + width), radius);
    for (let i = 1; i <= radius; i++) {
      padded[radius - i] = data[start + mirrored(-i, width)] as number;
      padded[radius + width - 1 + i] = data[start + mirrored(width - 1 + i, width)] as number;
    }
    for (let x = 0; x < width; x++) {
      const at = x + radius;
      let sum = middle * (padded[at] as number);
      for (let i = 1; i <= radius; i++)
        sum += (kernel[i] as number) * ((padded[at - i] as number) + (padded[at + i] as number));
      across[start + x] = sum;
    }
  }
  const blurred = new Float32Array(data.length);
  const sums = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    const start = y * width;
    for (let x = 0; x < width; x++) sums[x] = middle * (across[start + x] as number);
    for (let i = 1; i <= radius; i++) {
      const weight = kernel[i] as number;
      const above = mirrored(y - i, height) * width;
      const below = mirrored(y + i, height) * width;
      for (let x = 0; x < width; x++)
        sums[x] = (sums[x] as number) + weight * ((across[above + x] as number) + (across[below + x] as number));
    }
    blurred.set(sums, start);
  }
  return blurred;
}

/** reflect-101: … 2 1 0 1 2 …, as often as a small picture needs. */
function mirrored(index: number, length: number): number {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const folded = ((index % period) + period) % period;
  return folded < length ? folded : period - folded;
}
