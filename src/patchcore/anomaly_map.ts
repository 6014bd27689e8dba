import { InspectionError } from '../errors.ts';
import { inSixteens, layout, loopSlack, loopsWith } from '../kernels/loops.ts';
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
  const down = axisWeights(size.height, frame.top, frame.height, grid.rows, sigmaPx);
  const across = axisWeights(size.width, frame.left, frame.width, grid.cols, sigmaPx);
  const { width } = size;
  const plan = layout();
  const rowBytes = inSixteens(width * 4 + loopSlack);
  const wideAt = plan(grid.rows * rowBytes);
  const rowsAt = plan(grid.rows * 4);
  const weightsAt = plan(down.weights.byteLength);
  const pixelsAt = plan(rowBytes);
  const loops = loopsWith(plan(0));
  const { buffer } = loops.memory;
  new Int32Array(buffer, rowsAt, grid.rows).set(Array.from({ length: grid.rows }, (_, row) => wideAt + row * rowBytes));
  new Float64Array(buffer, weightsAt, down.weights.length).set(down.weights);
  for (let row = down.firstCell; row <= down.lastCell; row++) {
    widen(patchScores, row * grid.cols, across, new Float32Array(buffer, wideAt + row * rowBytes, width));
  }
  const pixels = new Float32Array(buffer, pixelsAt, width);
  const data = new Float32Array(size.height * width);
  for (let y = 0; y < size.height; y++) {
    const [rows, weights] = [rowsAt + 4 * (down.first[y] as number), weightsAt + 8 * y * down.stride];
    loops.sumRows(rows, weights, down.count[y] as number, width, pixelsAt);
    data.set(pixels, y * width);
  }
  return { ...size, data };
}

/** For every pixel of one axis the cells it is made of and their shares: interpolation and blur in one. */
interface AxisWeights {
  /** [pixels] first cell of each, never falling. */
  readonly first: Int32Array;
  /** [pixels] how many cells from there on; never beyond `lastCell`. */
  readonly count: Int32Array;
  /** [pixels · stride] shares of the pixel's cells, which sum to 1; 0 beyond their count. */
  readonly weights: Float64Array;
  readonly stride: number;
  readonly firstCell: number;
  readonly lastCell: number;
}

/**
 * Blurring an interpolated line is linear in its few cells: weighing them once by both is as exact and many times cheaper
 * than blurring pixels.
 */
function axisWeights(pixels: number, start: number, extent: number, cells: number, sigmaPx: number): AxisWeights {
  const { low, high, share } = interpolation(pixels, start, extent, cells);
  const kernel = sigmaPx > 0 ? gaussianKernel(sigmaPx) : Float64Array.of(1);
  const radius = kernel.length - 1;
  const first = new Int32Array(pixels);
  const count = new Int32Array(pixels);
  let stride = 0;
  for (let pixel = 0; pixel < pixels; pixel++) {
    // A mirrored neighbour lies within the other half of the window, or, in a small picture, within the picture.
    const from = low[Math.max(0, pixel - radius)] as number;
    const to = high[Math.min(pixels - 1, pixel + radius)] as number;
    first[pixel] = from;
    count[pixel] = to - from + 1;
    stride = Math.max(stride, to - from + 1);
  }
  const weights = new Float64Array(pixels * stride);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const base = pixel * stride - (first[pixel] as number);
    for (let offset = -radius; offset <= radius; offset++) {
      const at = pixel + offset;
      const source = at >= 0 && at < pixels ? at : mirrored(at, pixels);
      const weight = kernel[Math.abs(offset)] as number;
      const toHigh = weight * (share[source] as number);
      const lowAt = base + (low[source] as number);
      const highAt = base + (high[source] as number);
      weights[lowAt] = (weights[lowAt] as number) + (weight - toHigh);
      weights[highAt] = (weights[highAt] as number) + toHigh;
    }
  }
  return { first, count, weights, stride, firstCell: low[0] as number, lastCell: high[pixels - 1] as number };
}

/** A grid row, from `start` on, at image width. */
function widen(scores: Float32Array, start: number, across: AxisWeights, out: Float32Array): void {
  const { first, count, weights, stride } = across;
  for (let x = 0; x < out.length; x++) {
    const cell = start + (first[x] as number);
    let sum = 0;
    for (let i = 0; i < (count[x] as number); i++) {
      sum += (weights[x * stride + i] as number) * (scores[cell + i] as number);
    }
    out[x] = sum;
  }
}

/** How far a pixel's value reaches through the blur, in pixels to each side. */
export function blurReachPx(sigmaPx: number): number {
  return sigmaPx > 0 ? Math.max(smallestRadius, Math.ceil(3 * sigmaPx)) : 0;
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

/** Half of a symmetric kernel: the middle first. It sums to 1 with its mirror image. */
function gaussianKernel(sigmaPx: number): Float64Array {
  const radius = blurReachPx(sigmaPx);
  const half = Float64Array.from({ length: radius + 1 }, (_, i) => Math.exp((-i * i) / (2 * sigmaPx * sigmaPx)));
  const sum = half.reduce((total, weight, i) => total + (i === 0 ? weight : 2 * weight), 0);
  return half.map((weight) => weight / sum);
}

/** reflect-101: … 2 1 0 1 2 …, as often as a small picture needs. */
function mirrored(index: number, length: number): number {
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const folded = ((index % period) + period) % period;
  return folded < length ? folded : period - folded;
}
