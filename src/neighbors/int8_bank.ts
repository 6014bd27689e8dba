import { largestMagnitudes, rowsFrom, rowsInSteps, type SteppedRows } from '../kernels/int8_rows.ts';
import { squaredLengths } from '../kernels/row_loops.ts';
import { createMatrix, type Matrix, meanRow } from '../patchcore/matrix.ts';
import { type DistinctRows, distinctRows } from './distinct_rows.ts';
import type { BankBlock } from './lowest_scores.ts';

/**
 * A number is a whole number of steps from -90 to 90, and a query's is moved up by 90 for ONNX Runtime's product of uint8 by
 * int8. Of 127 steps a processor without VNNI (x64) could not hold the sum of two products in int16, and would cut it off
 * without a word; 2 · 180 · 90 it can.
 */
const highestLevel = 90;

/** As which a query's 0 goes into the product. */
export const queryZero = highestLevel;

/** The smallest that float32 holds with all its digits: of less there can be no steps. */
const smallestNormal = 2 ** -126;

/** More rows at once would leave the processor's cache, and so would their products. */
const blockRows = 1024;
/** Of the rectangle in which a block's scores lie; the products of 32 columns fill whole vectors. */
export const blockColumns = 32;

/** A bank of which only int8 is held. Distinct rows, numbered as in {@link DistinctRows}. */
export interface Int8Bank extends Pick<DistinctRows, 'places' | 'starts'> {
  readonly cols: number;
  /**
   * [cols] The mean of the rows, which is taken from them and from queries. Distances stay, and steps become finer: of real
   * patches by the embedded extractor, large in the same few columns, four are candidates where without it there were 250.
   */
  readonly centre: Float32Array;
  readonly blocks: readonly Int8Block[];
  /** Length of the longest row, less the mean. */
  readonly longest: number;
  /** Length of the most that rounding took from a row. */
  readonly longestError: number;
  /** What all of it takes. */
  readonly bytes: number;
}

/** As many empty places as fill the last line are behind its rows. */
export interface Int8Block extends BankBlock {
  /** [cols, lines · 32] */
  readonly levels: Int8Array;
  /** [lines · 32] a row's step, times -2 */
  readonly factors: Float32Array;
  /** [lines · 32] squared lengths, less the mean; of an empty place Infinity */
  readonly squares: Float64Array;
}

/** Cost: about 15 ns per number. Nothing of the bank is kept. */
export function createInt8Bank(bank: Matrix): Int8Bank {
  const { matrix, places, starts } = distinctRows(bank);
  const centre = meanRow(matrix);
  const blocks: Int8Block[] = [];
  let [longest, longestError] = [0, 0];
  const count = Math.ceil(matrix.rows / blockRows);
  for (let i = 0; i < count; i++) {
    const [first, end] = [Math.floor((i * matrix.rows) / count), Math.floor(((i + 1) * matrix.rows) / count)];
    const { block, errors } = createBlock(matrix, centre, first, end);
    blocks.push(block);
    for (let row = 0; row < end - first; row++) longest = Math.max(longest, Math.sqrt(block.squares[row] as number));
    for (const error of errors) longestError = Math.max(longestError, error);
  }
  const arrays = [
    centre,
    places,
    starts,
    ...blocks.flatMap(({ levels, factors, squares }) => [levels, factors, squares]),
  ];
  const bytes = arrays.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { cols: matrix.cols, centre, places, starts, blocks, longest, longestError, bytes };
}

function createBlock(
  { cols, data }: Matrix,
  centre: Float32Array,
  first: number,
  end: number,
): { block: Int8Block; errors: Float64Array } {
  const rows = end - first;
  const lines = Math.ceil(rows / blockColumns);
  const filled = lines * blockColumns;
  const part = rowsFrom(centre, createMatrix(rows, cols, data.subarray(first * cols, end * cols)));
  const steps = largestMagnitudes(part).map(stepOf);
  const { levels, errors } = rowsInSteps(part, steps, 0);
  const turned = new Int8Array(cols * filled);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) turned[col * filled + row] = levels[row * cols + col] as number;
  }
  const factors = new Float32Array(filled);
  factors.set(steps.map((step) => -2 * step));
  const squares = new Float64Array(filled).fill(Number.POSITIVE_INFINITY);
  squares.set(squaredLengths(part));
  return { block: { first, end, lines, columns: blockColumns, levels: turned, factors, squares }, errors };
}

/** Queries in steps of one size, as the product takes them. */
export interface Int8Queries extends SteppedRows {
  readonly step: number;
  /** Before they were rounded. */
  readonly lengths: Float64Array;
}

/** @param queries less the centre */
export function createInt8Queries(queries: Matrix): Int8Queries {
  const step = stepOf(largestMagnitudes(queries).reduce((most, value) => Math.max(most, value), 0));
  const lengths = squaredLengths(queries).map(Math.sqrt);
  return { step, lengths, ...rowsInSteps(queries, new Float32Array(queries.rows).fill(step), queryZero) };
}

/** Of numbers of which none is larger; what is too small to be divided is all 0. */
function stepOf(largest: number): number {
  const step = Math.fround(largest / highestLevel);
  return step < smallestNormal ? 1 : step;
}
