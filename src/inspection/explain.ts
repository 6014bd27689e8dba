import type { GridFrame, ImageSize, PatchGrid } from '../patchcore/grid.ts';
import { cellsInFrame } from '../patchcore/memory_bank.ts';
import type { Region } from '../patchcore/regions.ts';
import type { FittedPicture, PatchMatches } from '../workers/vision.ts';

/** A place in a picture, in its pixels. */
export interface PlaceInPicture {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

/** Why a place counts as anomalous: the patch farthest from everything known there, and what came nearest to it. */
export interface Explanation {
  /** Which of the answer's regions; null where there is none and the whole picture's farthest patch is meant. */
  readonly region: number | null;
  /** The patch in the inspected picture. */
  readonly patch: PlaceInPicture;
  /** Of the patch, as the map has it before it is drawn. */
  readonly distance: number;
  /** The good picture whose patch came nearest in the memory bank, where it lies there, and how far it is. */
  readonly nearest: { readonly picture: string; readonly place: PlaceInPicture; readonly distance: number };
}

export interface ExplainInput {
  readonly regions: readonly Region[];
  /** [cells] as measured. */
  readonly distances: Float32Array;
  readonly matches: PatchMatches;
  readonly pictures: readonly FittedPicture[];
  readonly grid: PatchGrid;
  readonly frame: GridFrame;
  readonly size: ImageSize;
}

/** Regions that are explained: the largest ones. */
const mostExplained = 3;

/**
 * Explains the largest regions, or the farthest patch of the picture where there are no regions (a good part, or no
 * threshold). Memories that do not know where their rows come from explain nothing.
 *
 * Ties: the lower cell.
 */
export function explain(input: ExplainInput): readonly Explanation[] {
  const cells = cellsInFrame(input.grid, input.frame);
  const regions = input.regions.slice(0, mostExplained);
  if (regions.length === 0) return farthest(input, cells, null);
  return regions.flatMap((region, index) => {
    const inside = cells.filter((cell) => touches(placeOf(cell, input), region));
    return farthest(input, inside, index);
  });
}

/** For people: where the farthest patch lies and what came nearest to it. */
export function explanationText({ patch, distance, nearest }: Explanation): string {
  return `patch at ${patch.x},${patch.y} is ${distance.toFixed(3)} from what is known; nearest is ${nearest.picture} at ${nearest.place.x},${nearest.place.y} (${nearest.distance.toFixed(3)})`;
}

function farthest(input: ExplainInput, cells: Int32Array, region: number | null): readonly Explanation[] {
  const [first] = cells;
  if (first === undefined) return [];
  const value = (cell: number) => input.distances[cell] as number;
  const cell = cells.reduce((best, other) => (value(other) > value(best) ? other : best), first);
  const picture = input.pictures[input.matches.picture[cell] as number];
  if (picture === undefined) return [];
  return [
    {
      region,
      patch: placeOf(cell, input),
      distance: value(cell),
      nearest: {
        picture: picture.name,
        place: placeOf(input.matches.cell[cell] as number, { ...picture, grid: input.grid }),
        distance: input.matches.distance[cell] as number,
      },
    },
  ];
}

/** The pixels of a grid cell, cut to the picture, in whole pixels. */
function placeOf(
  cell: number,
  { grid, frame, size }: { readonly grid: PatchGrid; readonly frame: GridFrame; readonly size: ImageSize },
): PlaceInPicture {
  const along = (position: number, start: number, extent: number, pixels: number) =>
    Math.min(pixels, Math.max(0, Math.round(((position - start) / extent) * pixels)));
  const [row, col] = [Math.floor(cell / grid.cols), cell % grid.cols];
  const x = along(col, frame.left, frame.width, size.width);
  const y = along(row, frame.top, frame.height, size.height);
  return {
    x,
    y,
    w: along(col + 1, frame.left, frame.width, size.width) - x,
    h: along(row + 1, frame.top, frame.height, size.height) - y,
  };
}

function touches(a: PlaceInPicture, b: PlaceInPicture): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}
