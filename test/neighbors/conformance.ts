import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Neighbors } from '../../src/neighbors/neighbors.ts';
import { createMatrix, type Matrix, normalizeRows } from '../../src/patchcore/matrix.ts';
import { type NeighborTable, nearestNeighbors } from '../../src/patchcore/nearest_neighbors.ts';
import { matrixOf } from '../matrices.ts';

/** Few values on few places: equal rows and equal distances come up all the time. */
const coarseRows = (cols: number, minRows: number, maxRows: number) =>
  fc
    .array(fc.array(fc.integer({ min: -2, max: 2 }), { minLength: cols, maxLength: cols }), {
      minLength: minRows,
      maxLength: maxRows,
    })
    .map((rows) => createMatrix(rows.length, cols, Float32Array.from(rows.flat())));

/** Numbers of a fixed sequence, from -scale / 2 to scale / 2. */
function pseudoRandomRows(rows: number, cols: number, seed: number, scale: number): Matrix {
  let state = seed;
  const data = Float32Array.from({ length: rows * cols }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * scale;
  });
  return createMatrix(rows, cols, data);
}

/** To the last bit: an engine may choose candidates as it likes, but must measure them as the plain loop does. */
function expectSame(table: NeighborTable, expected: NeighborTable): void {
  expect(table.k).toBe(expected.k);
  expect(table.indices).toEqual(expected.indices);
  expect(table.distances).toEqual(expected.distances);
}

