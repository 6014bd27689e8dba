import type { GridFrame, PatchGrid } from '../patchcore/grid.ts';
import type { RgbImage } from './image.ts';
import type { NetworkInput, Preprocessing } from './preprocessing.ts';
import { resampleByRow } from './resample.ts';

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
 * @returns [3, height, width]: (v / 255 - mean) / std, black padding treated the same way
 */
export function prepareInput(image: RgbImage, preprocessing: Preprocessing): PreparedInput {
  const { height, width, resample: method, mean } = preprocessing;
  const placement = place(image, preprocessing);
  const plane = height * width;
  const data = new Float32Array(3 * plane);
  const scale = preprocessing.std.map((std) => 1 / std) as [number, number, number];
  if (placement.height < height || placement.width < width) {
    for (const index of [0, 1, 2] as const)
      data.fill((0 - mean[index]) * scale[index], index * plane, (index + 1) * plane);
  }
  // Where red, green and blue go.
  const order = preprocessing.colorOrder === 'rgb' ? ([0, 1, 2] as const) : ([2, 1, 0] as const);
  const means = order.map((index) => mean[index]) as [number, number, number];
  const scales = order.map((index) => scale[index]) as [number, number, number];
  resampleByRow(image, placement.height, placement.width, method, (row, y) => {
    const start = (placement.top + y) * width + placement.left;
    const [red, green, blue] = order.map((index) =>
      data.subarray(index * plane + start, index * plane + start + placement.width),
    ) as [Float32Array, Float32Array, Float32Array];
    normaliseRow(row, means, scales, red, green, blue);
  });
  return { input: { height, width, data }, placement };
}

/** An interleaved row 0..255 into three rows as the network wants them. */
function normaliseRow(
  row: Float32Array,
  [redMean, greenMean, blueMean]: readonly [number, number, number],
  [redScale, greenScale, blueScale]: readonly [number, number, number],
  red: Float32Array,
  green: Float32Array,
  blue: Float32Array,
): void {
  for (let x = 0, from = 0; x < red.length; x++, from += 3) {
    red[x] = ((row[from] as number) / 255 - redMean) * redScale;
    green[x] = ((row[from + 1] as number) / 255 - greenMean) * greenScale;
    blue[x] = ((row[from + 2] as number) / 255 - blueMean) * blueScale;
  }
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
