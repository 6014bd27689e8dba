import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coveringRadius, type DotProducts } from '../../src/patchcore/coreset.ts';
import { thinRows } from '../../src/patchcore/thinning.ts';
import { matrixOf, plainProducts } from '../matrices.ts';

/** Few values: equal rows, zero rows and equal distances everywhere. */
const lattice = fc
  .array(fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 3, maxLength: 3 }), { minLength: 1, maxLength: 40 })
  .map(matrixOf);
/** Rows that differ by little more than float32 can tell. */
const dense = fc
  .array(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2, maxLength: 2 }), { minLength: 1, maxLength: 30 })
  .map((rows) => matrixOf(rows.map((row) => row.map((value) => 1 + value * 2e-7))));
const sizes = fc.integer({ min: 1, max: 40 });

describe('thinRows', () => {
  it('keeps the farthest first, and tells how far the others are', async () => {
    // floor(0.8506 · 6) = row 5 comes first, then row 0.
    const { kept, radius } = await thinRows(matrixOf([[0], [1], [9], [12], [10], [11]]), 2, plainProducts);
    expect([...kept]).toEqual([0, 5]);
    expect(radius).toBeCloseTo(2, 9);
  });

  it('keeps all rows when as many are asked for, or more', async () => {
    const group = matrixOf([[3], [1], [2]]);
    for (const size of [3, 9]) {
      expect(await thinRows(group, size, plainProducts)).toEqual({ kept: Int32Array.of(0, 1, 2), radius: 0 });
    }
  });

  it('keeps no more equal rows than it needs', async () => {
    const { kept, radius } = await thinRows(matrixOf(new Array(20).fill([1, 2])), 9, plainProducts);
    expect(kept.length).toBeLessThanOrEqual(2);
    expect(radius).toBe(0);
  });

  it('states the covering radius: never less, and hardly more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(lattice, dense), sizes, async (group, size) => {
        const { kept, radius } = await thinRows(group, size, plainProducts);
        expect([...kept]).toEqual([...new Set(kept)].sort((a, b) => a - b));
        expect(kept.length).toBeGreaterThanOrEqual(1);
        expect(kept.length).toBeLessThanOrEqual(Math.min(size, group.rows));
        const truth = coveringRadius(group, kept);
        // More by what float64 may lose where it is added up.
        if (truth === 0) expect(radius).toBeLessThan(1e-6);
        else expect(radius).toBeGreaterThan(truth);
        expect(radius).toBeLessThanOrEqual(truth * (1 + 1e-9) + 1e-6);
      }),
    );
  });

  it('states no less, however badly the products are rounded', async () => {
    const rounded: DotProducts = async (a, b) => (await plainProducts(a, b)).map((dot) => Math.round(dot / 3) * 3);
    await fc.assert(
      fc.asyncProperty(lattice, sizes, async (group, size) => {
        const { kept, radius } = await thinRows(group, size, rounded);
        expect(radius).toBeGreaterThanOrEqual(coveringRadius(group, kept));
      }),
    );
  });

  it('ends when it is told to', async () => {
    const group = matrixOf([[0], [1], [2]]);
    await expect(thinRows(group, 2, plainProducts, { shouldStop: () => true })).rejects.toMatchObject({
      code: 'request_aborted',
    });
  });
});
