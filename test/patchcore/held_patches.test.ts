import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { holdPatches } from '../../src/patchcore/held_patches.ts';
import { createMatrix } from '../../src/patchcore/matrix.ts';
import { matrixOf } from '../matrices.ts';

const mebibyte = 2 ** 18;

describe('holdPatches', () => {
  it('keeps the other rows, with their places, when some are dropped, and has room for more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }), async (drops) => {
        const held = holdPatches(drops.length + 1, 2);
        const cells = Int32Array.from(drops, (_, row) => 10 + row);
        held.add(7, cells, matrixOf(drops.map((_, row) => [row, -row])));
        await held.drop(Uint8Array.from(drops, Number));
        held.add(8, Int32Array.of(5), matrixOf([[99, -99]]));
        const kept = [...drops.keys()].filter((row) => drops[row] === false);
        expect(held.rows).toBe(kept.length + 1);
        expect([...held.data.subarray(0, held.rows * 2)]).toEqual([...kept.flatMap((row) => [row, -row]), 99, -99]);
        expect([...held.sources.picture.subarray(0, held.rows)]).toEqual([...kept.map(() => 7), 8]);
        expect([...held.sources.cell.subarray(0, held.rows)]).toEqual([...kept.map((row) => 10 + row), 5]);
      }),
    );
  });

  it('copies rows in the order that is asked for', async () => {
    const held = holdPatches(3, 2);
    held.add(
      0,
      Int32Array.of(0, 1, 2),
      matrixOf([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    );
    const copy = await held.copyOf(Int32Array.of(2, 0));
    expect(copy).toEqual(
      matrixOf([
        [5, 6],
        [1, 2],
      ]),
    );
    expect(copy.data.buffer).not.toBe(held.data.buffer);
  });

  it('gives way before every mebibyte that it copies or moves', async () => {
    let given = 0;
    const held = holdPatches(8, mebibyte / 2, async () => {
      given++;
    });
    held.add(0, new Int32Array(8), createMatrix(8, mebibyte / 2, new Float32Array(4 * mebibyte)));
    await held.copyOf(Int32Array.of(0, 2, 4, 6, 7));
    expect(given).toBe(3);
    await held.drop(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(given).toBe(3 + 4);
  });

  it('says so when there is no such room', () => {
    expect(() => holdPatches(2 ** 30, 2 ** 20)).toThrow(
      expect.objectContaining({ code: 'invalid_value', message: expect.stringContaining('BDI_FIT_PATCHES') }),
    );
  });
});
