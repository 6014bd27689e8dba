import type { RgbImage } from './image.ts';
import type { Preprocessing } from './preprocessing.ts';

/** For every output pixel of one axis: where its input pixels begin, and their weights (sum 1). */
interface Taps {
  /** Never falls. */
  readonly first: Int32Array;
  /** [outputs · count]; an output that needs fewer has zeros behind, and these may reach beyond the last input. */
  readonly weights: Float64Array;
  /** Even, so that the inner loops can go in pairs, or 3: what area takes for shrinking to no less than half. */
  readonly count: number;
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
  const out = new Float32Array(height * width * 3);
  resampleByRow(image, height, width, method, (row, y) => out.set(row, y * row.length));
  return out;
}

/**
 * {@link resample}, one output row after the other: the scaled picture never exists as a whole.
 *
 * Besides the weights (about four numbers per input row and column) it holds only the source rows that one output row
 * needs, already scaled to the output's width. So a tall picture costs about 4 · image.height / height · width · 12
 * bytes, not image.height · width.
 *
 * @param take receives every row [width · 3], from the top; the array is used again for the next row
 */
export function resampleByRow(
  image: RgbImage,
  height: number,
  width: number,
  method: Preprocessing['resample'],
  take: (row: Float32Array, y: number) => void,
): void {
  const rounded = method === 'bicubic';
  const kernel = method === 'bicubic' ? cubicTaps : areaTaps;
  const columns = width === image.width ? null : kernel(image.width, width);
  const rows = height === image.height ? null : kernel(image.height, height);
  const stride = width * 3;
  const sourceStride = image.width * 3;
  const row = new Float32Array(stride);
  // A pixel is read with the byte behind it, and weights of 0 may reach beyond the last one.
  const rowBytes = sourceStride + (columns?.count ?? 0) * 3 + 1;
  const lastRow = new Uint8Array(rowBytes);

  const sourceRow = (y: number): DataView => {
    const start = y * sourceStride;
    if (start + rowBytes <= image.data.length) {
      return new DataView(image.data.buffer, image.data.byteOffset + start, rowBytes);
    }
    lastRow.set(image.data.subarray(start, start + sourceStride));
    return new DataView(lastRow.buffer);
  };
  const scaleSourceRow = (y: number, out: Float32Array): void => {
    if (columns === null) out.set(image.data.subarray(y * sourceStride, (y + 1) * sourceStride));
    else if (columns.count === 2) scaleRowByTwo(sourceRow(y), columns, out, rounded);
    else if (columns.count === 3) scaleRowByThree(sourceRow(y), columns, out, rounded);
    else if (columns.count === 4) scaleRowByFour(sourceRow(y), columns, out, rounded);
    else scaleRowByPairs(sourceRow(y), columns, out, rounded);
  };

  if (rows === null) {
    for (let y = 0; y < height; y++) {
      scaleSourceRow(y, row);
      take(row, y);
    }
    return;
  }
  const { count } = rows;
  // Source row r lies in place r modulo count.
  const ring = Array.from({ length: count }, () => new Float32Array(stride));
  const ringRow = (y: number) => ring[y % count] as Float32Array;
  // The rows that one output row needs, from the top.
  const needed: Float32Array[] = ring.slice();
  const sums = new Float64Array(stride);
  for (let y = 0, ready = 0; y < height; y++) {
    const first = rows.first[y] as number;
    const end = Math.min(first + count, image.height);
    for (ready = Math.max(ready, first); ready < end; ready++) scaleSourceRow(ready, ringRow(ready));
    const weights = rows.weights.subarray(y * count, (y + 1) * count);
    for (let i = 0; i < count; i++) needed[i] = ringRow(first + i);
    if (count === 2) sumTwoRows(needed, weights, row, rounded);
    else if (count === 3) sumThreeRows(needed, weights, row, rounded);
    else if (count === 4) sumFourRows(needed, weights, row, rounded);
    else sumManyRows(needed, weights, sums, row, rounded);
    take(row, y);
  }
}

// A pixel's three bytes are read as one word: V8 (Node 20) checks place and length at every access, which takes longer than
// shifting.

