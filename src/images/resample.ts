import type { RgbImage } from './image.ts';
import type { Preprocessing } from './preprocessing.ts';

/** For every output pixel of one axis: where its input pixels begin, and their weights (sum 1). */
interface Taps {
  readonly first: Int32Array;
  /** [outputs · most] padded with zeros. */
  readonly weights: Float64Array;
  readonly counts: Int32Array;
  readonly most: number;
}

/** The predecessor's cubic (Keys with a = -0.5, as Pillow's BICUBIC). */
const cubicA = -0.5;

/**
 * Scales a picture. Ours and not a library's, because every memory depends on it: embeddings must not move with a release
 * of an image library.
 *
 * - `bicubic`: a = -0.5, the kernel widened when shrinking (antialias), values rounded to 8 bits after each axis: equal to
 *   Pillow's BICUBIC.
 * - `area`: the mean of the covered area when shrinking, linear when growing; not rounded.
 *
 * Pixel centres are at halves; columns first, then rows. A side that keeps its length is not touched.
 *
 * @returns [height · width · 3] 0..255
 */
export function resample(
  image: RgbImage,
  height: number,
  width: number,
  method: Preprocessing['resample'],
): Float32Array {
  const rounded = method === 'bicubic';
  const kernel = method === 'bicubic' ? cubicTaps : areaTaps;
  const wide = width === image.width ? image.data : resampleColumns(image, kernel(image.width, width), width, rounded);
  if (height === image.height) return Float32Array.from(wide);
  return resampleRows(wide, width, kernel(image.height, height), height, rounded);
}

function resampleColumns(
  { height, width, data }: RgbImage,
  taps: Taps,
  outWidth: number,
  rounded: boolean,
): Float32Array {
  const out = new Float32Array(height * outWidth * 3);
  for (let y = 0; y < height; y++) {
    const row = y * width * 3;
    let at = y * outWidth * 3;
    for (let x = 0; x < outWidth; x++, at += 3) {
      const count = taps.counts[x] as number;
      let from = row + (taps.first[x] as number) * 3;
      let tap = x * taps.most;
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let i = 0; i < count; i++, from += 3, tap++) {
        const weight = taps.weights[tap] as number;
        red += weight * (data[from] as number);
        green += weight * (data[from + 1] as number);
        blue += weight * (data[from + 2] as number);
      }
      out[at] = red;
      out[at + 1] = green;
      out[at + 2] = blue;
    }
  }
  return rounded ? roundInPlace(out) : out;
}

function resampleRows(
  data: ArrayLike<number>,
  width: number,
  taps: Taps,
  outHeight: number,
  rounded: boolean,
): Float32Array {
  const stride = width * 3;
  const out = new Float32Array(outHeight * stride);
  const sums = new Float64Array(stride);
  for (let y = 0; y < outHeight; y++) {
    sums.fill(0);
    for (let i = 0; i < (taps.counts[y] as number); i++) {
      const weight = taps.weights[y * taps.most + i] as number;
      const row = ((taps.first[y] as number) + i) * stride;
      for (let x = 0; x < stride; x++) sums[x] = (sums[x] as number) + weight * (data[row + x] as number);
    }
    out.set(sums, y * stride);
  }
  return rounded ? roundInPlace(out) : out;
}

function roundInPlace(values: Float32Array): Float32Array {
  for (let i = 0; i < values.length; i++)
    values[i] = Math.min(255, Math.max(0, Math.floor((values[i] as number) + 0.5)));
  return values;
}

function cubicTaps(inputs: number, outputs: number): Taps {
  const stretch = Math.max(1, inputs / outputs);
  return makeTaps(inputs, outputs, 2 * stretch, (distance) => cubic(distance / stretch));
}

function areaTaps(inputs: number, outputs: number): Taps {
  const scale = inputs / outputs;
  if (scale <= 1) return makeTaps(inputs, outputs, 1, (distance) => Math.max(0, 1 - Math.abs(distance)));
  // How much of the input pixel at this distance lies inside the output pixel.
  const covered = (distance: number) =>
    Math.max(0, Math.min(distance + 0.5, scale / 2) - Math.max(distance - 0.5, -scale / 2));
  return makeTaps(inputs, outputs, scale / 2 + 0.5, covered);
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((cubicA + 2) * x - (cubicA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * cubicA;
  return 0;
}

function makeTaps(inputs: number, outputs: number, support: number, weightAt: (distance: number) => number): Taps {
  const most = Math.ceil(support) * 2 + 2;
  const first = new Int32Array(outputs);
  const counts = new Int32Array(outputs);
  const weights = new Float64Array(outputs * most);
  for (let output = 0; output < outputs; output++) {
    const centre = ((output + 0.5) * inputs) / outputs;
    const from = Math.max(0, Math.floor(centre - support + 0.5));
    const to = Math.min(inputs, Math.floor(centre + support + 0.5));
    let sum = 0;
    for (let input = from; input < to; input++) {
      const weight = weightAt(input + 0.5 - centre);
      weights[output * most + input - from] = weight;
      sum += weight;
    }
    for (let i = 0; i < to - from; i++) weights[output * most + i] = (weights[output * most + i] as number) / sum;
    first[output] = from;
    counts[output] = to - from;
  }
  return { first, weights, counts, most };
}
