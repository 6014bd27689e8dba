import { inSixteens, type Loops, layout, loopSlack, loopsWith } from '../kernels/loops.ts';
import type { RgbImage } from './image.ts';
import type { Preprocessing } from './preprocessing.ts';
import { areaTaps, cubicTaps } from './taps.ts';

/** How each method scales: in what its rows are kept, and with which taps and loops. */
const methods = {
  bicubic: { Row: Uint8Array, taps: cubicTaps, scaleRow: 'scaleByteRow', sumRows: 'sumByteRows' },
  area: { Row: Float32Array, taps: areaTaps, scaleRow: 'scaleRow', sumRows: 'sumRows' },
} as const;

/**
 * Scales a picture. Ours and not a library's, because every memory depends on it: embeddings must not move with a release
 * of an image library.
 *
 * - `bicubic`: a = -0.5, the kernel widened when shrinking (antialias), weights of 22 bits, values rounded to 8 bits after
 *   each axis: equal to Pillow's BICUBIC.
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
  take: (row: Uint8Array | Float32Array, y: number) => void,
): void {
  const scaling = planScaling(image, height, width, method);
  const loops = loopsWith(scaling.bytes);
  scaling.run(loops, (row, y) => take(new scaling.Row(loops.memory.buffer, row, width * 3), y));
}

/** A scaling that knows what it needs of the loops' memory before it begins. */
export interface Scaling {
  /** A multiple of 16. */
  readonly bytes: number;
  /** What its rows are. */
  readonly Row: typeof Uint8Array | typeof Float32Array;
  /**
   * Scales the picture in the first `bytes` of the loops' memory.
   *
   * @param take receives the address of every row, [width · 3], from the top; the next row takes its place
   */
  run(loops: Loops, take: (row: number, y: number) => void): void;
}

/**
 * {@link resample} for callers that go on in the loops' memory.
 *
 * Besides the weights (about four numbers per input row and column) the memory holds only the source rows that one output
 * row needs, already scaled to the output's width. So a tall picture costs about 4 · image.height / height · width pixels of
 * `Row`, not image.height · width.
 */
export function planScaling(
  image: RgbImage,
  height: number,
  width: number,
  method: Preprocessing['resample'],
): Scaling {
  const isScaled = width !== image.width || height !== image.height;
  // What is not scaled is the same by either method, and best left as bytes.
  const { Row, taps, scaleRow, sumRows } = methods[isScaled ? method : 'bicubic'];
  const columns = width === image.width ? null : taps(image.width, width);
  const rows = height === image.height ? null : taps(image.height, height);
  const count = rows?.count ?? 0;
  const rowBytes = inSixteens(width * 3 * Row.BYTES_PER_ELEMENT + loopSlack);
  const plan = layout();
  const rowAt = plan(rowBytes);
  const ringAt = plan(count * rowBytes);
  const neededAt = plan(count * 4);
  const rowWeightsAt = plan(rows?.weights.byteLength ?? 0);
  const sourceAt = plan((image.width + (columns?.count ?? 0)) * 3 + loopSlack);
  const firstAt = plan(width * 4);
  const columnWeightsAt = plan(columns?.weights.byteLength ?? 0);

  return {
    bytes: plan(0),
    Row,
    run: (loops, take) => {
      const { buffer } = loops.memory;
      const source = new Uint8Array(buffer, sourceAt, image.width * 3);
      if (columns !== null) {
        new Int32Array(buffer, firstAt, width).set(columns.first);
        layDown(buffer, columnWeightsAt, columns.weights);
      }
      const scaleSourceRow = (y: number, out: number): void => {
        const bytes = image.data.subarray(y * image.width * 3, (y + 1) * image.width * 3);
        if (columns === null) {
          new Row(buffer, out, width * 3).set(bytes);
          return;
        }
        source.set(bytes);
        loops[scaleRow](sourceAt, firstAt, columnWeightsAt, columns.count, width, out);
      };
      if (rows === null) {
        for (let y = 0; y < height; y++) {
          scaleSourceRow(y, rowAt);
          take(rowAt, y);
        }
        return;
      }
      layDown(buffer, rowWeightsAt, rows.weights);
      // Source row r lies in place r modulo count. Places behind the last row have weight 0, which NaN would survive.
      const ringRow = (y: number) => ringAt + (y % count) * rowBytes;
      new Uint8Array(buffer, ringAt, count * rowBytes).fill(0);
      const needed = new Int32Array(buffer, neededAt, count);
      const weightBytes = rows.weights.byteLength / height;
      for (let y = 0, ready = 0; y < height; y++) {
        const first = rows.first[y] as number;
        const end = Math.min(first + count, image.height);
        for (ready = Math.max(ready, first); ready < end; ready++) scaleSourceRow(ready, ringRow(ready));
        for (let i = 0; i < count; i++) needed[i] = ringRow(first + i);
        loops[sumRows](neededAt, rowWeightsAt + y * weightBytes, count, width * 3, rowAt);
        take(rowAt, y);
      }
    },
  };
}

function layDown(buffer: ArrayBuffer, at: number, weights: Float64Array | Int16Array): void {
  new Uint8Array(buffer, at, weights.byteLength).set(new Uint8Array(weights.buffer));
}
