import { inSixteens, type Loops, layout, loopSlack, loopsWith } from '../kernels/loops.ts';
import type { RgbImage } from './image.ts';
import type { Preprocessing } from './preprocessing.ts';

/** For every output pixel of one axis: where its input pixels begin, and their weights (sum 1). */
interface Taps {
  /** Never falls. */
  readonly first: Int32Array;
  /** [outputs · count]; an output that needs fewer has zeros behind, and these may reach beyond the last input. */
  readonly weights: Float64Array;
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
 * @param take receives every row [width · 3], from the top; the array is used again for the next row
 */
export function resampleByRow(
  image: RgbImage,
  height: number,
  width: number,
  method: Preprocessing['resample'],
  take: (row: Float32Array, y: number) => void,
): void {
  const scaling = planScaling(image, height, width, method);
  const loops = loopsWith(scaling.bytes);
  scaling.run(loops, (row, y) => take(new Float32Array(loops.memory.buffer, row, width * 3), y));
}

/** A scaling that knows what it needs of the loops' memory before it begins. */
export interface Scaling {
  /** A multiple of 16. */
  readonly bytes: number;
  /**
   * Scales the picture in the first `bytes` of the loops' memory.
   *
   * @param take receives the address of every row, [width · 3] float32, from the top; the next row takes its place
   */
  run(loops: Loops, take: (row: number, y: number) => void): void;
}

/**
 * {@link resample} for callers that go on in the loops' memory.
 *
 * Besides the weights (about four numbers per input row and column) the memory holds only the source rows that one output
 * row needs, already scaled to the output's width. So a tall picture costs about 4 · image.height / height · width · 12
 * bytes, not image.height · width.
 */
export function planScaling(
  image: RgbImage,
  height: number,
  width: number,
  method: Preprocessing['resample'],
): Scaling {
  const rounded = method === 'bicubic';
  const kernel = method === 'bicubic' ? cubicTaps : areaTaps;
  const columns = width === image.width ? null : kernel(image.width, width);
  const rows = height === image.height ? null : kernel(image.height, height);
  const count = rows?.count ?? 0;
  const rowBytes = inSixteens(width * 12 + loopSlack);
  const plan = layout();
  const rowAt = plan(rowBytes);
  const ringAt = plan(count * rowBytes);
  const neededAt = plan(count * 4);
  const rowWeightsAt = plan(count * 8);
  const sourceAt = plan((image.width + (columns?.count ?? 0)) * 3 + loopSlack);
  const firstAt = plan(width * 4);
  const columnWeightsAt = plan(columns?.weights.byteLength ?? 0);

  return {
    bytes: plan(0),
    run: ({ memory: { buffer }, scaleRow, sumRows }, take) => {
      const source = new Uint8Array(buffer, sourceAt, image.width * 3);
      if (columns !== null) {
        new Int32Array(buffer, firstAt, width).set(columns.first);
        new Float64Array(buffer, columnWeightsAt, columns.weights.length).set(columns.weights);
      }
      const scaleSourceRow = (y: number, out: number): void => {
        const bytes = image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3);
        if (columns === null) {
          new Float32Array(buffer, out, width * 3).set(bytes);
          return;
        }
        source.set(bytes);
        scaleRow(sourceAt, firstAt, columnWeightsAt, columns.count, width, rounded, out);
      };
      if (rows === null) {
        for (let y = 0; y < height; y++) {
          scaleSourceRow(y, rowAt);
          take(rowAt, y);
        }
        return;
      }
      // Source row r lies in place r modulo count. Places behind the last row have weight 0, which NaN would survive.
      const ringRow = (y: number) => ringAt + (y % count) * rowBytes;
      new Uint8Array(buffer, ringAt, count * rowBytes).fill(0);
      const needed = new Int32Array(buffer, neededAt, count);
      const weights = new Float64Array(buffer, rowWeightsAt, count);
      for (let y = 0, ready = 0; y < height; y++) {
        const first = rows.first[y] as number;
        const end = Math.min(first + count, image.height);
        for (ready = Math.max(ready, first); ready < end; ready++) scaleSourceRow(ready, ringRow(ready));
        weights.set(rows.weights.subarray(y * count, (y + 1) * count));
        for (let i = 0; i < count; i++) needed[i] = ringRow(first + i);
        sumRows(neededAt, rowWeightsAt, count, width * 3, rounded, rowAt);
        take(rowAt, y);
      }
    },
  };
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
  const weights = new Float64Array(outputs * count);
  for (let output = 0; output < outputs; output++) {
    const start = output * most - (froms[output] as number);
    weights.set(all.subarray(start + (first[output] as number), start + (ends[output] as number)), output * count);
  }
  return { first, weights, count };
}
