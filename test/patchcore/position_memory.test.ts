import { describe, expect, it } from 'vitest';
import {
  createPositionMemory,
  matchSamples,
  positionPictures,
  positionWeight,
  samplePatches,
} from '../../src/patchcore/position_memory.ts';
import { plainProducts } from '../matrices.ts';
import { all, chord, patches } from './angle_patches.ts';

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
