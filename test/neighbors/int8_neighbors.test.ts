import { describe, expect, it } from 'vitest';
import { createInt8Bank, createInt8Queries } from '../../src/neighbors/int8_bank.ts';
import { createInt8Neighbors } from '../../src/neighbors/int8_neighbors.ts';
import type { StoredRows } from '../../src/neighbors/neighbors.ts';
import { neighborsEngine } from '../../src/neighbors/neighbors_engine.ts';
import { createOnnxNeighbors } from '../../src/neighbors/onnx_neighbors.ts';
import { createMatrix, type Matrix, normalizeRows, selectRows, squaredDistance } from '../../src/patchcore/matrix.ts';
import { type NeighborTable, nearestNeighbors } from '../../src/patchcore/nearest_neighbors.ts';
import { patchRows } from '../bench/subjects/patch_rows.ts';
import { heldBytes } from '../held_bytes.ts';
import { hasShared, readSharedNpy } from '../npy.ts';
import { storedIn } from './stored_in.ts';

const threads = 1;

async function search(bank: Matrix, queries: Matrix, k: number, stored = storedIn(bank)): Promise<NeighborTable> {
  const engine = await createInt8Neighbors(bank, stored, { threads });
  try {
    return await engine.search(queries, k);
  } finally {
    await engine.dispose();
  }
}

/** Numbers of a fixed sequence, -1 to 1, to the power of `peak`: the higher, the fewer large ones. */
function randomRows(rows: number, cols: number, seed: number, peak = 1): Matrix {
  let state = seed;
  const data = Float32Array.from({ length: rows * cols }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const value = state / 2 ** 31 - 1;
    return Math.sign(value) * Math.abs(value) ** peak;
  });
  return createMatrix(rows, cols, data);
}

/** By how much the square of a distance may be above the nearest's: 2 E, with what rounding can take at most. */
function largestExcess(bank: Matrix, queries: Matrix): number {
  const { cols } = bank;
  const centre = Array.from({ length: cols }, (_, col) => {
    let sum = 0;
    for (let at = col; at < bank.data.length; at += cols) sum += bank.data[at] as number;
    return sum / bank.rows;
  });
  const of = ({ rows, data }: Matrix) => {
    const moved = Float64Array.from(data, (value, i) => value - (centre[i % cols] as number));
    const lengths = Array.from({ length: rows }, (_, row) =>
      Math.hypot(...moved.subarray(row * cols, (row + 1) * cols)),
    );
    const step = moved.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 90;
    return { length: Math.max(...lengths), lost: (step / 2) * Math.sqrt(cols) };
  };
  const [b, q] = [of(bank), of(queries)];
  return 2 * 2 * (q.lost * b.length + (q.length + q.lost) * b.lost);
}

/** Every distance that of its row to the last bit, none below the nearest's, none above what is promised. */
async function expectPromise(table: NeighborTable, bank: Matrix, queries: Matrix): Promise<{ readonly same: number }> {
  const exact = await createOnnxNeighbors(bank, { threads });
  const truth = await exact.search(queries, table.k);
  await exact.dispose();
  const excess = largestExcess(bank, queries);
  for (const [at, row] of table.indices.entries()) {
    const distance = table.distances[at] as number;
    const least = truth.distances[at] as number;
    expect(distance).toBe(Math.fround(Math.sqrt(squaredDistance(queries, Math.floor(at / table.k), bank, row))));
    expect(distance).toBeGreaterThanOrEqual(least);
    expect(distance ** 2).toBeLessThanOrEqual(least ** 2 + excess);
  }
  return { same: table.indices.filter((row, at) => row === truth.indices[at]).length / table.indices.length };
}

