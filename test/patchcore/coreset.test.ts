import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CoresetHooks,
  coresetSize,
  coveringRadius,
  type DotProducts,
  type ProductsPart,
  selectCoreset,
  selectCoresetPlainly,
} from '../../src/patchcore/coreset.ts';
import type { Matrix } from '../../src/patchcore/matrix.ts';
import { matrixOf, plainProducts } from '../matrices.ts';

/** Points on a small lattice: equal rows and equal distances everywhere. */
const lattice = (cols: number) =>
  fc
    .array(fc.array(fc.integer({ min: -2, max: 2 }), { minLength: cols, maxLength: cols }), {
      minLength: 1,
      maxLength: 30,
    })
    .map(matrixOf);

describe('coresetSize', () => {
  it.each([
    [10240, 0.02, 205],
    [1024, 0.02, 21],
    [100, 0.07, 7],
    [3, 0.0001, 1],
    [5, 1, 5],
    [1, 1, 1],
    [3072, 0.05, 154],
  ])('keeps of %i patches at rate %d: %i', (rows, rate, size) => {
    expect(coresetSize(rows, rate)).toBe(size);
  });
});

function dotOf({ cols, data }: Matrix, a: number, b: number): number {
  let sum = 0;
  for (let i = 0; i < cols; i++) sum += (data[a * cols + i] as number) * (data[b * cols + i] as number);
  return sum;
}

/** With products whose sums are exact for the lattices here. */
const select = (matrix: Matrix, size: number, hooks?: CoresetHooks) =>
  selectCoreset(matrix, size, plainProducts, hooks);

describe('selectCoreset', () => {
  // floor(0.8506 · 5) = row 4 comes first; then the farthest from it, and so on.
  it('starts at a fixed row and takes the farthest each time', async () => {
    expect([...(await select(matrixOf([[0], [1], [2], [9], [4]]), 3))]).toEqual([4, 3, 0]);
  });

  it('gives ties to the lower index', async () => {
    expect([...(await select(matrixOf([[1], [-1], [1], [-1], [0]]), 2))]).toEqual([4, 0]);
    expect([...(await select(matrixOf([[7], [7], [7]]), 2))]).toEqual([2, 0]);
  });

  it('keeps all rows in their own order when all are asked for, or more', async () => {
    expect([...(await select(matrixOf([[3], [1], [2]]), 3))]).toEqual([0, 1, 2]);
    expect([...(await select(matrixOf([[3]]), 9))]).toEqual([0]);
  });

  it.each([0, -1, 1.5])('refuses a size of %s', async (size) => {
    await expect(select(matrixOf([[1], [2]]), size)).rejects.toMatchObject({ code: 'shape_mismatch' });
  });

  it('gives the picks of the plain loop, ties included', async () => {
    await fc.assert(
      fc.asyncProperty(lattice(3), fc.integer({ min: 1, max: 30 }), async (matrix, size) => {
        expect([...(await select(matrix, size))]).toEqual([...selectCoresetPlainly(matrix, size)]);
      }),
    );
  });

  it('gives the picks of the plain loop over many blocks, on a lattice full of ties and equal rows', async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => [(i * 7919) % 23, (i * 104729) % 19, (i * 1299709) % 11]);
    const matrix = matrixOf(rows);
    expect([...(await select(matrix, 900))]).toEqual([...selectCoresetPlainly(matrix, 900)]);
  });

  it('picks no row twice, though by rough products it is farther from itself than the next row', async () => {
    const matrix = matrixOf(Array.from({ length: 600 }, (_, i) => [Math.floor(i / 2), (i % 2) * 0.01, 1]));
    const rough: DotProducts = async (a, b) => (await plainProducts(a, b)).map((dot) => dot * (1 - 1e-5));
    const picks = await selectCoreset(matrix, 599, rough);
    expect(new Set(picks).size).toBe(599);
  });

  it('hands over every product of a row with a pick once', async () => {
    const matrix = matrixOf(Array.from({ length: 2500 }, (_, i) => [Math.sin(i), Math.cos(3 * i), (i % 50) / 50]));
    const met = new Uint8Array(2500 * 300);
    const inOrder: number[] = [];
    let error = 0;
    const onProducts = ({ firstRow, rows, picks, firstPick, dots }: ProductsPart) => {
      if (firstRow === 0) inOrder.push(...picks);
      for (let at = 0; at < rows * picks.length; at++) {
        const [row, pick] = [firstRow + Math.floor(at / picks.length), at % picks.length];
        met[row * 300 + firstPick + pick]++;
        error = Math.max(error, Math.abs((dots[at] as number) - dotOf(matrix, row, picks[pick] as number)));
      }
    };
    const picks = await select(matrix, 300, { onProducts });
    expect(inOrder).toEqual([...picks]);
    expect(met.every((times) => times === 1)).toBe(true);
    expect(error).toBeLessThan(1e-6);
  });

  it('multiplies hardly more rows than all with each pick', async () => {
    const matrix = matrixOf(
      Array.from({ length: 8000 }, (_, i) => [Math.sin(7 * i), Math.cos(5 * i), Math.sin(3 * i * i), Math.cos(i)]),
    );
    let pairs = 0;
    await selectCoreset(matrix, 500, (a, b) => {
      pairs += a.rows * b.rows;
      return plainProducts(a, b);
    });
    expect(pairs).toBeLessThan(1.35 * 8000 * 500);
  });

  it('never covers worse with one more pick', async () => {
    await fc.assert(
      fc.asyncProperty(lattice(2), async (matrix) => {
        const radius = async (size: number) => coveringRadius(matrix, await select(matrix, size));
        for (let size = 2; size <= matrix.rows; size++) {
          expect(await radius(size)).toBeLessThanOrEqual(await radius(size - 1));
        }
      }),
      { numRuns: 30 },
    );
  });

  it('covers at most twice as widely as any choice of as many rows (Gonzalez 1985)', async () => {
    await fc.assert(
      fc.asyncProperty(
        lattice(2),
        fc.infiniteStream(fc.nat()),
        fc.integer({ min: 1, max: 4 }),
        async (matrix, numbers, wanted) => {
          const size = Math.min(wanted, matrix.rows);
          const other = Array.from({ length: size }, () => (numbers.next().value as number) % matrix.rows);
          expect(coveringRadius(matrix, await select(matrix, size))).toBeLessThanOrEqual(
            2 * coveringRadius(matrix, other) + 1e-9,
          );
        },
      ),
    );
  });

  it('tells its progress and stops when told to', async () => {
    const matrix = matrixOf(Array.from({ length: 40 }, (_, i) => [i, i * i]));
    const seen: number[] = [];
    await select(matrix, 20, { onProgress: (done, total) => seen.push(done, total) });
    expect(seen.slice(-2)).toEqual([20, 20]);
    await expect(select(matrix, 20, { shouldStop: () => true })).rejects.toMatchObject({ code: 'request_aborted' });
  });
});

describe('coveringRadius', () => {
  it('is the largest distance to the nearest pick', () => {
    const rows = matrixOf([
      [0, 0],
      [3, 4],
      [1, 0],
    ]);
    expect(coveringRadius(rows, [0])).toBe(5);
    expect(coveringRadius(rows, [0, 1])).toBe(1);
    expect(coveringRadius(matrixOf([[2], [2]]), [0])).toBe(0);
  });
});