/** What every engine must do, run against each of them. */
export function neighborsConformance(name: string, open: (bank: Matrix) => Promise<Neighbors>): void {
  describe(`neighbors: ${name}`, () => {
    let current: Neighbors | null = null;
    const search = async (bank: Matrix, queries: Matrix, k: number) => {
      current = await open(bank);
      return await current.search(queries, k);
    };
    afterEach(async () => {
      await current?.dispose();
      current = null;
    });

    it('finds the nearest rows of a hand-made bank, nearest first', async () => {
      const table = await search(
        matrixOf([
          [0, 0],
          [3, 4],
          [0, 1],
        ]),
        matrixOf([
          [0, 0],
          [3, 0],
        ]),
        3,
      );
      expect(table.k).toBe(3);
      expect([...table.indices]).toEqual([0, 2, 1, 0, 2, 1]);
      expect([...table.distances]).toEqual([0, 1, 5, 3, Math.fround(Math.sqrt(10)), 4].map(Math.fround));
    });

    it('gives equal rows in the order of the bank', async () => {
      const table = await search(
        matrixOf([
          [1, 0],
          [0, 1],
          [1, 0],
          [0, 1],
          [1, 0],
        ]),
        matrixOf([[1, 0]]),
        4,
      );
      expect([...table.indices]).toEqual([0, 2, 4, 1]);
    });

    it('cuts k to the bank, even to a single row', async () => {
      const table = await search(
        matrixOf([[1, 2]]),
        matrixOf([
          [1, 2],
          [1, 3],
        ]),
        5,
      );
      expect(table.k).toBe(1);
      expect([...table.indices]).toEqual([0, 0]);
      expect([...table.distances]).toEqual([0, 1]);
    });

    it('takes rows of zeros as points like any other', async () => {
      const table = await search(
        matrixOf([
          [0, 1],
          [0, 0],
          [0, 0],
        ]),
        matrixOf([
          [0, 0],
          [0, 0.75],
        ]),
        2,
      );
      expect([...table.indices]).toEqual([1, 2, 0, 1]);
      expect([...table.distances]).toEqual([0, 0, 0.25, 0.75]);
    });

    it('tells rows apart that float32 products cannot', async () => {
      // 1e-4 apart on the unit circle: |q|² + |b|² − 2 q·b has an error of about that square.
      const angle = (step: number) => [Math.cos(step * 1e-4), Math.sin(step * 1e-4)];
      const bank = matrixOf([angle(3), angle(1), angle(2), angle(0)]);
      const table = await search(bank, matrixOf([angle(0), angle(1), angle(2), angle(3)]), 1);
      expect([...table.indices]).toEqual([3, 1, 2, 0]);
      expect(Math.max(...table.distances)).toBeLessThan(1e-7);
    });

    it.each([0, 1.5, -1, Number.NaN])('refuses k = %s', async (k) => {
      await expect(search(matrixOf([[1]]), matrixOf([[1]]), k)).rejects.toMatchObject({ code: 'invalid_value' });
    });

    it('refuses another width', async () => {
      await expect(search(matrixOf([[1, 2]]), matrixOf([[1]]), 1)).rejects.toMatchObject({ code: 'shape_mismatch' });
    });

    it.each([1, 1000, 1e18, 1e30, 1e-20])('takes rows of any length, such as %s', async (length) => {
      const queries = pseudoRandomRows(20, 9, 4, length);
      for (const rows of [2, 60]) {
        const bank = pseudoRandomRows(rows, 9, 3, length);
        expectSame(await search(bank, queries, 3), nearestNeighbors(queries, bank, 3));
        await current?.dispose();
      }
    });

    it('finds a row that is the nearest although float32 cannot hold its square', async () => {
      const others = Array.from({ length: 20 }, (_, i) => [0, i * 4e17]);
      const bank = matrixOf([...others, [1.9e19, 0]]);
      const queries = matrixOf(Array.from({ length: 30 }, () => [1.8e19, 0]));
      expectSame(await search(bank, queries, 1), nearestNeighbors(queries, bank, 1));
    });

    it.each([4, 30, 200])('finds the nearest of %i rows that float32 scores cannot tell apart', async (count) => {
      // Within 1e-6 of each other, far from the query: rounding alone orders their scores.
      const noise = pseudoRandomRows(count, 30, 5, 1e-6).data;
      const bank = createMatrix(
        count,
        30,
        noise.map((value, i) => value + Math.sin(i % 30)),
      );
      const queries = pseudoRandomRows(40, 30, 6, 1);
      for (const k of [1, 5]) {
        expectSame(await search(bank, queries, k), nearestNeighbors(queries, bank, k));
        await current?.dispose();
      }
    });

    it('finds every query of a search too large for one block', async () => {
      const bank = pseudoRandomRows(40_000, 2, 7, 1);
      const queries = pseudoRandomRows(600, 2, 8, 1);
      expectSame(await search(bank, queries, 1), nearestNeighbors(queries, bank, 1));
    });

    it('finds the k nearest wherever in a large bank they lie, equal rows in its order', async () => {
      const bank = pseudoRandomRows(9100, 6, 3, 1);
      // The same rows at its beginning, where parts of it may meet, and at its end.
      for (const row of [4095, 4096, 8191, 8192, 9099]) bank.data.copyWithin(row * 6, 0, 6);
      const queries = createMatrix(3, 6, bank.data.slice(0, 18));
      expectSame(await search(bank, queries, 8), nearestNeighbors(queries, bank, 8));
    });

    it('gives arrays of its own on every call', async () => {
      const engine = await open(
        matrixOf([
          [1, 0],
          [0, 1],
        ]),
      );
      current = engine;
      const first = await engine.search(matrixOf([[1, 0]]), 1);
      const kept = [...first.distances];
      await engine.search(matrixOf([[5, 5]]), 1);
      expect([...first.distances]).toEqual(kept);
    });

    it('keeps banks apart, also when another is disposed of', async () => {
      const first = await open(matrixOf([[1, 0]]));
      const second = await open(matrixOf([[0, 3]]));
      current = second;
      expect([...(await first.search(matrixOf([[0, 0]]), 1)).distances]).toEqual([1]);
      await first.dispose();
      await first.dispose();
      expect([...(await second.search(matrixOf([[0, 0]]), 1)).distances]).toEqual([3]);
    });

    it('equals the plain loop: ties, repeated rows, single rows, k beyond the bank, no queries', async () => {
      await fc.assert(
        fc.asyncProperty(
          coarseRows(3, 1, 30),
          coarseRows(3, 0, 6),
          fc.integer({ min: 1, max: 6 }),
          async (bank, queries, k) => {
            const engine = await open(bank);
            const table = await engine.search(queries, k);
            await engine.dispose();
            expectSame(table, nearestNeighbors(queries, bank, k));
          },
        ),
        { numRuns: 100 },
      );
    });

    it("equals the plain loop on unit rows of an extractor's width", async () => {
      const bank = normalizeRows(pseudoRandomRows(205, 74, 1, 1));
      const queries = normalizeRows(pseudoRandomRows(300, 74, 2, 1));
      expectSame(await search(bank, queries, 1), nearestNeighbors(queries, bank, 1));
    });
  });
}
