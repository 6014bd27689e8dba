import { InspectionError } from '../errors.ts';
import type { ImageSize } from './grid.ts';

/** A ROI as a caller wrote it: what is missing means the whole picture. */
export interface ShapeSpec {
  /** Any case; `rect`, `circle`, `annulus`; anything else is the whole picture. */
  readonly kind: string;
  readonly numbers: Readonly<Partial<Record<ShapeNumber, number>>>;
}

export type ShapeNumber = 'x' | 'y' | 'w' | 'h' | 'cx' | 'cy' | 'r' | 'r_inner';

/** A ROI in pixels of the picture. */
export type RoiShape =
  | { readonly kind: 'whole' }
  | { readonly kind: 'rect'; readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  | {
      readonly kind: 'annulus';
      readonly cx: number;
      readonly cy: number;
      readonly r: number;
      /** 0: a circle. */
      readonly rInner: number;
    };

/** Which pixels are inspected. */
export interface RoiMask extends ImageSize {
  /** [height · width] 1 inside, 0 outside. */
  readonly data: Uint8Array;
  /** How many pixels are inside; never 0. */
  readonly covered: number;
}

/**
 * Fills in what a caller left out: a rectangle defaults to the picture, a circle to the largest one around its centre, an
 * annulus to no hole.
 *
 * @throws InspectionError `invalid_shape` for a number that is not finite, or a size or radius below 0
 */
export function resolveShape({ kind, numbers }: ShapeSpec, size: ImageSize): RoiShape {
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isFinite(value))
      throw new InspectionError('invalid_shape', `shape.${name} is ${value}; it must be finite.`);
  }
  for (const name of ['w', 'h', 'r', 'r_inner'] as const) {
    const value = numbers[name];
    if (value !== undefined && value < 0)
      throw new InspectionError('invalid_shape', `shape.${name} is ${value}; it must be at least 0.`);
  }
  const { x = 0, y = 0, w = size.width - x, h = size.height - y } = numbers;
  const { cx = (size.width - 1) / 2, cy = (size.height - 1) / 2, r = Math.min(size.width, size.height) / 2 } = numbers;
  switch (kind.toLowerCase()) {
    case 'rect':
      return { kind: 'rect', x, y, w, h };
    case 'circle':
      return { kind: 'annulus', cx, cy, r, rInner: 0 };
    case 'annulus':
      return { kind: 'annulus', cx, cy, r, rInner: numbers.r_inner ?? 0 };
    default:
      return { kind: 'whole' };
  }
}

/**
 * Draws a ROI. A rectangle holds the pixels whose middle lies in it (whole numbers: columns x to x + w - 1). A circle
 * holds every pixel it touches (at most r + 0.5 from its centre, where pixel (i, j) stands at the point (i, j)), an
 * annulus leaves out the pixels wholly in its hole (at most r_inner - 0.5): what is on the line is inspected. The
 * predecessor's circles are up to 0.9 px larger still: it counted OpenCV's anti-aliased rim.
 *
 * @throws InspectionError `empty_mask` when no pixel of the picture is covered: that must never read as a good part
 */
export function roiMask(shape: RoiShape, size: ImageSize): RoiMask {
  const data = new Uint8Array(size.height * size.width);
  const covered =
    shape.kind === 'whole'
      ? data.fill(1).length
      : shape.kind === 'rect'
        ? fillRect(data, size, shape)
        : fillAnnulus(data, size, shape);
  if (covered === 0) {
    throw new InspectionError(
      'empty_mask',
      `The shape ${JSON.stringify(shape)} covers no pixel of the ${size.width} × ${size.height} picture; check its position and size.`,
    );
  }
  return { ...size, data, covered };
}

function fillRect(data: Uint8Array, { height, width }: ImageSize, { x, y, w, h }: RoiShape & { kind: 'rect' }): number {
  const left = clamp(Math.ceil(x - 0.5), width);
  const right = clamp(Math.ceil(x + w - 0.5), width);
  const top = clamp(Math.ceil(y - 0.5), height);
  const bottom = clamp(Math.ceil(y + h - 0.5), height);
  if (right <= left) return 0;
  for (let row = top; row < bottom; row++) data.fill(1, row * width + left, row * width + right);
  return Math.max(0, bottom - top) * (right - left);
}

function fillAnnulus(
  data: Uint8Array,
  { height, width }: ImageSize,
  { cx, cy, r, rInner }: RoiShape & { kind: 'annulus' },
): number {
  if (rInner >= r) return 0;
  const reach = r + 0.5;
  const outer = reach * reach;
  const inner = rInner > 0.5 ? (rInner - 0.5) * (rInner - 0.5) : -1;
  let covered = 0;
  for (let row = clamp(Math.ceil(cy - reach), height); row < clamp(Math.floor(cy + reach) + 1, height); row++) {
    const dy = (row - cy) * (row - cy);
    for (let col = clamp(Math.ceil(cx - reach), width); col < clamp(Math.floor(cx + reach) + 1, width); col++) {
      const squared = dy + (col - cx) * (col - cx);
      if (squared <= outer && squared > inner) {
        data[row * width + col] = 1;
        covered++;
      }
    }
  }
  return covered;
}

function clamp(value: number, limit: number): number {
  return Math.min(limit, Math.max(0, value));
}
