import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coresetSize, coveringRadius, selectCoreset, selectCoresetPlainly } from '../../src/patchcore/coreset.ts';
import { normalizeRows } from '../../src/patchcore/matrix.ts';
import { matrixOf } from '../matrices.ts';
import { hasShared, readSharedNpy } from '../npy.ts';

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

describe('selectCoreset', () => {
  // floor(0.8506 · 5) = row 4 comes first; then the farthest from it, and so on.
  it('starts at a fixed row and takes the farthest each time', () => {
    expect([...selectCoreset(matrixOf([[0], [1], [2], [9], [4]]), 3)]).toEqual([4, 3, 0]);
  });

  it('gives ties to the lower index', () => {
    expect([...selectCoreset(matrixOf([[1], [-1], [1], [-1], [0]]), 2)]).toEqual([4, 0]);
    expect([...selectCoreset(matrixOf([[7], [7], [7]]), 2)]).toEqual([2, 0]);
  });

  it('keeps all rows in their own order when all are asked for, or more', () => {
    expect([...selectCoreset(matrixOf([[3], [1], [2]]), 3)]).toEqual([0, 1, 2]);
    expect([...selectCoreset(matrixOf([[3]]), 9)]).toEqual([0]);
  });

  it.each([0, -1, 1.5])('refuses a size of %s', (size) => {
    expect(() => selectCoreset(matrixOf([[1], [2]]), size)).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
  });

  it('gives the picks of the plain loop, ties included', () => {
    fc.assert(
      fc.property(lattice(3), fc.integer({ min: 1, max: 30 }), (matrix, size) => {
        expect([...selectCoreset(matrix, size)]).toEqual([...selectCoresetPlainly(matrix, size)]);
      }),
    );
  });

  it('never covers worse with one more pick', () => {
    fc.assert(
      fc.property(lattice(2), (matrix) => {
        const radius = (size: number) => coveringRadius(matrix, selectCoreset(matrix, size));
        for (let size = 2; size <= matrix.rows; size++) expect(radius(size)).toBeLessThanOrEqual(radius(size - 1));
      }),
    );
  });

  it('covers at most twice as widely as any choice of as many rows (Gonzalez 1985)', () => {
    fc.assert(
      fc.property(
        lattice(2),
        fc.infiniteStream(fc.nat()),
        fc.integer({ min: 1, max: 4 }),
        (matrix, numbers, wanted) => {
          const size = Math.min(wanted, matrix.rows);
          const other = Array.from({ length: size }, () => (numbers.next().value as number) % matrix.rows);
          expect(coveringRadius(matrix, selectCoreset(matrix, size))).toBeLessThanOrEqual(
            2 * coveringRadius(matrix, other) + 1e-9,
          );
        },
      ),
    );
  });

  it('tells its progress and stops when told to', () => {
    const matrix = matrixOf(Array.from({ length: 40 }, (_, i) => [i, i * i]));
    const seen: number[] = [];
    selectCoreset(matrix, 20, { onProgress: (done, total) => seen.push(done, total) });
    expect(seen.slice(-2)).toEqual([20, 20]);
    expect(() => selectCoreset(matrix, 20, { shouldStop: () => true })).toThrow(
      expect.objectContaining({ code: 'request_aborted' }),
    );
  });

  it.skipIf(!hasShared)('gives the picks of the plain loop on real patch embeddings', () => {
    const { shape, data } = readSharedNpy('golden/tok_ok0.npy');
    const matrix = normalizeRows({ rows: 1024, cols: shape.at(-1) as number, data });
    expect([...selectCoreset(matrix, 52)]).toEqual([...selectCoresetPlainly(matrix, 52)]);
  });
});

describe('coveringRadius', () => {
  it('is the largest distance to the nearest pick', () => {
    expect(
      coveringRadius(
        matrixOf([
          [0, 0],
          [3, 4],
          [1, 0],
        ]),
        [0],
      ),
    ).toBe(5);
    expect(
      coveringRadius(
        matrixOf([
          [0, 0],
          [3, 4],
          [1, 0],
        ]),
        [0, 1],
      ),
    ).toBe(1);
    expect(coveringRadius(matrixOf([[2], [2]]), [0])).toBe(0);
  });
});