describe('the nearest rows by int8', () => {
  it.each([
    ['patches', 74, (rows: number, seed: number) => patchRows(rows, 74, seed)],
    ['patches', 384, (rows: number, seed: number) => patchRows(rows, 384, seed)],
    ['patches', 1152, (rows: number, seed: number) => patchRows(rows, 1152, seed)],
    ['unit rows', 384, (rows: number, seed: number) => normalizeRows(randomRows(rows, 384, seed))],
    [
      'rows with a few large numbers',
      384,
      (rows: number, seed: number) => normalizeRows(randomRows(rows, 384, seed, 9)),
    ],
    ['rows of any length', 384, (rows: number, seed: number) => randomRows(rows, 384, seed, 3)],
  ])('are those of the plain loop but for one in a thousand: %s of %i columns', async (_, __, make) => {
    const bank = make(1500, 1);
    const queries = make(1200, 2);
    const { same } = await expectPromise(await search(bank, queries, 1), bank, queries);
    expect(same).toBeGreaterThanOrEqual(0.999);
  });

  it('are so for the five nearest, and for rows of the bank itself', async () => {
    const bank = patchRows(1100, 384, 3);
    const queries = selectRows(
      bank,
      Array.from({ length: 500 }, (_, i) => 2 * i),
    );
    const { same } = await expectPromise(await search(bank, queries, 5), bank, queries);
    expect(same).toBeGreaterThanOrEqual(0.999);
  });

  it.skipIf(!hasShared)(
    'are so for real patches of a ViT in a bank of every patch (skipped without ../shared)',
    async () => {
      const tokens = (name: string) => {
        const { shape, data } = readSharedNpy(`golden/tok_${name}.npy`);
        return normalizeRows(createMatrix(1024, shape.at(-1) as number, data));
      };
      const bank = tokens('ok0');
      for (const name of ['test_ng', 'rect_500x300']) {
        const queries = tokens(name);
        const { same } = await expectPromise(await search(bank, queries, 1), bank, queries);
        expect(same).toBeGreaterThanOrEqual(0.999);
      }
    },
  );

  /** With each row its opposite: their mean is 0, and stays where it is. */
  const withOpposites = (rows: Matrix) =>
    createMatrix(2 * rows.rows, rows.cols, Float32Array.of(...rows.data, ...rows.data.map((value) => -value)));

  it('are told apart where every number is as large as can be: no sum of products is cut off', async () => {
    const cols = 1152;
    const signs = randomRows(50, cols, 5).data.map((value) => Math.sign(value) / Math.sqrt(cols));
    const bank = withOpposites(createMatrix(50, cols, signs));
    const queries = createMatrix(
      100,
      cols,
      bank.data.map((value, i) => (i % 100 < 3 ? -value : value)),
    );
    const found = await search(bank, queries, 1);
    await expectPromise(found, bank, queries);
    expect(found.indices).toEqual(Int32Array.from({ length: 100 }, (_, row) => row));
  });

  it('are products of numbers so small that int16 holds the sum of any two, as processors without VNNI add them up', () => {
    const rows = withOpposites(randomRows(20, 40, 7));
    const { blocks } = createInt8Bank(rows);
    const largest = Math.max(...(blocks[0]?.levels ?? []).map(Math.abs));
    expect(largest).toBe(90);
    expect(2 * largest * Math.max(...createInt8Queries(rows).levels)).toBeLessThan(2 ** 15);
  });

  it('may be farther ones where what rounding took conspires, as far as is told', async () => {
    // One large number makes steps of 1/90; the others lie so that those of the near row are all rounded away from the query.
    const cols = 1152;
    const row = (steps: number) => Float32Array.from({ length: cols }, (_, col) => (col === 0 ? 1 : steps / 90));
    const bank = withOpposites(createMatrix(2, cols, Float32Array.of(...row(10.49), ...row(10.3))));
    const queries = createMatrix(1, cols, row(10.6));
    const table = await search(bank, queries, 1);
    await expectPromise(table, bank, queries);
    expect([...table.indices]).toEqual([1]);
  });
});

