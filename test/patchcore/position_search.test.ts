import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalizeRows, selectRows, squaredDistance } from '../../src/patchcore/matrix.ts';
import { createPositionMemory, positionRadius } from '../../src/patchcore/position_memory.ts';
import { mixDistances, nearestByPosition } from '../../src/patchcore/position_search.ts';
import { matrixOf, plainProducts } from '../matrices.ts';
import { all, chord, patches } from './angle_patches.ts';

describe('nearestByPosition', () => {
  it('sees only what lies at most two cells away', async () => {
    const grid = { rows: 1, cols: 7 };
    const { unit, sources } = patches(grid, [[0, 90, 10, 90, 20, 90, 30]]);
    const memory = createPositionMemory(unit, sources, Int32Array.of(0), grid, 1);
    const query = normalizeRows(matrixOf([[1, 0]]));
    const at = async (cell: number) =>
      (await nearestByPosition(query, Int32Array.of(cell), memory, plainProducts)).distances[0];
    expect(await at(0)).toBeCloseTo(0, 6);
    expect(await at(2)).toBeCloseTo(0, 6);
    // From column 3 on, column 0 is too far away: 10 degrees at column 2 is nearest, then 20, then 30.
    expect(await at(3)).toBeCloseTo(chord(10), 5);
    expect(await at(5)).toBeCloseTo(chord(20), 5);
  });

  it('leaves the picture itself out, and says so where nothing is left', async () => {
    const grid = { rows: 1, cols: 1 };
    const { unit, sources } = patches(grid, [[0], [40]]);
    const memory = createPositionMemory(unit, sources, all(2), grid, 1);
    const search = (pictures: number[], of = memory) =>
      nearestByPosition(unit, Int32Array.of(0, 0), of, plainProducts, Int32Array.from(pictures));
    const { distances } = await search([0, 1]);
    for (const distance of distances) expect(distance).toBeCloseTo(chord(40), 5);
    const alone = createPositionMemory(unit, sources, Int32Array.of(0), grid, 1);
    const lonely = await search([0, 1], alone);
    expect(lonely.distances[0]).toBe(Number.POSITIVE_INFINITY);
    expect([...lonely.rows]).toEqual([-1, 0]);
  });

  it('names the row found, the lower of equal ones, whatever is left out', async () => {
    const grid = { rows: 1, cols: 3 };
    const { unit, sources } = patches(grid, [
      [0, 0, 20],
      [50, 0, 40],
      [20, 0, 0],
    ]);
    // Rows of cell 0: 0°, 50°, 20°; of cell 2: 20°, 40°, 0°.
    const memory = createPositionMemory(unit, sources, all(3), grid, 1);
    const queries = normalizeRows(matrixOf([1, 2, 3].map(() => [1, 0])));
    const rowsFor = async (...leftOut: (readonly number[])[]) => {
      const pictures = leftOut.map((each) => Int32Array.from(each));
      const { rows } = await nearestByPosition(queries, Int32Array.of(1, 1, 1), memory, plainProducts, ...pictures);
      return [...rows];
    };
    expect(await rowsFor()).toEqual([0, 0, 0]);
    expect(await rowsFor([0, 1, 2])).toEqual([5, 0, 0]);
  });

  it('equals the plain loop on any grid, whichever patches are missing, however queries repeat cells', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 19 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 1e6 }),
        fc.array(fc.integer({ min: 0, max: 512 }), { maxLength: 200 }),
        async (rows, cols, count, seed, missing) => {
          const grid = { rows, cols };
          const picture = (p: number) =>
            Array.from({ length: rows * cols }, (_, i) => ((i * 37 + p * 101 + seed) * 7919) % 360);
          const { unit, sources } = patches(
            grid,
            Array.from({ length: count }, (_, p) => picture(p)),
          );
          const there = sources.cell.map((_, row) => row).filter((row) => !missing.includes(row));
          const ofThere = (numbers: Int32Array) => there.map((row) => numbers[row] as number);
          const memory = createPositionMemory(
            selectRows(unit, there),
            { picture: ofThere(sources.picture), cell: ofThere(sources.cell) },
            all(count),
            grid,
            1,
          );
          const { distances } = await nearestByPosition(unit, sources.cell, memory, plainProducts, sources.picture);
          for (let query = 0; query < unit.rows; query++) {
            const [y, x] = [Math.floor((sources.cell[query] as number) / cols), (sources.cell[query] as number) % cols];
            let best = Number.POSITIVE_INFINITY;
            for (const row of there) {
              const [v, u] = [Math.floor((sources.cell[row] as number) / cols), (sources.cell[row] as number) % cols];
              const counts = v % 2 === 0 && u % 2 === 0 && sources.picture[row] !== sources.picture[query];
              const close = Math.max(Math.abs(v - y), Math.abs(u - x)) <= positionRadius;
              if (counts && close) best = Math.min(best, squaredDistance(unit, query, unit, row));
            }
            // The product's rounding may choose another of two rows that are equally far to the last digits.
            if (best === Number.POSITIVE_INFINITY) expect(distances[query]).toBe(best);
            else expect(Math.abs((distances[query] as number) - Math.sqrt(best))).toBeLessThan(1e-3);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('refuses queries that do not fit', async () => {
    const grid = { rows: 1, cols: 2 };
    const { unit, sources } = patches(grid, [[0, 1]]);
    const memory = createPositionMemory(unit, sources, all(1), grid, 1);
    const ask = (width: number, cell: number) =>
      nearestByPosition(matrixOf([Array.from({ length: width }, () => 1)]), Int32Array.of(cell), memory, plainProducts);
    await expect(ask(3, 0)).rejects.toMatchObject({ code: 'shape_mismatch' });
    await expect(ask(2, 2)).rejects.toMatchObject({ code: 'shape_mismatch' });
    await expect(ask(2, -1)).rejects.toMatchObject({ code: 'shape_mismatch' });
  });
});

describe('mixDistances', () => {
  it('weighs both and keeps the distance to the bank where no place is near', () => {
    const mixed = mixDistances(Float32Array.of(1, 1, 2), Float32Array.of(3, 1, Number.POSITIVE_INFINITY), 0.25);
    expect([...mixed]).toEqual([1.5, 1, 2]);
  });
});
