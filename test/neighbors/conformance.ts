import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { Neighbors } from '../../src/neighbors/neighbors.ts';
import { createMatrix, type Matrix, normalizeRows } from '../../src/patchcore/matrix.ts';
import { nearestNeighbors } from '../../src/patchcore/nearest_neighbors.ts';
import { matrixOf } from '../matrices.ts';

/** Few values on few places: equal rows and equal distances come up all the time. */
const coarseRows = (cols: number, maxRows: number) =>
  fc
    .array(fc.array(fc.integer({ min: -2, max: 2 }), { minLength: cols, maxLength: cols }), {
      minLength: 1,
      maxLength: maxRows,
    })
    .map(matrixOf);

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

    it('cuts k to the bank', async () => {
      const table = await search(
        matrixOf([[1, 2]]),
        matrixOf([
          [1, 2],
          [1, 3],
        ]),
        5,
      );
      expect(table).toMatchObject({ k: 1 });
      expect([...table.distances]).toEqual([0, 1]);
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

    it('equals the plain loop: ties, single rows, k beyond the bank', async () => {
      await fc.assert(
        fc.asyncProperty(
          coarseRows(3, 12),
          coarseRows(3, 6),
          fc.integer({ min: 1, max: 4 }),
          async (bank, queries, k) => {
            const engine = await open(bank);
            const table = await engine.search(queries, k);
            const expected = nearestNeighbors(queries, bank, k);
            await engine.dispose();
            expect([...table.distances]).toEqual([...expected.distances]);
            // Where more rows tie than an engine has candidates, it may name another of the equals.
            if (k === 1 && bank.rows <= 4) expect([...table.indices]).toEqual([...expected.indices]);
          },
        ),
        { numRuns: 40 },
      );
    });

    it("equals the plain loop on unit rows of an extractor's width", async () => {
      const rows = (count: number, seed: number) => {
        let state = seed;
        const next = () => {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
          return state / 2 ** 32 - 0.5;
        };
        return normalizeRows(createMatrix(count, 74, Float32Array.from({ length: count * 74 }, next)));
      };
      const bank = rows(205, 1);
      const queries = rows(300, 2);
      const table = await search(bank, queries, 1);
      const expected = nearestNeighbors(queries, bank, 1);
      expect([...table.indices]).toEqual([...expected.indices]);
      expect([...table.distances]).toEqual([...expected.distances]);
    });
  });
}