describe('what is read of the bank', () => {
  const bank = patchRows(3000, 64, 1);
  const queries = patchRows(200, 64, 2);

  it('are the rows that may be the nearest, ascending, each once', async () => {
    const read: Int32Array[] = [];
    const inner = storedIn(bank);
    await search(bank, queries, 1, { ...inner, read: (rows) => inner.read(read[read.push(rows) - 1] as Int32Array) });
    expect(read).toHaveLength(1);
    const [rows] = read as [Int32Array];
    expect(rows.every((row, i) => i === 0 || row > (rows[i - 1] as number))).toBe(true);
    expect(rows.length).toBeLessThan(1500);
  });

  it('is never more than 8 MiB at once, though no row can be left out', async () => {
    // Scores of such numbers overflow, and say nothing.
    const large = ({ rows, cols, data }: Matrix) =>
      createMatrix(
        rows,
        cols,
        data.map((value) => value * 1e37),
      );
    const huge = large(patchRows(40_000, 64, 3));
    const some = large(selectRows(queries, [0, 1]));
    const inner = storedIn(huge);
    let [reads, most] = [0, 0];
    const stored: StoredRows = {
      ...inner,
      read: async (rows) => {
        reads++;
        most = Math.max(most, rows.length * 64 * 4);
        return await inner.read(rows);
      },
    };
    const table = await search(huge, some, 3, stored);
    expect(most).toBeLessThanOrEqual(8 * 1024 * 1024);
    expect(reads).toBeGreaterThanOrEqual(3);
    expect(table).toEqual(nearestNeighbors(some, huge, 3));
  });

  it('fails a search when it cannot be read, and only that one', async () => {
    let broken = true;
    const inner = storedIn(bank);
    const read: StoredRows['read'] = async (rows) => {
      if (broken) throw new Error('no disk');
      return await inner.read(rows);
    };
    const engine = await createInt8Neighbors(bank, { ...inner, read }, { threads });
    await expect(engine.search(queries, 1)).rejects.toThrow('no disk');
    broken = false;
    expect(await engine.search(queries, 1)).toEqual(nearestNeighbors(queries, bank, 1));
    await engine.dispose();
  });

  it('is closed with the bank, once', async () => {
    let closed = 0;
    const stored: StoredRows = { ...storedIn(bank), close: async () => void closed++ };
    const engine = await createInt8Neighbors(bank, stored, { threads });
    await engine.dispose();
    await engine.dispose();
    expect(closed).toBe(1);
  });
});

describe('the memory of an int8 bank', () => {
  it.each([
    [700, 384, 0.27],
    [5000, 384, 0.27],
    [3000, 1152, 0.265],
  ])('of %i × %i is %f of the rows and less', async (rows, cols, share) => {
    const bank = patchRows(rows, cols, 1);
    const engine = await createInt8Neighbors(bank, storedIn(bank), { threads });
    expect(engine.bytes / bank.data.byteLength).toBeLessThan(share);
    await engine.dispose();
  });

  it('is what is held: the rows themselves may go, and arrays take no more than it says', async () => {
    const before = await heldBytes();
    const nowhere: StoredRows = {
      read: () => Promise.reject(new Error('nothing is read')),
      close: async () => undefined,
    };
    const open = (bank: Matrix) => createInt8Neighbors(bank, nowhere, { threads });
    const engine = await open(patchRows(20_000, 384, 1));
    const held = (await heldBytes()) - before;
    expect(held).toBeLessThan(engine.bytes * 1.05);
    expect(held).toBeGreaterThan(engine.bytes * 0.95);
    expect(engine.keepsBank).toBe(false);
    await engine.dispose();
  });
});

describe('the engine onnx_int8', () => {
  const bank = patchRows(200, 32, 1);

  it('keeps the bank where there is nothing to read it from', async () => {
    const engine = neighborsEngine('onnx_int8', { threads });
    for (const openRows of [undefined, async () => null]) {
      const neighbors = await engine.open(bank, openRows);
      expect(neighbors).toMatchObject({ keepsBank: true, bytes: bank.data.byteLength });
      expect(await neighbors.search(bank, 2)).toEqual(nearestNeighbors(bank, bank, 2));
      await neighbors.dispose();
    }
    const stored = await engine.open(bank, async () => storedIn(bank));
    expect(stored.keepsBank).toBe(false);
    await stored.dispose();
    await engine.dispose();
  });
});

it('closes the rows that it could not open a bank for', async () => {
  const bank = randomRows(4, 3, 1);
  let closed = 0;
  const stored: StoredRows = { ...storedIn(bank), close: async () => void closed++ };
  await expect(createInt8Neighbors(bank, stored, { threads: -5 })).rejects.toThrow();
  expect(closed).toBe(1);
});