function scaleRowByTwo(source: DataView, { first, weights }: Taps, out: Float32Array, rounded: boolean): void {
  for (let x = 0, at = 0, tap = 0; x < first.length; x++, at += 3, tap += 2) {
    const from = (first[x] as number) * 3;
    const a = weights[tap] as number;
    const b = weights[tap + 1] as number;
    const p = source.getUint32(from, true);
    const q = source.getUint32(from + 3, true);
    const red = a * (p & 255) + b * (q & 255);
    const green = a * ((p >>> 8) & 255) + b * ((q >>> 8) & 255);
    const blue = a * ((p >>> 16) & 255) + b * ((q >>> 16) & 255);
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

function scaleRowByThree(source: DataView, { first, weights }: Taps, out: Float32Array, rounded: boolean): void {
  for (let x = 0, at = 0; x < first.length; x++, at += 3) {
    const from = (first[x] as number) * 3;
    const a = weights[at] as number;
    const b = weights[at + 1] as number;
    const c = weights[at + 2] as number;
    const p = source.getUint32(from, true);
    const q = source.getUint32(from + 3, true);
    const r = source.getUint32(from + 6, true);
    const red = a * (p & 255) + b * (q & 255) + c * (r & 255);
    const green = a * ((p >>> 8) & 255) + b * ((q >>> 8) & 255) + c * ((r >>> 8) & 255);
    const blue = a * ((p >>> 16) & 255) + b * ((q >>> 16) & 255) + c * ((r >>> 16) & 255);
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

function scaleRowByFour(source: DataView, { first, weights }: Taps, out: Float32Array, rounded: boolean): void {
  for (let x = 0, at = 0, tap = 0; x < first.length; x++, at += 3, tap += 4) {
    const from = (first[x] as number) * 3;
    const a = weights[tap] as number;
    const b = weights[tap + 1] as number;
    const c = weights[tap + 2] as number;
    const d = weights[tap + 3] as number;
    const p = source.getUint32(from, true);
    const q = source.getUint32(from + 3, true);
    const r = source.getUint32(from + 6, true);
    const s = source.getUint32(from + 9, true);
    const red = a * (p & 255) + b * (q & 255) + c * (r & 255) + d * (s & 255);
    const green = a * ((p >>> 8) & 255) + b * ((q >>> 8) & 255) + c * ((r >>> 8) & 255) + d * ((s >>> 8) & 255);
    const blue = a * ((p >>> 16) & 255) + b * ((q >>> 16) & 255) + c * ((r >>> 16) & 255) + d * ((s >>> 16) & 255);
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

function scaleRowByPairs(source: DataView, { first, weights, count }: Taps, out: Float32Array, rounded: boolean): void {
  for (let x = 0, at = 0, tap = 0; x < first.length; x++, at += 3) {
    let from = (first[x] as number) * 3;
    let red = 0;
    let green = 0;
    let blue = 0;
    for (const end = tap + count; tap < end; tap += 2, from += 6) {
      const a = weights[tap] as number;
      const b = weights[tap + 1] as number;
      const p = source.getUint32(from, true);
      const q = source.getUint32(from + 3, true);
      red = red + a * (p & 255) + b * (q & 255);
      green = green + a * ((p >>> 8) & 255) + b * ((q >>> 8) & 255);
      blue = blue + a * ((p >>> 16) & 255) + b * ((q >>> 16) & 255);
    }
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

// The sums over rows go pixel by pixel and take whole arrays instead of places in one: half the time of the plain loop, for
// V8 (Node 20) loads an array's address and length at every access.

function sumTwoRows(rows: readonly Float32Array[], weights: Float64Array, out: Float32Array, rounded: boolean): void {
  const [first, second] = rows as [Float32Array, Float32Array];
  const a = weights[0] as number;
  const b = weights[1] as number;
  for (let at = 0; at < out.length; at += 3) {
    const red = a * (first[at] as number) + b * (second[at] as number);
    const green = a * (first[at + 1] as number) + b * (second[at + 1] as number);
    const blue = a * (first[at + 2] as number) + b * (second[at + 2] as number);
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

function sumThreeRows(rows: readonly Float32Array[], weights: Float64Array, out: Float32Array, rounded: boolean): void {
  const [first, second, third] = rows as [Float32Array, Float32Array, Float32Array];
  const a = weights[0] as number;
  const b = weights[1] as number;
  const c = weights[2] as number;
  for (let at = 0; at < out.length; at += 3) {
    const red = a * (first[at] as number) + b * (second[at] as number) + c * (third[at] as number);
    const green = a * (first[at + 1] as number) + b * (second[at + 1] as number) + c * (third[at + 1] as number);
    const blue = a * (first[at + 2] as number) + b * (second[at + 2] as number) + c * (third[at + 2] as number);
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

function sumFourRows(rows: readonly Float32Array[], weights: Float64Array, out: Float32Array, rounded: boolean): void {
  const [first, second, third, fourth] = rows as [Float32Array, Float32Array, Float32Array, Float32Array];
  const a = weights[0] as number;
  const b = weights[1] as number;
  const c = weights[2] as number;
  const d = weights[3] as number;
  for (let at = 0; at < out.length; at += 3) {
    const red =
      a * (first[at] as number) + b * (second[at] as number) + c * (third[at] as number) + d * (fourth[at] as number);
    const green =
      a * (first[at + 1] as number) +
      b * (second[at + 1] as number) +
      c * (third[at + 1] as number) +
      d * (fourth[at + 1] as number);
    const blue =
      a * (first[at + 2] as number) +
      b * (second[at + 2] as number) +
      c * (third[at + 2] as number) +
      d * (fourth[at + 2] as number);
    out[at] = rounded ? toByte(red) : red;
    out[at + 1] = rounded ? toByte(green) : green;
    out[at + 2] = rounded ? toByte(blue) : blue;
  }
}

/**
 * Two rows a pass.
 *
 * @param sums for its own use, as long as `out`
 */
function sumManyRows(
  rows: readonly Float32Array[],
  weights: Float64Array,
  sums: Float64Array,
  out: Float32Array,
  rounded: boolean,
): void {
  sums.fill(0);
  for (let i = 0; i < rows.length; i += 2) {
    const first = rows[i] as Float32Array;
    const second = rows[i + 1] as Float32Array;
    const a = weights[i] as number;
    const b = weights[i + 1] as number;
    for (let at = 0; at < sums.length; at += 3) {
      sums[at] = (sums[at] as number) + a * (first[at] as number) + b * (second[at] as number);
      sums[at + 1] = (sums[at + 1] as number) + a * (first[at + 1] as number) + b * (second[at + 1] as number);
      sums[at + 2] = (sums[at + 2] as number) + a * (first[at + 2] as number) + b * (second[at + 2] as number);
    }
  }
  for (let at = 0; at < out.length; at++) out[at] = rounded ? toByte(sums[at] as number) : (sums[at] as number);
}

/** The nearest of 0..255 to the value as a float32 holds it, halves up. */
function toByte(value: number): number {
  return Math.max(0, Math.min(255, (Math.fround(value) + 0.5) | 0));
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
  const most = Math.min(inputs, Math.ceil(support) * 2 + 2);
  const froms = new Int32Array(outputs);
  const ends = new Int32Array(outputs);
  const first = new Int32Array(outputs);
  const all = new Float64Array(outputs * most);
  for (let output = 0; output < outputs; output++) {
    const centre = ((output + 0.5) * inputs) / outputs;
    const from = Math.max(0, Math.floor(centre - support + 0.5));
    const to = Math.min(inputs, Math.floor(centre + support + 0.5));
    let sum = 0;
    // Inputs of weight 0 at either end are left out: they would cost a pass for nothing.
    let start = to;
    let end = from;
    for (let input = from; input < to; input++) {
      const weight = weightAt(input + 0.5 - centre);
      all[output * most + input - from] = weight;
      sum += weight;
      if (weight === 0) continue;
      start = Math.min(start, input);
      end = input + 1;
    }
    for (let i = 0; i < to - from; i++) all[output * most + i] = (all[output * most + i] as number) / sum;
    froms[output] = from;
    ends[output] = end;
    first[output] = start;
  }
  // Left out at the picture's edge, an input may still be the next output's first: `first` must not fall.
  let count = 1;
  for (let output = outputs - 1; output >= 0; output--) {
    first[output] = Math.min(first[output] as number, first[output + 1] ?? inputs);
    count = Math.max(count, (ends[output] as number) - (first[output] as number));
  }
  const padded = count === 3 ? count : Math.ceil(count / 2) * 2;
  const weights = new Float64Array(outputs * padded);
  for (let output = 0; output < outputs; output++) {
    const start = output * most - (froms[output] as number);
    weights.set(all.subarray(start + (first[output] as number), start + (ends[output] as number)), output * padded);
  }
  return { first, weights, count: padded };
}
