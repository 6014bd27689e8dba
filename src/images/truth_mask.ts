import type { RgbImage } from './image.ts';

/** What somebody marked as defect in a picture, row-major. */
export interface TruthMask {
  readonly height: number;
  readonly width: number;
  /** [height · width] 1 = defect, 0 = not. */
  readonly data: Uint8Array;
}

/** Gray values above this are defect. */
const defectAbove = 127;

/**
 * Reads a mask picture: a pixel is defect when its gray value exceeds 127. Gray is Rec. 601's luma in whole numbers, as
 * Pillow's "L" makes it; a gray picture keeps its values.
 *
 * Masks are expected in black and white. One whose defects are numbered 1, 2, 3… is all black here and gives no defect.
 */
export function truthMask({ height, width, data }: RgbImage): TruthMask {
  const mask = new Uint8Array(height * width);
  for (let pixel = 0, at = 0; pixel < mask.length; pixel++, at += 3) {
    const [red, green, blue] = [data[at] as number, data[at + 1] as number, data[at + 2] as number];
    const gray = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    mask[pixel] = gray > defectAbove ? 1 : 0;
  }
  return { height, width, data: mask };
}
