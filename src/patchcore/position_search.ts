import { InspectionError } from '../errors.ts';
import type { DotProducts } from './coreset.ts';
import type { PatchGrid } from './grid.ts';
import { createMatrix, type Matrix, selectRows, squaredDistance } from './matrix.ts';
import { type PositionMemory, positionRadius } from './position_memory.ts';

/** The nearest patch by position of every query. */
export interface PositionMatches {
  /** Euclidean; Infinity where no patch lies near the query's place. */
  readonly distances: Float32Array;
  /** Rows of the position memory; -1 where there is none. */
  readonly rows: Int32Array;
}

/**
 * Many small searches at once: every block has as many rows as the others, and is asked for the nearest of them by as many
 * queries.
 */
export interface SearchBlocks {
  readonly queries: Matrix;
  /** [blocks · asking] rows of `queries`, block after block. */
  readonly asked: Int32Array;
  /** [blocks · rows per block] block after block. */
  readonly rows: Matrix;
  /** [blocks · rows per block] added to each row's dot products: -Infinity for a row that does not count, else 0. */
  readonly bias: Float32Array;
  readonly blocks: number;
}

/** [blocks · asking] the largest dot product of each query in each block, and with which row; -Infinity where none counts. */
export interface BlockMatches {
  readonly dots: Float32Array;
  /** Rows of the block, from 0; of equal ones the lowest. */
  readonly rows: Int32Array;
}

/** Matrix products that may also search many blocks in one go. */
export interface PositionProducts extends DotProducts {
  readonly searchBlocks?: (blocks: SearchBlocks) => Promise<BlockMatches>;
  /** A faster one than ours, with the same results. */
  readonly squaredDistance?: typeof squaredDistance;
}

/** Queries of one block: as many as a full picture has around a cell. */
const queriesPerBlock = (2 * positionRadius + 1) ** 2;

/** Numbers that one call may gather and make; more would leave the processor's cache and gain nothing. */
const numbersPerCall = 2 ** 20;

/**
 * For every query the nearest row at most two cells away: the queries around each cell of the memory are multiplied with
 * the rows of that cell, the cells in one go where `products` can. Ties, which rounding of the products may make or break,
 * go to the lower row.
 *
 * Cost: about 6 · pictures · queries · cols multiplications; with `leftOut` for each of its pictures by itself.
 *
 * @param queries unit rows
 * @param cells [queries] the place of each
 * @param leftOut [queries] picture whose rows do not count for the query; absent: all count
 * @throws InspectionError `shape_mismatch` for another width or cells outside the grid
 */
export async function nearestByPosition(
  queries: Matrix,
  cells: Int32Array,
  memory: PositionMemory,
  products: PositionProducts,
  leftOut?: Int32Array,
): Promise<PositionMatches> {
  requireQueries(queries, cells, memory);
  if (leftOut === undefined) return await nearestInMemory(queries, cells, memory, products);
  const matches = {
    distances: new Float32Array(queries.rows).fill(Number.POSITIVE_INFINITY),
    rows: new Int32Array(queries.rows).fill(-1),
  };
  for (const picture of new Set(leftOut)) {
    const asking = Int32Array.from(leftOut.keys()).filter((query) => leftOut[query] === picture);
    const cellsOfAsking = asking.map((query) => cells[query] as number);
    const found = await nearestInMemory(selectRows(queries, asking), cellsOfAsking, memory, products, picture);
    for (const [i, query] of asking.entries()) {
      matches.distances[query] = found.distances[i] as number;
      matches.rows[query] = found.rows[i] as number;
    }
  }
  return matches;
}

