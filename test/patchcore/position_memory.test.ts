import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normalizeRows, squaredDistance } from '../../src/patchcore/matrix.ts';
import {
  createPositionMemory,
  matchSamples,
  mixDistances,
  nearestByPosition,
  positionPictures,
  positionRadius,
  positionWeight,
  samplePatches,
} from '../../src/patchcore/position_memory.ts';
import { matrixOf, plainProducts } from '../matrices.ts';

/** Pictures of one number per cell: the direction of its patch in degrees. */
function patches(grid: { rows: number; cols: number }, pictures: readonly (readonly number[])[]) {
  const cells = grid.rows * grid.cols;
  const degrees = pictures.flat();
  const unit = normalizeRows(
    matrixOf(degrees.map((angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)])),
  );
  const sources = {
    picture: Int32Array.from(degrees, (_, i) => Math.floor(i / cells)),
    cell: Int32Array.from(degrees, (_, i) => i % cells),
  };
  return { unit, sources };
}

const all = (count: number) => Int32Array.from({ length: count }, (_, i) => i);
const chord = (degrees: number) => 2 * Math.sin((degrees * Math.PI) / 360);

describe('positionWeight', () => {
  const near = (value: number) => Float32Array.of(value, value, value);

  it.each([
    ['40 aligned pictures', 40, 1, 1, 1],
    ['15 % farther near than anywhere', 40, 1.15, 1, 0.5],
    ['near is never better than anywhere', 40, 0.9, 1, 1],
    ['half way to enough pictures', 18, 1, 1, 0.5],
    ['too few pictures', 4, 1, 1, 0],
    ['places that do not repeat: below 0.05 is off', 40, 2, 1, 0],
    ['all pictures equal', 40, 0, 0, 1],
  ])('%s', (_, pictures, close, anywhere, weight) => {
    expect(positionWeight(pictures, { near: near(close), anywhere: near(anywhere) })).toBeCloseTo(weight, 5);
  });
});

describe('positionPictures', () => {
  const grid = { rows: 4, cols: 4 };
  // Every second row and column of 4 × 4 are 4 cells: 4 · 8 columns · 4 bytes = 128 bytes per picture.
  it('takes what fits into the bytes, evenly spread', () => {
    expect([...positionPictures(6, grid, 8, 128 * 3)]).toEqual([0, 2, 4]);
    expect([...positionPictures(3, grid, 8, 1e9)]).toEqual([0, 1, 2]);
  });

  it('takes none where not even two fit: one has nothing to be compared with', () => {
    expect([...positionPictures(6, grid, 8, 128 * 2 - 1)]).toEqual([]);
    expect([...positionPictures(1, grid, 8, 1e9)]).toEqual([]);
    expect([...positionPictures(6, grid, 8, 0)]).toEqual([]);
  });
});

describe('createPositionMemory', () => {
  it('keeps every second row and column of the chosen pictures, sorted by cell, then picture', () => {
    const grid = { rows: 2, cols: 3 };
    const { unit, sources } = patches(grid, [
      [0, 1, 2, 3, 4, 5],
      [10, 11, 12, 13, 14, 15],
      [20, 21, 22, 23, 24, 25],
    ]);
    const memory = createPositionMemory(unit, sources, Int32Array.of(0, 2), grid, 0.5);
    // Cells 0 and 2 (row 0, columns 0 and 2) of pictures 0 and 2.
    expect([...memory.starts]).toEqual([0, 2, 2, 4, 4, 4, 4]);
    expect([...memory.picture]).toEqual([0, 2, 0, 2]);
    const angles = [0, 20, 2, 22].map((angle) => (angle * Math.PI) / 180);
    for (const [row, angle] of angles.entries()) expect(memory.rows.data[2 * row]).toBeCloseTo(Math.cos(angle), 6);
  });
});

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

  it('equals the plain loop on any grid, however queries repeat cells', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 19 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 1e6 }),
        async (rows, cols, count, seed) => {
          const grid = { rows, cols };
          const picture = (p: number) =>
            Array.from({ length: rows * cols }, (_, i) => ((i * 37 + p * 101 + seed) * 7919) % 360);
          const { unit, sources } = patches(
            grid,
            Array.from({ length: count }, (_, p) => picture(p)),
          );
          const memory = createPositionMemory(unit, sources, all(count), grid, 1);
          const { distances } = await nearestByPosition(unit, sources.cell, memory, plainProducts, sources.picture);
          for (let query = 0; query < unit.rows; query++) {
            const [y, x] = [Math.floor((sources.cell[query] as number) / cols), (sources.cell[query] as number) % cols];
            let best = Number.POSITIVE_INFINITY;
            for (let row = 0; row < unit.rows; row++) {
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

describe('matchSamples', () => {
  it('looks at every patch of every other picture, and again only near the place', async () => {
    const grid = { rows: 1, cols: 4 };
    const { unit, sources } = patches(grid, [
      [0, 1, 50, 7],
      [20, 80, 90, 5],
    ]);
    const { near, anywhere } = await matchSamples(unit, sources, grid, Int32Array.of(0, 2, 5), plainProducts);
    // 0° at column 0: the 5° of the other picture is three columns away, 20° is not.
    expect(anywhere[0]).toBeCloseTo(chord(5), 5);
    expect(near[0]).toBeCloseTo(chord(20), 5);
    // 50° at column 2 has all of the other picture near; 80° at column 1 as well.
    expect(near[1]).toBeCloseTo(chord(30), 5);
    expect(near[2]).toBeCloseTo(chord(30), 5);
    expect(anywhere[2]).toBeCloseTo(chord(30), 5);
  });

  it('finds nothing for a picture that is alone', async () => {
    const grid = { rows: 1, cols: 2 };
    const { unit, sources } = patches(grid, [[0, 1]]);
    const { near, anywhere } = await matchSamples(unit, sources, grid, Int32Array.of(0), plainProducts);
    expect([near[0], anywhere[0]]).toEqual([Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  });
});

describe('samplePatches', () => {
  it('is the same at every call, inside the rows, and spread over them', () => {
    const sample = samplePatches(10_000, 512);
    expect([...samplePatches(10_000, 512)]).toEqual([...sample]);
    expect(sample).toHaveLength(512);
    for (const tenth of all(10)) {
      const hits = sample.filter((row) => Math.floor(row / 1000) === tenth).length;
      expect(hits).toBeGreaterThan(25);
    }
    expect(samplePatches(3, 512)).toHaveLength(3);
  });
});
