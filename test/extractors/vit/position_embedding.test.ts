import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resizePositions } from '../../../src/extractors/vit/position_embedding.ts';
import { readSafetensors } from '../../golden/safetensors.ts';
import { hasShared, readSharedNpy, sharedFile } from '../../npy.ts';

const side = fc.integer({ min: 1, max: 5 });
const grids = fc.record({ rows: side, cols: side });

function transposed(positions: Float32Array, { rows, cols }: { rows: number; cols: number }): Float32Array {
  return Float32Array.from(positions, (_, i) => positions[(i % rows) * cols + Math.floor(i / rows)] as number);
}

describe('resizePositions', () => {
  it('takes the shares of the cubic kernel with a = -0.75, and repeats the border', () => {
    // New cells lie at -0.25, 0.25, 0.75 and 1.25; the kernel is 0.26171875 at 0.75, -0.10546875 at 1.25, -0.03515625 at 1.75.
    const halves = [-0.10546875, 0.2265625, 0.7734375, 1.10546875];
    const row = resizePositions(Float32Array.of(0, 1), { rows: 1, cols: 2 }, { rows: 1, cols: 4 }, 1);
    expect([...row]).toEqual(halves);
    const column = resizePositions(Float32Array.of(0, 1), { rows: 2, cols: 1 }, { rows: 4, cols: 1 }, 1);
    expect([...column]).toEqual(halves);
  });

  it('does not average when it makes smaller: every second cell is passed over', () => {
    // New cells lie at 1 and 4 of 0..5.
    const spikes = Float32Array.of(9, 1, 9, 9, 2, 9);
    expect([...resizePositions(spikes, { rows: 1, cols: 6 }, { rows: 1, cols: 2 }, 1)]).toEqual([1, 2]);
  });

  it('keeps rows and columns, and the numbers of a position, apart', () => {
    const positions = Float32Array.of(1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6);
    const twoByThree = { rows: 2, cols: 3 };
    const resized = resizePositions(positions, twoByThree, { rows: 2, cols: 1 }, 2);
    expect([...resized]).toEqual([2, -2, 5, -5]);
  });

  it('gives the same numbers on the same grid, in an array of its own', () => {
    fc.assert(
      fc.property(grids, fc.infiniteStream(fc.float({ noNaN: true, noDefaultInfinity: true })), (grid, numbers) => {
        const positions = Float32Array.from(
          { length: grid.rows * grid.cols * 2 },
          () => numbers.next().value as number,
        );
        const same = resizePositions(positions, grid, grid, 2);
        expect(same.every((value, i) => value === positions[i])).toBe(true);
        expect(same).not.toBe(positions);
      }),
    );
  });

  it('leaves what is equal everywhere, and treats rows as columns', () => {
    fc.assert(
      fc.property(grids, grids, fc.infiniteStream(fc.integer({ min: -9, max: 9 })), (from, to, numbers) => {
        const flat = resizePositions(new Float32Array(from.rows * from.cols).fill(7), from, to, 1);
        for (const value of flat) expect(value).toBeCloseTo(7, 5);
        const positions = Float32Array.from({ length: from.rows * from.cols }, () => numbers.next().value as number);
        const turn = ({ rows, cols }: typeof from) => ({ rows: cols, cols: rows });
        const turned = resizePositions(transposed(positions, from), turn(from), turn(to), 1);
        const straight = transposed(resizePositions(positions, from, to, 1), to);
        for (const [i, value] of straight.entries()) expect(turned[i]).toBeCloseTo(value, 5);
      }),
    );
  });

  it.skipIf(!hasShared)('resizes DINOv2 from 37 × 37 to 32 × 32 as PyTorch 1.13 does (1e-6)', () => {
    const trained = readSafetensors(sharedFile('golden/weights.safetensors')).get('pos_embed')?.data as Float32Array;
    const width = 384;
    const ours = resizePositions(trained.subarray(width), { rows: 37, cols: 37 }, { rows: 32, cols: 32 }, width);
    // The reference has the class token's position first.
    const theirs = readSharedNpy('golden/pos_embed_32x32.npy').data.subarray(width);
    expect(ours.length).toBe(theirs.length);
    let worst = 0;
    for (const [i, value] of ours.entries()) worst = Math.max(worst, Math.abs(value - (theirs[i] as number)));
    expect(worst).toBeLessThan(1e-6);
  });
});
