import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../src/images/decode.ts';
import { gridFrame, prepareInput } from '../../src/images/letterbox.ts';
import type { Preprocessing } from '../../src/images/preprocessing.ts';
import { preprocessing as dino } from '../golden/reference_run.ts';
import { hasShared, readSharedNpy, sharedFile } from '../npy.ts';

const plain = (change: Partial<Preprocessing>): Preprocessing => ({
  ...dino,
  mean: [0, 0, 0],
  std: [1, 1, 1],
  ...change,
});

function flat(width: number, height: number, rgb: readonly [number, number, number]) {
  return { height, width, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => rgb[i % 3] as number) };
}

describe('prepareInput', () => {
  it('letterboxes: scaled, centred, black around', () => {
    const { input, placement } = prepareInput(flat(8, 4, [255, 0, 51]), plain({ height: 4, width: 4 }));
    expect(placement).toEqual({ top: 1, left: 0, height: 2, width: 4 });
    const channel = (index: number) => [...input.data.subarray(index * 16, (index + 1) * 16)];
    expect(channel(0)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
    expect(channel(1)).toEqual(Array.from({ length: 16 }, () => 0));
    expect(channel(2).slice(4, 12)).toEqual(Array.from({ length: 8 }, () => Math.fround(0.2)));
  });

  it('stretches without padding', () => {
    const { placement } = prepareInput(flat(8, 4, [1, 2, 3]), plain({ height: 4, width: 4, fit: 'stretch' }));
    expect(placement).toEqual({ top: 0, left: 0, height: 4, width: 4 });
  });

  it('puts blue first for a network that wants it so, with the mean of its place', () => {
    const { input } = prepareInput(
      flat(2, 2, [255, 0, 51]),
      plain({ height: 2, width: 2, colorOrder: 'bgr', mean: [0.2, 0, 0] }),
    );
    expect([...input.data]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
  });

  it('places any picture inside the input, touching two opposite sides', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 3000 }), (width, height) => {
        // A tiny stand-in with the same ratio would do for pixels; only the placement matters here.
        const { placement } = prepareInput(
          flat(width, Math.min(height, 40), [9, 9, 9]),
          plain({ height: 28, width: 42 }),
        );
        expect(placement.top + placement.height).toBeLessThanOrEqual(28);
        expect(placement.left + placement.width).toBeLessThanOrEqual(42);
        expect(placement.height === 28 || placement.width === 42).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('tells where the picture lies on the grid', () => {
    expect(gridFrame({ top: 89, left: 0, height: 268, width: 448 }, dino, { rows: 32, cols: 32 })).toEqual({
      top: 89 / 14,
      left: 0,
      height: 268 / 14,
      width: 32,
    });
  });

  it.skipIf(!hasShared).each(['ok0', 'rect_500x300'])(
    'equals the reference on %s: nearly all values within 2/255',
    async (name) => {
      const image = await decodeImage(new Uint8Array(readFileSync(sharedFile(`golden/${name}.png`))), {
        name,
        maxPixels: 1e6,
      });
      const { input } = prepareInput(image, dino);
      const expected = readSharedNpy(`golden/pre_${name}.npy`).data;
      const plane = 448 * 448;
      const differences = input.data.map(
        (value, i) => Math.abs(value - (expected[i] as number)) * (dino.std[Math.floor(i / plane)] as number) * 255,
      );
      const close = differences.filter((difference) => difference <= 2).length / differences.length;
      console.log(
        `${name}: ${(100 * close).toFixed(3)} % within 2/255, ${((100 * differences.filter((d) => d < 0.01).length) / differences.length).toFixed(2)} % equal`,
      );
      expect(close).toBeGreaterThanOrEqual(0.999);
      expect(differences.filter((difference) => difference >= 0.01)).toHaveLength(0);
    },
  );
});