async function nearestInMemory(
  queries: Matrix,
  cells: Int32Array,
  memory: PositionMemory,
  products: PositionProducts,
  leftOut?: number,
): Promise<PositionMatches> {
  const { rows, starts, picture } = memory;
  const search = products.searchBlocks ?? ((blocks) => searchBlocksByProducts(blocks, products));
  const best = new Float32Array(queries.rows).fill(Number.NEGATIVE_INFINITY);
  const found = new Int32Array(queries.rows).fill(-1);
  for (const { perBlock, blockCells, asked } of blocksOf(cells, memory)) {
    const perCall = Math.max(1, Math.floor(numbersPerCall / (queriesPerBlock * (perBlock + rows.cols))));
    for (let start = 0; start < blockCells.length; start += perCall) {
      const some = blockCells.subarray(start, start + perCall);
      const asking = asked.subarray(start * queriesPerBlock, (start + some.length) * queriesPerBlock);
      const ofBlocks = rowsOfCells(some, perBlock, memory);
      const bias = new Float32Array(ofBlocks.rows);
      if (leftOut !== undefined) {
        for (let i = 0; i < bias.length; i++) {
          if (picture[rowAt(some, perBlock, starts, i)] === leftOut) bias[i] = Number.NEGATIVE_INFINITY;
        }
      }
      const matches = await search({ queries, asked: asking, rows: ofBlocks, bias, blocks: some.length });
      for (let i = 0; i < asking.length; i++) {
        const query = asking[i] as number;
        const dot = matches.dots[i] as number;
        if (dot < (best[query] as number)) continue;
        const firstRow = starts[some[Math.floor(i / queriesPerBlock)] as number] as number;
        const row = firstRow + (matches.rows[i] as number);
        if (dot === best[query] && row > (found[query] as number)) continue;
        best[query] = dot;
        found[query] = row;
      }
    }
  }
  // The product says which; how far is measured again without its rounding.
  const squared = products.squaredDistance ?? squaredDistance;
  const distances = new Float32Array(queries.rows).fill(Number.POSITIVE_INFINITY);
  for (let query = 0; query < queries.rows; query++) {
    const row = found[query] as number;
    if (row >= 0) distances[query] = Math.sqrt(squared(queries, query, rows, row));
  }
  return { distances, rows: found };
}

/** {@link PositionProducts.searchBlocks} by one product per block. */
async function searchBlocksByProducts(
  { queries, asked, rows, bias, blocks }: SearchBlocks,
  products: DotProducts,
): Promise<BlockMatches> {
  const [asking, perBlock] = [asked.length / blocks, rows.rows / blocks];
  const matches = { dots: new Float32Array(asked.length), rows: new Int32Array(asked.length) };
  for (let block = 0; block < blocks; block++) {
    const part = rows.data.subarray(block * perBlock * rows.cols, (block + 1) * perBlock * rows.cols);
    const asks = asked.subarray(block * asking, (block + 1) * asking);
    const dots = await products(selectRows(queries, asks), createMatrix(perBlock, rows.cols, part));
    for (let i = 0; i < asking; i++) {
      const of = dots
        .subarray(i * perBlock, (i + 1) * perBlock)
        .map((dot, row) => dot + (bias[block * perBlock + row] as number));
      const nearest = of.reduce((best, dot, row) => (dot > (of[best] as number) ? row : best), 0);
      matches.dots[block * asking + i] = of[nearest] as number;
      matches.rows[block * asking + i] = nearest;
    }
  }
  return matches;
}

/** Blocks of one shape. */
interface BlockGroup {
  readonly perBlock: number;
  /** [blocks] the cell whose rows each has. */
  readonly blockCells: Int32Array;
  /** [blocks · queriesPerBlock] the queries around the cell; too few are filled up with the first. */
  readonly asked: Int32Array;
}

