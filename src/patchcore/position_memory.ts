import type { DotProducts } from './coreset.ts';
import type { PatchGrid } from './grid.ts';
import { createMatrix, selectRows, squaredDistance, type UnitRowMatrix } from './matrix.ts';
import { randomWord } from './random.ts';

/** Of every row of a matrix of patches: which picture it is from, and which cell of that picture's grid. */
export interface PatchSources {
  /** Numbers from 0. */
  readonly picture: Int32Array;
  /** Row-major over the grid. */
  readonly cell: Int32Array;
}

/**
 * Patches of good pictures with their places, for parts that always lie the same way: what is normal in the middle may be
 * a defect at the rim. Rows are sorted by cell, then by picture; no picture has two in one cell.
 */
export interface PositionMemory {
  readonly grid: PatchGrid;
  readonly rows: UnitRowMatrix;
  /** [cells + 1] cell c has the rows from starts[c] up to starts[c + 1]. */
  readonly starts: Int32Array;
  /** [rows] picture each row is from. */
  readonly picture: Int32Array;
  /** Share of the distance by position in a patch's distance, 0 < weight ≤ 1. */
  readonly weight: number;
}

/** A patch is compared with patches at most this many cells away in each direction. */
export const positionRadius = 2;

/**
 * Only every second grid row and column is kept: neighbouring patches look at almost the same pixels, and a query still
 * meets four to nine of every picture. A quarter of the memory and of the time, no worse on aligned sets.
 */
const cellStep = 2;

/** Below this share the position memory costs more than it gives and is left out. */
const leastWeight = 0.05;

/**
 * How far to trust positions: 1 when patches find as good a match near their own place as anywhere, falling as they do
 * not; fewer than five pictures know no positions.
 *
 *   a = clamp((n − 4) / 28, 0, 1) / (1 + ((r − 1) / 0.15)²), r = max(1, median near / median anywhere)
 *
 * The form was found on seven inspection sets with 40 good pictures each; 0.15 on two of them, for the thinned memory here.
 *
 * @param pictures number of good pictures
 * @returns 0 or 0.05 to 1
 */
export function positionWeight(pictures: number, { near, anywhere }: SampleMatches): number {
  const ratio = Math.max(1, median(near) / Math.max(median(anywhere), 1e-6));
  const enough = Math.min(1, Math.max(0, (pictures - 4) / 28));
  const weight = enough / (1 + ((ratio - 1) / 0.15) ** 2);
  return weight < leastWeight ? 0 : weight;
}

/**
 * Which of `pictures` good pictures a position memory holds: all that fit into the bytes, spread evenly over their order.
 *
 * @returns picture numbers, ascending; empty when not even two fit
 */
export function positionPictures(pictures: number, grid: PatchGrid, cols: number, maxBytes: number): Int32Array {
  const rows = Math.ceil(grid.rows / cellStep) * Math.ceil(grid.cols / cellStep);
  const fitting = Math.floor(maxBytes / (rows * cols * Float32Array.BYTES_PER_ELEMENT));
  const count = Math.min(pictures, fitting);
  if (count < 2) return new Int32Array(0);
  return Int32Array.from({ length: count }, (_, i) => Math.floor((i * pictures) / count));
}

/** Patches asked where they find their match, for {@link positionWeight}; spread over all pictures at random. */
export function samplePatches(rows: number, count: number): Int32Array {
  return Int32Array.from({ length: Math.min(rows, count) }, (_, i) => randomWord(0, i) % rows);
}

/** How far sample patches are from their nearest patch in other pictures; Infinity without one. */
export interface SampleMatches {
  /** Near their own place: at most {@link positionRadius} cells away. */
  readonly near: Float32Array;
  readonly anywhere: Float32Array;
}

/**
 * Where sample patches find their match among all patches of the other pictures: a coreset or a thinned memory would make
 * far matches of near ones.
 *
 * Cost: 2 · sample · rows · cols operations.
 *
 * @param sample rows of `unit`
 */
