import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  concatRows,
  createMatrix,
  normalizeRows,
  selectRows,
  squaredDistance,
  trustUnitRows,
} from '../../src/patchcore/matrix.ts';
import { buildMemoryBank, cellsInFrame } from '../../src/patchcore/memory_bank.ts';
import { matrixOf, plainProducts } from '../matrices.ts';

const grid = { rows: 4, cols: 3 };

describe('matrices', () => {
  it('are checked when made', () => {
    for (const [rows, cols, length] of [
      [2, 2, 3],
      [1, 0, 0],
      [-1, 1, 0],
      [1.5, 2, 3],
    ] as const) {
      expect(() => createMatrix(rows, cols, new Float32Array(length))).toThrow(
        expect.objectContaining({ code: 'shape_mismatch' }),
      );
    }
    expect(createMatrix(0, 3, new Float32Array()).rows).toBe(0);
  });

  it('normalise rows to length 1 and leave zeros', () => {
    const unit = normalizeRows(
      matrixOf([
        [3, 4],
        [0, 0],
        [-2, 0],
      ]),
    );
    expect([...unit.data].map((value) => Math.round(value * 1e6) / 1e6)).toEqual([0.6, 0.8, 0, 0, -1, 0]);
  });

  it('trust unit rows and shorter ones, not longer or broken ones', () => {
    expect(
      trustUnitRows(
        matrixOf([
          [0.6, 0.8],
          [0, 0],
        ]),
      ).rows,
    ).toBe(2);
    for (const row of [
      [3, 4],
      [Number.NaN, 0],
      [Number.POSITIVE_INFINITY, 0],
    ]) {
      expect(() => trustUnitRows(matrixOf([row]))).toThrow(/row 0 has/);
    }
  });

  it('select and concatenate rows as copies', () => {
    const matrix = matrixOf([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const picked = selectRows(matrix, [2, 0, 2]);
    expect([...picked.data]).toEqual([5, 6, 1, 2, 5, 6]);
    picked.data[0] = 9;
    expect(matrix.data[4]).toBe(5);
    expect([...concatRows([matrixOf([[1]]), matrixOf([[2], [3]])]).data]).toEqual([1, 2, 3]);
    expect(() => selectRows(matrix, [3])).toThrow(expect.objectContaining({ code: 'shape_mismatch' }));
    expect(() => concatRows([])).toThrow(expect.objectContaining({ code: 'shape_mismatch' }));
    expect(() => concatRows([matrixOf([[1]]), matrixOf([[1, 2]])])).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
  });

  it('measure squared distances of any width', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: -9, max: 9 }), fc.integer({ min: -9, max: 9 })), {
          minLength: 1,
          maxLength: 11,
        }),
        (pairs) => {
          const a = matrixOf([pairs.map(([left]) => left)]);
          const b = matrixOf([pairs.map(([, right]) => right)]);
          expect(squaredDistance(a, 0, b, 0)).toBe(pairs.reduce((sum, [left, right]) => sum + (left - right) ** 2, 0));
        },
      ),
    );
  });
});

describe('buildMemoryBank', () => {
  const unit = (rows: number[][]) => normalizeRows(matrixOf(rows));

  it('keeps rows of the share asked for and tells which', async () => {
    const bank = await buildMemoryBank(
      unit([
        [2, 0],
        [0, 3],
        [5, 5],
        [4, 0],
      ]),
      0.5,
      plainProducts,
    );
    // floor(0.8506 · 4) = row 3 is first; row 1 is farthest from it.
    expect([...bank.picks]).toEqual([3, 1]);
    expect([...bank.rows.data]).toEqual([1, 0, 0, 1]);
  });

  it('keeps every patch at rate 1, in order', async () => {
    const bank = await buildMemoryBank(
      unit([
        [2, 0],
        [0, 3],
        [4, 0],
      ]),
      1,
      plainProducts,
    );
    expect([...bank.rows.data]).toEqual([1, 0, 0, 1, 1, 0]);
    expect([...bank.picks]).toEqual([0, 1, 2]);
  });

  it('keeps at least one patch', async () => {
    expect((await buildMemoryBank(unit([[1, 1]]), 0.0001, plainProducts)).rows.rows).toBe(1);
  });
});

describe('cellsInFrame', () => {
  it('takes all cells of a picture without padding', () => {
    expect(cellsInFrame(grid, { top: 0, left: 0, height: 4, width: 3 })).toHaveLength(12);
  });

  it('takes every cell the picture touches, and none that is padding only', () => {
    expect([...cellsInFrame(grid, { top: 1, left: 0, height: 2, width: 3 })]).toEqual([3, 4, 5, 6, 7, 8]);
    expect([...cellsInFrame(grid, { top: 0.9, left: 1, height: 0.2, width: 1 })]).toEqual([1, 4]);
  });

  it('is not fooled by rounding', () => {
    expect([...cellsInFrame(grid, { top: 1 - 1e-9, left: 0, height: 1 + 2e-9, width: 3 })]).toEqual([3, 4, 5]);
  });
});