/** Every cell that has rows, with the queries around it: one block, or several where more queries are around. */
function blocksOf(cells: Int32Array, { grid, starts }: PositionMemory): readonly BlockGroup[] {
  const { order, starts: queryStarts } = sortedByCell(cells, grid);
  const groups = new Map<number, { readonly blockCells: number[]; readonly asked: number[] }>();
  for (let cell = 0; cell < starts.length - 1; cell++) {
    const perBlock = (starts[cell + 1] as number) - (starts[cell] as number);
    if (perBlock === 0) continue;
    const group = groups.get(perBlock) ?? { blockCells: [], asked: [] };
    groups.set(perBlock, group);
    const { blockCells, asked } = group;
    const begin = asked.length;
    const [y, x] = [Math.floor(cell / grid.cols), cell % grid.cols];
    const left = Math.max(0, x - positionRadius);
    const right = Math.min(grid.cols - 1, x + positionRadius);
    for (let v = Math.max(0, y - positionRadius); v <= Math.min(grid.rows - 1, y + positionRadius); v++) {
      // Neighbours in a row of the grid are neighbours in the order.
      const from = queryStarts[v * grid.cols + left] as number;
      const to = queryStarts[v * grid.cols + right + 1] as number;
      for (let i = from; i < to; i++) asked.push(order[i] as number);
    }
    while (asked.length % queriesPerBlock !== 0) asked.push(asked[begin] as number);
    for (let i = begin; i < asked.length; i += queriesPerBlock) blockCells.push(cell);
  }
  return Array.from(groups, ([perBlock, { blockCells, asked }]) => ({
    perBlock,
    blockCells: new Int32Array(blockCells),
    asked: new Int32Array(asked),
  }));
}

/** The queries by their cells: those of cell c are order[starts[c]] … order[starts[c + 1] − 1]. */
function sortedByCell(cells: Int32Array, grid: PatchGrid): { readonly order: Int32Array; readonly starts: Int32Array } {
  const starts = new Int32Array(grid.rows * grid.cols + 1);
  for (let query = 0; query < cells.length; query++) starts[(cells[query] as number) + 1]++;
  for (let cell = 1; cell < starts.length; cell++)
    starts[cell] = (starts[cell] as number) + (starts[cell - 1] as number);
  const next = starts.slice();
  const order = new Int32Array(cells.length);
  for (let query = 0; query < cells.length; query++) order[next[cells[query] as number]++] = query;
  return { order, starts };
}

/** The rows of the cells, in their order; a view where they lie so in the memory. */
function rowsOfCells(cells: Int32Array, perCell: number, { rows, starts }: PositionMemory): Matrix {
  const first = starts[cells[0] as number] as number;
  if (cells.every((cell, i) => starts[cell] === first + i * perCell)) {
    const end = first + cells.length * perCell;
    return createMatrix(end - first, rows.cols, rows.data.subarray(first * rows.cols, end * rows.cols));
  }
  const chosen = new Int32Array(cells.length * perCell);
  for (let i = 0; i < chosen.length; i++) chosen[i] = rowAt(cells, perCell, starts, i);
  return selectRows(rows, chosen);
}

/** Which row of the memory row `i` of these cells is. */
function rowAt(cells: Int32Array, perCell: number, starts: Int32Array, i: number): number {
  return (starts[cells[Math.floor(i / perCell)] as number] as number) + (i % perCell);
}

/**
 * Distances as they count: (1 − weight) · anywhere + weight · near. A patch without neighbours by position keeps its
 * distance to the bank.
 */
export function mixDistances(anywhere: Float32Array, near: Float32Array, weight: number): Float32Array {
  return anywhere.map((distance, i) => {
    const close = near[i] as number;
    return close === Number.POSITIVE_INFINITY ? distance : (1 - weight) * distance + weight * close;
  });
}

function requireQueries(queries: Matrix, cells: Int32Array, { grid, rows }: PositionMemory): void {
  const inside = cells.every((cell) => cell >= 0 && cell < grid.rows * grid.cols);
  if (queries.cols === rows.cols && cells.length === queries.rows && inside) return;
  throw new InspectionError(
    'shape_mismatch',
    `${queries.rows} × ${queries.cols} queries at ${cells.length} places do not fit a position memory of ${rows.cols} columns on ${grid.rows} × ${grid.cols} cells.`,
  );
}
