import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomWord } from '../../src/patchcore/random.ts';

describe('randomWord', () => {
  it('is a whole number of 32 bits, the same at every call', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.maxSafeNat(), (seed, index) => {
        const word = randomWord(seed, index);
        expect(word >>> 0).toBe(word);
        expect(randomWord(seed, index)).toBe(word);
      }),
    );
  });

  it('differs between indices and seeds, also beyond 32 bits', () => {
    const words = [0, 1, 2, 2 ** 32, 2 ** 33, -1].flatMap((seed) =>
      [0, 1, 2, 2 ** 32, 2 ** 40].map((index) => randomWord(seed, index)),
    );
    expect(new Set(words).size).toBe(30);
  });

  it.each([
    ['along one stream', (i: number) => randomWord(7, i)],
    ['across seeds', (i: number) => randomWord(i, 7)],
  ])('spreads evenly %s', (_, word) => {
    const size = 16_000;
    const bins = new Array<number>(16).fill(0);
    let rising = 0;
    for (let i = 0; i < size; i++) {
      const bin = Math.floor((word(i) / 2 ** 32) * 16);
      bins[bin] = (bins[bin] as number) + 1;
      if (word(i) < word(i + 1)) rising++;
    }
    // Chi-square with 15 degrees of freedom: above 37.7 with chance 0.001.
    expect(bins.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)).toBeLessThan(37.7);
    // Ups of consecutive independent numbers: variance size / 12.
    expect(Math.abs(rising - size / 2)).toBeLessThan(4 * Math.sqrt(size / 12));
  });
});
