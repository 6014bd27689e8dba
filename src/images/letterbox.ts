import { layout, loopsWith } from '../kernels/loops.ts';
import type { GridFrame, PatchGrid } from '../patchcore/grid.ts';
import type { RgbImage } from './image.ts';
import type { NetworkInput, Preprocessing } from './preprocessing.ts';
import { planScaling } from './resample.ts';

/** Where the picture lies in the network's input, in whole input pixels. */
export interface Placement {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

export interface PreparedInput {
  readonly input: NetworkInput;
  readonly placement: Placement;
}

/**
 * Scales a picture into the network's input and normalises it. `letterbox` keeps the aspect ratio, rounds the scaled
 * sides, centres (the odd pixel goes right and below) and pads with black; `stretch` fills.
 *
 * @param allocate gives the array for the result
 * @returns [3, height, width]: (v / 255 - mean) / std, black padding treated the same way
 */
export function prepareInput(
  image: RgbImage,
  preprocessing: Preprocessing,
  allocate = (length: number): Float32Array => new Float32Array(length),
): PreparedInput {
  const { height, width, resample: method, mean } = preprocessing;
  const placement = place(image, preprocessing);
  const plane = height * width;
  const scale = preprocessing.std.map((std) => 1 / std) as [number, number, number];
  // Where red, green and blue go.
  const order = preprocessing.colorOrder === 'rgb' ? ([0, 1, 2] as const) : ([2, 1, 0] as const);
  const scaling = planScaling(image, placement.height, placement.width, method);
  const plan = layout(scaling.bytes);
  const meansAt = plan(3 * Float64Array.BYTES_PER_ELEMENT);
  const scalesAt = plan(3 * Float64Array.BYTES_PER_ELEMENT);
  const tablesAt = plan(3 * 256 * Float32Array.BYTES_PER_ELEMENT);
  const inputAt = plan(3 * plane * Float32Array.BYTES_PER_ELEMENT);
  const loops = loopsWith(plan(0));
  const memory = loops.memory.buffer;
  new Float64Array(memory, meansAt, 3).set(order.map((index) => mean[index]));
  new Float64Array(memory, scalesAt, 3).set(order.map((index) => scale[index]));
  const normalised = (value: number, index: 0 | 1 | 2) => (value / 255 - mean[index]) * scale[index];
  const tables = order.flatMap((index) => Array.from({ length: 256 }, (_, value) => normalised(value, index)));
  new Float32Array(memory, tablesAt, tables.length).set(tables);
  const input = new Float32Array(memory, inputAt, 3 * plane);
  if (placement.height < height || placement.width < width) {
    for (const index of order) input.fill(normalised(0, index), index * plane, (index + 1) * plane);
  }
  scaling.run(loops, (row, y) => {
    const start = (placement.top + y) * width + placement.left;
    const [red, green, blue] = order.map((index) => inputAt + 4 * (index * plane + start)) as [number, number, number];
    if (scaling.Row === Uint8Array) loops.lookUpRow(row, placement.width, tablesAt, red, green, blue);
    else loops.normaliseRow(row, placement.width, meansAt, scalesAt, red, green, blue);
  });
  const data = allocate(input.length);
  data.set(input);
  return { input: { height, width, data }, placement };
}

/** The placement in units of grid cells. */
export function gridFrame(
  placement: Placement,
  input: { readonly height: number; readonly width: number },
  grid: PatchGrid,
): GridFrame {
  const rows = grid.rows / input.height;
  const cols = grid.cols / input.width;
  return {
    top: placement.top * rows,
    left: placement.left * cols,
    height: placement.height * rows,
    width: placement.width * cols,
  };
}

function place(image: RgbImage, { height, width, fit }: Preprocessing): Placement {
  if (fit === 'stretch') return { top: 0, left: 0, height, width };
  const scale = Math.min(height / image.height, width / image.width);
  // A side that fills must not lose a pixel to rounding; one of a very thin picture keeps at least one.
  const inner = (side: number, limit: number) => Math.min(limit, Math.max(1, Math.round(side * scale)));
  const innerHeight = inner(image.height, height);
  const innerWidth = inner(image.width, width);
  return {
    top: Math.floor((height - innerHeight) / 2),
    left: Math.floor((width - innerWidth) / 2),
    height: innerHeight,
    width: innerWidth,
  };
}
