import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binomialLowerTail, lowerTails } from '../../src/patchcore/binomial.ts';

/** Σ C(trials, j) · hit^j · miss^(trials - j) over j ≤ hits, for the chance hit / (hit + miss), in whole numbers. */
function exactLowerTail(trials: number, hits: number, hit: bigint, miss: bigint): number {
  let term = miss ** BigInt(trials);
  let sum = term;
  for (let j = 0; j < hits; j++) {
    term = (term * BigInt(trials - j) * hit) / (BigInt(j + 1) * miss);
    sum += term;
  }
  const digits = 10n ** 18n;
  return Number((sum * digits) / (hit + miss) ** BigInt(trials)) / 1e18;
}

describe('binomialLowerTail', () => {
  it.each([
    ['no hit of one coin', 1, 0, 0.5, 1 / 2],
    ['at most one head of three', 3, 1, 0.5, 4 / 8],
    ['at most two heads of three', 3, 2, 0.5, 7 / 8],
    ['at most one six of two dice', 2, 1, 1 / 6, 35 / 36],
    ['no trials', 0, 0, 0.3, 1],
    ['less than nothing', 3, -1, 0.5, 0],
    ['more than everything', 3, 5, 0.5, 1],
  ])('%s', (_, trials, hits, p, expected) => {
    expect(binomialLowerTail(trials, hits, p)).toBeCloseTo(expected, 15);
  });

  it.each([
    ['small', 100, 1],
    ['1,000', 1_000, 37],
    ['20,000, where (1 - p)^n is no float64', 20_000, 949],
  ])('equals the sum in whole numbers: %s', (_, trials, hits) => {
    const exact = exactLowerTail(trials, hits, 1n, 19n);
    expect(binomialLowerTail(trials, hits, 0.05) / exact).toBeCloseTo(1, 11);
  });

  it.each([
    // scipy 1.17.1, binom.cdf
    [100_000, 4_886, 0.05, 0.04940960165574403],
    [100_000, 50_000, 0.5, 0.5012615631070978],
    [20_000, 12, 0.001, 0.0389414989421108],
    [100_000, 100, 0.01, 1.0225909891488635e-294],
    [30, 29, 0.999, 0.02956903273691428],
  ])('equals scipy: %d trials, at most %d, p %d', (trials, hits, p, expected) => {
    expect(binomialLowerTail(trials, hits, p) / expected).toBeCloseTo(1, 9);
  });

  it('and the tail of the misses make 1', () => {
    const cases = fc.integer({ min: 1, max: 3_000 }).chain((trials) =>
      fc.record({
        trials: fc.constant(trials),
        hits: fc.integer({ min: 0, max: trials - 1 }),
        p: fc.double({ min: 0.001, max: 0.999, noNaN: true }),
      }),
    );
    fc.assert(
      fc.property(cases, ({ trials, hits, p }) => {
        const both = binomialLowerTail(trials, hits, p) + binomialLowerTail(trials, trials - hits - 1, 1 - p);
        expect(both).toBeCloseTo(1, 9);
      }),
    );
  });
});

describe('lowerTails', () => {
  it('gives one tail per number of hits, up to 1', () => {
    expect([...lowerTails(2, 0.5)]).toEqual([0.25, 0.75, 1]);
  });
});
