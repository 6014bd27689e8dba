import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { distinctPart, distinctRows } from '../../src/neighbors/distinct_rows.ts';
import { matrixOf } from '../matrices.ts';

describe('distinctRows', () => {
  it('keeps the first of equal rows and where each stood', () => {
    const { matrix, places, starts } = distinctRows(
      matrixOf([
        [1, 0],
        [0, 1],
        [1, 0],
        [2, 2],
        [0, 1],
        [1, 0],
      ]),
    );
    expect([...matrix.data]).toEqual([1, 0, 0, 1, 2, 2]);
    expect([...starts]).toEqual([0, 3, 5, 6]);
    expect([...places]).toEqual([0, 2, 5, 1, 4, 3]);
  });

  it('copies nothing when no row repeats', () => {
    const bank = matrixOf([[1], [2]]);
    expect(distinctRows(bank).matrix).toBe(bank);
  });

  it('finds every row again at its places, and no two alike', () => {
    const few = fc.array(fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 3, maxLength: 3 }), { minLength: 1 });
    fc.assert(
      fc.property(few, (rows) => {
        const { matrix, places, starts } = distinctRows(matrixOf(rows));
        const text = (i: number) => `${matrix.data.subarray(i * 3, i * 3 + 3)}`;
        const found = new Map<number, string>();
        for (let i = 0; i < matrix.rows; i++) {
          for (const place of places.subarray(starts[i], starts[i + 1])) found.set(place, text(i));
        }
        expect(rows.map((_, row) => found.get(row))).toEqual(rows.map(String));
        expect(new Set(Array.from({ length: matrix.rows }, (_, i) => text(i))).size).toBe(matrix.rows);
      }),
    );
  });
});

it('distinctPart keeps where some of them stood', () => {
  const all = distinctRows(matrixOf([[1], [2], [1], [3], [2], [2]]));
  const matrix = matrixOf([[2], [3]]);
  const part = distinctPart(all, Int32Array.of(1, 2), matrix);
  expect(part).toEqual({ matrix, places: Int32Array.of(1, 4, 5, 3), starts: Int32Array.of(0, 3, 4) });
});
