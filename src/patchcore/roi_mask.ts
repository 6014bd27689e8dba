import { InspectionError } from '../errors.ts';
import type { ImageSize } from './grid.ts';

/** A ROI as a caller wrote it: what is missing means the whole picture. */
export interface ShapeSpec {
  /** `rect`, `circle`, `annulus` in any case; anything else is the whole picture. */
  readonly kind: string;
  /** Those of another kind are not looked at. */
  readonly numbers: Readonly<Partial<Record<ShapeNumber, number>>>;
}

export type ShapeNumber = 'x' | 'y' | 'w' | 'h' | 'cx' | 'cy' | 'r' | 'r_inner';

/** The numbers that each kind of shape has. */
export const numbersOfKind = {
  rect: ['x', 'y', 'w', 'h'],
  circle: ['cx', 'cy', 'r'],
  annulus: ['cx', 'cy', 'r', 'r_inner'],
} as const satisfies Readonly<Record<string, readonly ShapeNumber[]>>;

export type ShapeKind = keyof typeof numbersOfKind;

/** The kind a caller means, written in any case and with blanks around it; null: none of ours. */
export function shapeKind(text: string): ShapeKind | null {
  const kind = text.trim().toLowerCase();
  return Object.hasOwn(numbersOfKind, kind) ? (kind as ShapeKind) : null;
}

/** A ROI in pixels of the picture. */
export type RoiShape =
  | { readonly kind: 'whole' }
  | { readonly kind: 'rect'; readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  | { readonly kind: 'circle'; readonly cx: number; readonly cy: number; readonly r: number }
  | {
      readonly kind: 'annulus';
      readonly cx: number;
      readonly cy: number;
      readonly r: number;
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
 * @throws InspectionError `invalid_shape` for a number of the kind that is not finite, or a size or radius below 0
 */
export function resolveShape(spec: ShapeSpec, size: ImageSize): RoiShape {
  const kind = shapeKind(spec.kind);
  if (kind === null) return { kind: 'whole' };
  const numbers = numbersOf(kind, spec.numbers);
  if (kind === 'rect') {
    const { x = 0, y = 0, w = size.width - x, h = size.height - y } = numbers;
    return { kind, x, y, w, h };
  }
  const { cx = (size.width - 1) / 2, cy = (size.height - 1) / 2, r = Math.min(size.width, size.height) / 2 } = numbers;
  return kind === 'circle' ? { kind, cx, cy, r } : { kind, cx, cy, r, rInner: numbers.r_inner ?? 0 };
}

function numbersOf(kind: ShapeKind, given: ShapeSpec['numbers']): ShapeSpec['numbers'] {
  const numbers: Partial<Record<ShapeNumber, number>> = {};
  for (const name of numbersOfKind[kind]) {
    const value = given[name];
    if (value === undefined) continue;
    if (!Number.isFinite(value))
      throw new InspectionError('invalid_shape', `shape.${name} is ${value}; it must be finite.`);
    if (value < 0 && sizes.has(name))
      throw new InspectionError('invalid_shape', `shape.${name} is ${value}; it must be at least 0.`);
    numbers[name] = value;
  }
  return numbers;
}

const sizes: ReadonlySet<ShapeNumber> = new Set(['w', 'h', 'r', 'r_inner']);

/**
 * Draws a ROI. A rectangle holds the pixels whose middle lies in it (whole numbers: columns x to x + w - 1). A circle
 * of r above 0 holds every pixel it touches (at most r + 0.5 from its centre, where pixel (i, j) stands at the point (i, j)), an
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
        : fillAnnulus(data, size, shape.kind === 'circle' ? { ...shape, kind: 'annulus', rInner: 0 } : shape);
  if (covered === 0) {
    throw new InspectionError(
      'empty_mask',
      `The shape ${asPosted(shape)} covers no pixel of the ${size.width} × ${size.height} picture; check its position and size.`,
    );
  }
  return { ...size, data, covered };
}

/** A shape in the words of the callers' JSON. */
function asPosted(shape: RoiShape): string {
  return JSON.stringify(shape).replace('"rInner"', '"r_inner"');
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
  const hole = rInner > 0.5 ? rInner - 0.5 : -1;
  let covered = 0;
  for (let row = clamp(Math.ceil(cy - reach), height); row < clamp(Math.floor(cy + reach) + 1, height); row++) {
    const outer = chord(cx, row - cy, reach, width);
    data.fill(1, row * width + outer.first, row * width + outer.behind);
    covered += outer.behind - outer.first;
    if (Math.abs(row - cy) > hole) continue;
    const inner = chord(cx, row - cy, hole, width);
    data.fill(0, row * width + inner.first, row * width + inner.behind);
    covered -= inner.behind - inner.first;
  }
  return covered;
}

/** The pixels of a row `dy` from a circle's centre that are at most `reach` from it; first and behind are equal for none. */
function chord(cx: number, dy: number, reach: number, width: number): { first: number; behind: number } {
  const limit = reach * reach;
  const isWithin = (col: number) => {
    const dx = col - cx;
    // Callers may send numbers whose squares are none.
    return Number.isFinite(limit) ? dx * dx + dy * dy <= limit : Math.hypot(dx, dy) <= reach;
  };
  const nearest = Math.min(width - 1, Math.max(0, Math.round(cx)));
  if (!isWithin(nearest)) return { first: 0, behind: 0 };
  // Both ways from there no pixel is nearer than the one before it.
  return {
    first: firstOf(0, nearest, isWithin),
    behind: firstOf(nearest, width, (col) => col === width || !isWithin(col)),
  };
}

/** The first whole number from `low` on for which `holds`, which does for `high` and for all behind the first. */
function firstOf(low: number, high: number, holds: (value: number) => boolean): number {
  let [from, to] = [low, high];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (holds(middle)) to = middle;
    else from = middle + 1;
  }
  return to;
}

/** Stretches of neighbouring pixels inside, row-major over the whole picture: from the first pixel to the one behind. */
export function runsInside({ data }: RoiMask): Generator<readonly [first: number, behind: number]> {
  return runsOf(data);
}

/** Stretches of ones among ones and zeros: from the first to the one behind the last. */
export function* runsOf(data: Uint8Array): Generator<readonly [first: number, behind: number]> {
  for (let first = data.indexOf(1); first >= 0; ) {
    const next = data.indexOf(0, first);
    const behind = next < 0 ? data.length : next;
    yield [first, behind];
    first = data.indexOf(1, behind);
  }
}

function clamp(value: number, limit: number): number {
  return Math.min(limit, Math.max(0, value));
}
