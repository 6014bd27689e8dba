import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../src/evaluation/seeded_random.ts';

describe('seededRandom', () => {
  it('gives the known first numbers of mulberry32', () => {
    const random = seededRandom(0);
    expect([random(), random(), random()]).toEqual([0.26642920868471265, 0.0003297457005828619, 0.2232720274478197]);
  });

  it('gives the same numbers for the same seed and others for the next', () => {
    const firstOf = (seed: number) => Array.from({ length: 5 }, seededRandom(seed));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 2 }), (seed) => {
        expect(firstOf(seed)).toEqual(firstOf(seed));
        expect(firstOf(seed)).not.toEqual(firstOf(seed + 1));
      }),
    );
  });

  it('stays in [0, 1) and spreads evenly', () => {
    const random = seededRandom(2 ** 32 - 1);
    const counts = new Array(10).fill(0);
    for (let i = 0; i < 10_000; i++) counts[Math.floor(random() * 10)]++;
    expect(counts).toHaveLength(10);
    // Standard deviation of each count: 30.
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(120);
  });

  it.each([-1, 0.5, 2 ** 32, Number.NaN])('refuses %s as a seed', (seed) => {
    expect(() => seededRandom(seed)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});
