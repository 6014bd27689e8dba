import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loopsWith } from '../../src/kernels/loops.ts';
import { normalizeRowsInPlace, squaredDistance, squaredLengths } from '../../src/kernels/row_loops.ts';
import {
  createMatrix,
  normalizeRows,
  squaredDistance as plainDistance,
  selectRows,
} from '../../src/patchcore/matrix.ts';

/** Any float32 numbers, tiny and huge ones too, but none whose square is too large for float64. */
const matrix = fc
  .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 40 }))
  .chain(([rows, cols]) =>
    fc
      .array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: rows * cols, maxLength: rows * cols })
      .map((values) => createMatrix(rows, cols, Float32Array.from(values))),
  );

describe('squaredDistance', () => {
  it('equals the plain one bit for bit, whatever the width', () => {
    fc.assert(
      fc.property(matrix, fc.nat(), fc.nat(), (rows, a, b) => {
        const [left, right] = [a % rows.rows, b % rows.rows];
        expect(squaredDistance(rows, left, rows, right)).toBe(plainDistance(rows, left, rows, right));
      }),
    );
  });

  it('sees what can be seen: 3-4-5, and a number behind the last four', () => {
    const rows = createMatrix(2, 5, Float32Array.of(0, 0, 0, 0, 0, 3, 0, 0, 0, 4));
    expect(squaredDistance(rows, 0, rows, 1)).toBe(25);
    expect(squaredLengths(rows)[1]).toBe(25);
  });

  it('goes on after other loops needed more memory', () => {
    const rows = createMatrix(2, 2, Float32Array.of(0, 0, 6, 8));
    expect(squaredDistance(rows, 0, rows, 1)).toBe(100);
    const { buffer } = loopsWith(3_000_000).memory;
    expect(buffer.byteLength).toBeGreaterThanOrEqual(3_000_000);
    expect(squaredDistance(rows, 0, rows, 1)).toBe(100);
    const wide = createMatrix(1, 100_000, new Float32Array(100_000).fill(2));
    expect(squaredLengths(wide)[0]).toBe(400_000);
  });
});

describe('squaredLengths', () => {
  it.each([
    [1, 1],
    [1000, 37],
    [3, 40_000],
  ])('are those of %i rows of %i columns', (rows, cols) => {
    const numbers = createMatrix(
      rows,
      cols,
      Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(i)),
    );
    const alone = (row: number) => squaredLengths(selectRows(numbers, [row]))[0];
    expect([...squaredLengths(numbers)]).toEqual(Array.from({ length: rows }, (_, row) => alone(row)));
  });
});

describe('normalizeRowsInPlace', () => {
  it('makes what normalizeRows makes, bit for bit', () => {
    fc.assert(
      fc.property(matrix, (rows) => {
        const unit = normalizeRows(rows);
        expect(normalizeRowsInPlace(rows)).toBe(true);
        expect(rows.data).toEqual(unit.data);
      }),
    );
  });

  it('touches its rows only, and leaves a row of zeros', () => {
    const all = Float32Array.of(7, 0, 0, 0, 0, 0, 2, 0, 7);
    expect(normalizeRowsInPlace(createMatrix(2, 3, all.subarray(1, 7)))).toBe(true);
    expect([...all]).toEqual([7, 0, 0, 0, 0, 0, 1, 0, 7]);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('tells of %d, wherever it is', (bad) => {
    for (const at of [0, 4, 6]) {
      const rows = createMatrix(3, 7, new Float32Array(21).fill(1));
      rows.data[7 + at] = bad;
      expect(normalizeRowsInPlace(rows)).toBe(false);
      expect([...rows.data.subarray(14)]).toEqual([1, 1, 1, 1, 1, 1, 1]);
    }
  });
});
