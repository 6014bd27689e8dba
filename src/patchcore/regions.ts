import { layout, loopSlack, loopsWith } from '../kernels/loops.ts';
import type { GrayMap } from './anomaly_map.ts';
import { type RoiMask, runsOf } from './roi_mask.ts';

export type Point = readonly [x: number, y: number];

/** One connected defect, in pixels of the picture. */
export interface Region {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  /** [x, y, w, h] */
  readonly bbox: readonly [number, number, number, number];
  /** Area inside the contour, which runs through pixel centres: a single pixel or a line one pixel wide has 0. */
  readonly areaPx: number;
  readonly areaMm2: number;
  /** Corner points of the outer border, in its order; straight runs are left out. */
  readonly contour: readonly Point[];
}

/** The eight directions counter-clockwise from east, in picture coordinates (y grows downwards). */
const stepX = [1, 1, 0, -1, -1, -1, 0, 1] as const;
const stepY = [0, -1, -1, -1, 0, 1, 1, 1] as const;

/** Marks in the padded picture: nothing, a pixel not yet traced, a traced one, a traced one with nothing to its right. */
const empty = 0;
const untraced = 1;
const traced = 2;
const tracedRightEdge = -2;

/**
 * Finds the regions where the map reaches the threshold inside the mask: 8-connected, outermost borders only (a blob in
 * the hole of another is part of it), largest first, equal ones from top to bottom, then from left to right.
 *
 * @param threshold in the map's unit
 * @param minAreaPx smaller regions are left out
 *
 * Source: Suzuki & Abe 1985, border following, restricted to outermost borders; contours, areas and boxes equal OpenCV's
 * findContours(RETR_EXTERNAL, CHAIN_APPROX_SIMPLE), contourArea and boundingRect.
 */
export function findRegions(
  map: GrayMap,
  mask: RoiMask,
  threshold: number,
  minAreaPx: number,
  mmPerPx: number,
): Region[] {
  const { height, width } = map;
  // A frame of empty pixels spares every look at a neighbour the question whether it exists.
  const stride = width + 2;
  const marks = new Int8Array(stride * (height + 2));
  const rows = markReaching(map, mask, threshold, marks, stride);
  if (rows.length === 0) return [];
  const regions = outermostBorders(marks, stride, rows)
    .map((contour) => regionOf(contour, mmPerPx))
    .filter(({ areaPx }) => areaPx >= minAreaPx);
  return regions.sort((a, b) => b.areaPx - a.areaPx || a.y - b.y || a.x - b.x);
}

/** A row of the padded picture, and first and last pixel of each run of marks. */
interface MarkedRow {
  readonly y: number;
  readonly runs: readonly (readonly [first: number, last: number])[];
}

/** Marks the pixels that reach the threshold as untraced. @returns the rows that have any, from the top */
function markReaching(
  { height, width, data }: GrayMap,
  mask: RoiMask,
  threshold: number,
  marks: Int8Array,
  stride: number,
): readonly MarkedRow[] {
  const plan = layout();
  const [valuesAt, maskAt, outAt] = [plan(width * 4 + 4 * loopSlack), plan(width + loopSlack), plan(width + loopSlack)];
  const loops = loopsWith(plan(0));
  const { buffer } = loops.memory;
  const values = new Float32Array(buffer, valuesAt, width);
  const inside = new Uint8Array(buffer, maskAt, width);
  const reached = new Uint8Array(buffer, outAt, width);
  const rows: MarkedRow[] = [];
  for (let y = 0; y < height; y++) {
    values.set(data.subarray(y * width, (y + 1) * width));
    inside.set(mask.data.subarray(y * width, (y + 1) * width));
    if (loops.reaching(valuesAt, maskAt, width, threshold, outAt) === 0) continue;
    marks.set(reached, (y + 1) * stride + 1);
    rows.push({ y: y + 1, runs: [...runsOf(reached)].map(([first, behind]) => [first + 1, behind]) });
  }
  return rows;
}

function outermostBorders(marks: Int8Array, stride: number, rows: readonly MarkedRow[]): Point[][] {
  const borders: Point[][] = [];
  for (const { y, runs } of rows) {
    // The mark met last in this row tells whether we are inside a traced region: a right edge leads out of it. Between the
    // ends of a run there is none.
    let lastMark = empty;
    for (const [first, last] of runs) {
      const start = y * stride + first;
      if (marks[start] === untraced && lastMark <= 0) borders.push(traceBorder(marks, stride, first, y));
      for (const mark of [marks[start] as number, marks[start + last - first] as number]) {
        if (mark === traced || mark === tracedRightEdge) lastMark = mark;
      }
    }
  }
  return borders;
}

/** Follows one outer border from its topmost, leftmost pixel, marking it; gives its corners without the frame. */
function traceBorder(marks: Int8Array, stride: number, startX: number, startY: number): Point[] {
  const offset = stepX.map((dx, direction) => (stepY[direction] as number) * stride + dx);
  const start = startY * stride + startX;

  // The neighbour met first when turning clockwise from the empty pixel to the left.
  let direction = 4;
  do direction = (direction + 7) & 7;
  while (direction !== 4 && marks[start + (offset[direction] as number)] === empty);
  if (direction === 4) {
    marks[start] = tracedRightEdge;
    return [[startX - 1, startY - 1]];
  }
  const last = start + (offset[direction] as number);

  const corners: Point[] = [];
  let at = start;
  let x = startX;
  let y = startY;
  let heading = (direction + 4) & 7;
  for (;;) {
    // Turn counter-clockwise from where we came until a pixel of the region stands there.
    const from = direction;
    let sawEmptyRight = false;
    let next: number;
    do {
      direction = (direction + 1) & 7;
      next = at + (offset[direction] as number);
      if (direction === 0 && marks[next] === empty) sawEmptyRight = true;
    } while (marks[next] === empty && direction !== from);
    if (sawEmptyRight) marks[at] = tracedRightEdge;
    else if (marks[at] === untraced) marks[at] = traced;
    if (direction !== heading) corners.push([x - 1, y - 1]);
    heading = direction;
    if (next === start && at === last) return corners;
    x += stepX[direction] as number;
    y += stepY[direction] as number;
    at = next;
    direction = (direction + 4) & 7;
  }
}

function regionOf(contour: readonly Point[], mmPerPx: number): Region {
  let twiceArea = 0;
  let left = Number.POSITIVE_INFINITY;
  let top = Number.POSITIVE_INFINITY;
  let right = Number.NEGATIVE_INFINITY;
  let bottom = Number.NEGATIVE_INFINITY;
  let [beforeX, beforeY] = contour.at(-1) as Point;
  for (const [x, y] of contour) {
    twiceArea += beforeX * y - x * beforeY;
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x);
    bottom = Math.max(bottom, y);
    beforeX = x;
    beforeY = y;
  }
  const areaPx = Math.abs(twiceArea) / 2;
  const w = right - left + 1;
  const h = bottom - top + 1;
  return { x: left, y: top, w, h, bbox: [left, top, w, h], areaPx, areaMm2: areaPx * mmPerPx * mmPerPx, contour };
}