export async function matchSamples(
  unit: UnitRowMatrix,
  sources: PatchSources,
  grid: PatchGrid,
  sample: Int32Array,
  products: DotProducts,
): Promise<SampleMatches> {
  const queries = selectRows(unit, sample);
  const found = { near: new Int32Array(sample.length).fill(-1), anywhere: new Int32Array(sample.length).fill(-1) };
  const most = {
    near: new Float32Array(sample.length).fill(Number.NEGATIVE_INFINITY),
    anywhere: new Float32Array(sample.length).fill(Number.NEGATIVE_INFINITY),
  };
  const rowOf = Int32Array.from(sources.cell, (cell) => Math.floor(cell / grid.cols));
  const colOf = Int32Array.from(sources.cell, (cell) => cell % grid.cols);
  const step = 8192;
  for (let start = 0; start < unit.rows; start += step) {
    const count = Math.min(step, unit.rows - start);
    const part = createMatrix(count, unit.cols, unit.data.subarray(start * unit.cols, (start + count) * unit.cols));
    const dots = await products(queries, part);
    for (const [i, row] of sample.entries()) {
      const own = sources.picture[row] as number;
      const [y, x] = [rowOf[row] as number, colOf[row] as number];
      for (let j = 0; j < count; j++) {
        const dot = dots[i * count + j] as number;
        if (dot <= (most.near[i] as number)) continue;
        const other = start + j;
        if ((sources.picture[other] as number) === own) continue;
        if (dot > (most.anywhere[i] as number)) {
          most.anywhere[i] = dot;
          found.anywhere[i] = other;
        }
        const isNear =
          Math.abs((rowOf[other] as number) - y) <= positionRadius &&
          Math.abs((colOf[other] as number) - x) <= positionRadius;
        if (isNear) {
          most.near[i] = dot;
          found.near[i] = other;
        }
      }
    }
  }
  const distances = (rows: Int32Array) =>
    Float32Array.from(rows, (row, i) =>
      row < 0 ? Number.POSITIVE_INFINITY : Math.sqrt(squaredDistance(queries, i, unit, row)),
    );
  return { near: distances(found.near), anywhere: distances(found.anywhere) };
}

/** Collects, thins and sorts the rows of the chosen pictures. @param weight see {@link positionWeight} */
export function createPositionMemory(
  unit: UnitRowMatrix,
  sources: PatchSources,
  chosen: Int32Array,
  grid: PatchGrid,
  weight: number,
): PositionMemory {
  const wanted = new Set(chosen);
  const order: number[] = [];
  for (let row = 0; row < unit.rows; row++) {
    const cell = sources.cell[row] as number;
    const kept = Math.floor(cell / grid.cols) % cellStep === 0 && (cell % grid.cols) % cellStep === 0;
    if (kept && wanted.has(sources.picture[row] as number)) order.push(row);
  }
  const cellOf = (row: number) => sources.cell[row] as number;
  const pictureOf = (row: number) => sources.picture[row] as number;
  order.sort((a, b) => cellOf(a) - cellOf(b) || pictureOf(a) - pictureOf(b));
  const starts = new Int32Array(grid.rows * grid.cols + 1);
  for (const row of order) starts[cellOf(row) + 1] = (starts[cellOf(row) + 1] as number) + 1;
  for (let cell = 1; cell < starts.length; cell++)
    starts[cell] = (starts[cell] as number) + (starts[cell - 1] as number);
  return { grid, rows: selectRows(unit, order), starts, picture: Int32Array.from(order, pictureOf), weight };
}

/** The cell a row of the memory is at. */
export function cellOfRow({ starts }: PositionMemory, row: number): number {
  let [low, high] = [0, starts.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((starts[middle] as number) <= row) low = middle;
    else high = middle;
  }
  return low;
}

function median(values: Float32Array): number {
  const sorted = values.slice().sort();
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
