import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxProducts, type OnnxProducts } from '../../src/neighbors/onnx_products.ts';
import { coveringRadius, selectCoreset, selectCoresetPlainly } from '../../src/patchcore/coreset.ts';
import {
  createMatrix,
  type Matrix,
  normalizeRows,
  selectRows,
  squaredDistance,
  type UnitRowMatrix,
} from '../../src/patchcore/matrix.ts';
import { createPositionMemory } from '../../src/patchcore/position_memory.ts';
import { nearestByPosition } from '../../src/patchcore/position_search.ts';
import { matrixOf, plainProducts } from '../matrices.ts';
import { hasShared, readSharedNpy } from '../npy.ts';

let engine: OnnxProducts;
beforeAll(async () => {
  engine = await createOnnxProducts({ threads: 1 });
});
afterAll(() => engine.dispose());

/** Numbers of a fixed sequence: some clusters, as patches of similar pictures are. */
function clusteredRows(rows: number, cols: number): UnitRowMatrix {
  let state = 7;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const centers = Array.from({ length: 12 }, () => Array.from({ length: cols }, next));
  const data = Float32Array.from(
    { length: rows * cols },
    (_, at) => (centers[(Math.floor(at / cols) * 5) % 12]?.[at % cols] as number) + 0.3 * next(),
  );
  return normalizeRows(createMatrix(rows, cols, data));
}

describe('ONNX products', () => {
  it('are a · bᵀ', async () => {
    const a = matrixOf([
      [1, 2, 3],
      [-1, 0, 1],
    ]);
    const b = matrixOf([
      [1, 1, 1],
      [0, 0, 2],
      [3, 0, 0],
      [0, 5, 0],
    ]);
    expect([...(await engine.products(a, b))]).toEqual([6, 6, 3, 10, 0, 2, -3, 0]);
    expect([...(await engine.products(a, b))]).toEqual([...(await plainProducts(a, b))]);
  });
});

describe('ONNX searches in blocks', () => {
  it('find the row of the largest product in every block, the lower of equal ones', async () => {
    const queries = matrixOf([
      [1, 0],
      [0, 1],
      [-1, 1],
    ]);
    const rows = matrixOf([
      [0, 3],
      [2, 0],
      [2, 0],
      [5, 5],
      [0, -1],
      [4, 6],
    ]);
    const asked = Int32Array.of(0, 1, 2, 0);
    const search = (...bias: number[]) =>
      engine.products.searchBlocks({ queries, asked, rows, bias: Float32Array.from(bias), blocks: 2 });
    const found = await search(0, 0, 0, 0, 0, 0);
    expect([...found.rows]).toEqual([1, 0, 2, 0]);
    expect([...found.dots]).toEqual([2, 3, 2, 5]);
    const none = Number.NEGATIVE_INFINITY;
    const fewer = await search(0, none, 0, none, none, none);
    expect([...fewer.rows].slice(0, 2)).toEqual([2, 0]);
    expect([...fewer.dots]).toEqual([2, 3, none, none]);
  });

  it.each([
    ['every picture in every cell', () => true],
    // Cells of 0, 3 and 6 pictures.
    ['cells of fewer pictures, or none', (picture: number, cell: number) => picture % 2 < cell % 3],
  ])('find the matches of the plain products in a position memory: %s', async (_, isIn) => {
    const grid = { rows: 9, cols: 7 };
    const unit = clusteredRows(6 * 63, 20);
    const picture = Int32Array.from({ length: unit.rows }, (__, row) => Math.floor(row / 63));
    const cell = Int32Array.from({ length: unit.rows }, (__, row) => row % 63);
    const rows = picture.map((__, row) => row).filter((row) => isIn(picture[row] as number, cell[row] as number));
    const sources = {
      picture: rows.map((row) => picture[row] as number),
      cell: rows.map((row) => cell[row] as number),
    };
    const chosen = Int32Array.of(0, 1, 2, 3, 4, 5);
    const memory = createPositionMemory(selectRows(unit, rows), sources, chosen, grid, 1);
    for (const leftOut of [undefined, picture]) {
      const fast = await nearestByPosition(unit, cell, memory, engine.products, leftOut);
      const plain = await nearestByPosition(unit, cell, memory, plainProducts, leftOut);
      expect(fast.rows).toEqual(plain.rows);
      expect(fast.distances).toEqual(plain.distances);
    }
  });
});

describe('a coreset by ONNX products', () => {
  /**
   * Walks along the picks with the plain loop's distances: every pick must be the farthest row at its turn, or as far as
   * the farthest within rounding.
   */
  function expectGreedy(matrix: Matrix, picks: Int32Array, tolerance: number): void {
    const nearest = new Float64Array(matrix.rows).fill(Number.POSITIVE_INFINITY);
    for (const [turn, pick] of picks.entries()) {
      if (turn > 0) {
        const farthest = nearest.reduce((most, value) => Math.max(most, value), 0);
        expect(nearest[pick] as number, `pick ${turn}`).toBeGreaterThanOrEqual(farthest - tolerance);
      }
      for (let row = 0; row < matrix.rows; row++) {
        nearest[row] = Math.min(nearest[row] as number, squaredDistance(matrix, row, matrix, pick));
      }
    }
  }

  it.each([
    [5000, 32, 400],
    [3000, 200, 300],
  ])(
    'of %i × %i rows takes the farthest row at each of %i turns (1e-5 of squared distance)',
    async (rows, cols, size) => {
      const matrix = clusteredRows(rows, cols);
      const picks = await selectCoreset(matrix, size, engine.products);
      expect(new Set(picks).size).toBe(size);
      expectGreedy(matrix, picks, 1e-5);
      const plain = coveringRadius(matrix, selectCoresetPlainly(matrix, size));
      expect(coveringRadius(matrix, picks) / plain).toBeCloseTo(1, 2);
    },
  );

  it.skipIf(!hasShared)('gives the picks of the plain loop on real patch embeddings', async () => {
    const { shape, data } = readSharedNpy('golden/tok_ok0.npy');
    const matrix = normalizeRows({ rows: 1024, cols: shape.at(-1) as number, data });
    expect([...(await selectCoreset(matrix, 52, engine.products))]).toEqual([...selectCoresetPlainly(matrix, 52)]);
  });
});
