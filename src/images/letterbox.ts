import type { GridFrame, PatchGrid } from '../patchcore/grid.ts';
import type { RgbImage } from './image.ts';
import type { NetworkInput, Preprocessing } from './preprocessing.ts';
import { resample } from './resample.ts';

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
  const { height, width, resample: method } = preprocessing;
  const placement = place(image, preprocessing);
  const scaled = resample(image, placement.height, placement.width, method);
  const data = new Float32Array(3 * height * width);
  const plane = height * width;
  const channels = preprocessing.colorOrder === 'rgb' ? [0, 1, 2] : [2, 1, 0];
  for (const [index, channel] of channels.entries()) {
    const mean = preprocessing.mean[index] as number;
    const scale = 1 / (preprocessing.std[index] as number);
    if (placement.height < height || placement.width < width)
      data.fill((0 - mean) * scale, index * plane, (index + 1) * plane);
    for (let y = 0; y < placement.height; y++) {
      let from = y * placement.width * 3 + channel;
      const start = index * plane + (placement.top + y) * width + placement.left;
      for (let x = 0; x < placement.width; x++, from += 3)
        data[start + x] = ((scaled[from] as number) / 255 - mean) * scale;
    }
  }
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
