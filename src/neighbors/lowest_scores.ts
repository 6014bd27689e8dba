import type { GraphBuilder, Value } from '../onnx/onnx_graph.ts';
import type { OnnxSession } from '../onnx/onnx_session.ts';

/**
 * Distinct rows of a bank that are scored in one product, those from `first` to `end`, which is not one of them. Their scores
 * lie in a rectangle: row first + r in line ⌊r / columns⌋ and column r mod columns. Rows behind the last line have no score,
 * and places of the rectangle behind `end` no row.
 */
export interface BankBlock {
  readonly first: number;
  readonly end: number;
  readonly lines: number;
  readonly columns: number;
}

/** Of some queries the lowest score of each line and of each column of a block. */
export interface LowestScores {
  readonly block: BankBlock;
  /** [queries · lines] */
  readonly ofLines: Float32Array;
  /** [queries · columns] */
  readonly ofColumns: Float32Array;
}

/** Gives a graph the outputs that {@link readLowest} reads. @param rectangle [n, lines, columns] scores */
export function writeLowest(graph: GraphBuilder, rectangle: Value): void {
  const lowest = (axis: number) => graph.op('ReduceMin', [rectangle], { axes: [axis], keepdims: 0 });
  graph.output(lowest(2), 'of_lines', 'float32', ['n', 'lines']);
  graph.output(lowest(1), 'of_columns', 'float32', ['n', 'columns']);
}

export function readLowest(block: BankBlock, output: Awaited<ReturnType<OnnxSession['run']>>): LowestScores {
  return { block, ofLines: output.of_lines?.data as Float32Array, ofColumns: output.of_columns?.data as Float32Array };
}

/** The k-th lowest of a query's lines in all blocks; Infinity where there are not so many. @param query counted from 0 */
export function kthLine(blocks: readonly LowestScores[], query: number, k: number): number {
  let least = Number.POSITIVE_INFINITY;
  const all: number[] = [];
  for (const { ofLines, block } of blocks) {
    const end = (query + 1) * block.lines;
    for (let line = query * block.lines; line < end; line++) {
      const score = ofLines[line] as number;
      least = Math.min(least, score);
      if (k > 1) all.push(score);
    }
  }
  return k === 1 ? least : (Float32Array.from(all).sort()[k - 1] ?? Number.POSITIVE_INFINITY);
}

/**
 * The rows of a block whose score for a query may be within reach, ascending, those without a score among them: a low score lies
 * where a low line and a low column cross.
 */
export function rowsWithin(
  reach: number,
  { block: { first, end, lines, columns }, ofLines, ofColumns }: LowestScores,
  query: number,
): readonly number[] {
  const rows: number[] = [];
  for (let line = 0; line < lines; line++) {
    // Written so that NaN, from numbers too large or not finite, leaves nothing out.
    if ((ofLines[query * lines + line] as number) > reach) continue;
    for (let column = 0; column < columns; column++) {
      const row = first + line * columns + column;
      if (row < end && !((ofColumns[query * columns + column] as number) > reach)) rows.push(row);
    }
  }
  for (let row = first + lines * columns; row < end; row++) rows.push(row);
  return rows;
}
