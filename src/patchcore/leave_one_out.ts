import { type BestOfOthers, bestPart, keepBestOfOthers } from '../kernels/product_loops.ts';
import type { CoresetHooks, DotProducts, ProductsPart } from './coreset.ts';
import { createMatrix, type Matrix, selectRows, squaredDistance, type UnitRowMatrix } from './matrix.ts';
import type { PatchSources } from './position_memory.ts';

/**
 * What every picture's patches would measure if the picture were not in the memory: its own rows of the bank do not
 * count, and each of them is replaced by its nearest patch of another picture, because that is about what a coreset of
 * the others would have kept in its place. On inspection sets such scores came out 3 to 6 % below those of memories
 * fitted again without the picture, without the replacement 6 to 15 % above: the error is on the side of calling a good
 * part bad.
 *
 * Rides along with `selectCoreset`: hand `hooks` to it, then ask.
 */
export interface LeaveOneOut {
  readonly onProducts: (part: ProductsPart) => void;
  /**
   * @param picture a picture's number
   * @returns Euclidean distances of its patches, in the order of their rows; Infinity when there is no other picture
   */
  distances(picture: number, products: DotProducts): Promise<Float32Array>;
}

/** @param size picks that the coreset will have */
export function createLeaveOneOut(unit: UnitRowMatrix, sources: PatchSources, size: number): LeaveOneOut {
  const ofRows = noneYet(sources.picture);
  // Of every pick its nearest row of another picture: what would stand in its place.
  const ofPicks = noneYet(new Int32Array(size).fill(-1));
  const pickRows = new Int32Array(size).fill(-1);

  return {
    onProducts: ({ firstRow, rows, picks, firstPick, dots }) => {
      pickRows.set(picks, firstPick);
      const some = bestPart(ofPicks, firstPick, picks.length);
      some.picture.set(picks.map((pick) => sources.picture[pick] as number));
      keepBestOfOthers(dots, bestPart(ofRows, firstRow, rows), firstRow, some, firstPick);
    },
    distances: async (picture, products) => {
      const own: number[] = [];
      for (let row = 0; row < unit.rows; row++) if ((sources.picture[row] as number) === picture) own.push(row);
      const stand = ofPicks.other.filter((row, i) => row >= 0 && ofPicks.picture[i] === picture);
      const queries = selectRows(unit, own);
      const dots = stand.length === 0 ? new Float32Array(0) : await products(queries, selectRows(unit, stand));
      return Float32Array.from(own, (row, i) => {
        const pick = ofRows.other[row] as number;
        let nearest = pick < 0 ? -1 : (pickRows[pick] as number);
        let most = ofRows.dot[row] as number;
        for (let j = 0; j < stand.length; j++) {
          const dot = dots[i * stand.length + j] as number;
          if (dot > most) {
            most = dot;
            nearest = stand[j] as number;
          }
        }
        return nearest < 0 ? Number.POSITIVE_INFINITY : Math.sqrt(squaredDistance(unit, row, unit, nearest));
      });
    },
  };
}

function noneYet(picture: Int32Array): BestOfOthers {
  return {
    picture,
    dot: new Float32Array(picture.length).fill(Number.NEGATIVE_INFINITY),
    other: new Int32Array(picture.length).fill(-1),
  };
}

/**
 * The products a coreset of all rows would have made, for a memory that keeps every patch; of some rows only, with all
 * picks.
 *
 * Cost: 2 · wanted · rows · cols operations.
 *
 * @param wanted rows, ascending, in runs as long as can be
 */
export async function visitAllPairs(
  unit: Matrix,
  wanted: Int32Array,
  products: DotProducts,
  onProducts: (part: ProductsPart) => void,
  { shouldStop }: Pick<CoresetHooks, 'shouldStop'>,
): Promise<void> {
  const block = 1024;
  for (let firstPick = 0; firstPick < unit.rows; firstPick += block) {
    const picks = Int32Array.from({ length: Math.min(block, unit.rows - firstPick) }, (_, i) => firstPick + i);
    const picked = rowsOf(unit, firstPick, picks.length);
    for (let at = 0; at < wanted.length; ) {
      if (shouldStop?.() === true) return;
      const firstRow = wanted[at] as number;
      let rows = 1;
      while (rows < block && wanted[at + rows] === firstRow + rows) rows++;
      onProducts({ firstRow, rows, picks, firstPick, dots: await products(rowsOf(unit, firstRow, rows), picked) });
      at += rows;
    }
  }
}

function rowsOf({ cols, data }: Matrix, first: number, count: number): Matrix {
  return createMatrix(count, cols, data.subarray(first * cols, (first + count) * cols));
}

/**
 * Good pictures whose leave-one-out score stands out: above median + 3.5 · 1.4826 · MAD, and not a hair above it only
 * because the others are all alike.
 *
 * @param scores one per picture
 * @returns indices into `scores`, worst first; empty for fewer than five
 *
 * Source: Iglewicz & Hoaglin 1993, the modified z-score.
 */
export function suspectPictures(scores: readonly number[]): readonly number[] {
  if (scores.length < 5) return [];
  const middle = medianOf(scores);
  const deviation = medianOf(scores.map((score) => Math.abs(score - middle)));
  const limit = middle + 3.5 * 1.4826 * Math.max(deviation, 0.01 * middle);
  return scores
    .map((score, index) => ({ score, index }))
    .filter(({ score }) => score > limit)
    .sort((a, b) => b.score - a.score)
    .map(({ index }) => index);
}

/** The other scores, in their order. @see suspectPictures */
export function withoutSuspects(scores: readonly number[]): readonly number[] {
  const suspects = new Set(suspectPictures(scores));
  return scores.filter((_, index) => !suspects.has(index));
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
