import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clearestRankTest, median, p95, powerLaw, rankTest } from './statistics.ts';

describe('median and p95', () => {
  it('lie between values', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([5, 1, 3])).toBe(3);
    expect(p95(Array.from({ length: 21 }, (_, i) => 20 - i))).toBe(19);
    expect(p95([10, 20])).toBeCloseTo(19.5);
    expect(p95([7])).toBe(7);
  });
});

describe('the rank test', () => {
  it('counts the ways to be so far apart', () => {
    // 2 of the 252 ways to choose 5 of 10.
    expect(rankTest([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])).toBeCloseTo(2 / 252, 12);
    // Rank sums 3 and 4 below, 6 and 7 above: 4 of the 10 ways to choose 2 of 5 are as far from 6 as 4 is.
    expect(rankTest([1, 3], [2, 4, 5])).toBeCloseTo(4 / 10, 12);
    expect(rankTest([1, 4], [2, 3])).toBe(1);
  });

  it('shares ranks among equal values', () => {
    expect(rankTest([2, 2, 2], [2, 2])).toBe(1);
    // Ranks 1.5, 1.5 against 3.5, 3.5: 2 of 6 ways.
    expect(rankTest([1, 1], [9, 9])).toBeCloseTo(2 / 6, 12);
  });

  it('asks for ranks only, in no order', () => {
    const values = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(values, values, (a, b) => {
        const p = rankTest(a, b);
        expect(p).toBeGreaterThan(0);
        expect(p).toBeLessThanOrEqual(1);
        expect(rankTest(b, a)).toBeCloseTo(p, 10);
        expect(rankTest(a.toReversed(), b)).toBe(p);
        expect(
          rankTest(
            a.map((value) => Math.exp(value)),
            b.map((value) => Math.exp(value)),
          ),
        ).toBe(p);
        expect(p).toBeGreaterThanOrEqual(clearestRankTest(a.length, b.length) / 2 - 1e-12);
      }),
    );
  });

  it('tells at its clearest what samples of a size can tell', () => {
    expect(clearestRankTest(5, 5)).toBeCloseTo(2 / 252, 12);
    expect(clearestRankTest(3, 3)).toBeCloseTo(2 / 20, 12);
    expect(clearestRankTest(1, 1)).toBe(1);
    expect(rankTest([1, 2, 3], [4, 5, 6, 7])).toBeCloseTo(clearestRankTest(3, 4), 12);
  });
});

describe('the power law', () => {
  it('finds exponent and factor', () => {
    const points = [1, 10, 50].map((x) => ({ x, y: 3 * x ** 1.5 }));
    const law = powerLaw(points);
    expect(law.exponent).toBeCloseTo(1.5, 10);
    expect(law.factor).toBeCloseTo(3, 10);
  });

  it('fits by least squares of the logarithms', () => {
    // Slopes of 1 and 3 per decade: the line through them rises by 2, and passes the middle at their mean.
    const { exponent, factor } = powerLaw([
      { x: 1, y: 1 },
      { x: 10, y: 10 },
      { x: 100, y: 10_000 },
    ]);
    expect(exponent).toBeCloseTo(2, 10);
    expect(Math.log10(factor)).toBeCloseTo(5 / 3 - 2, 10);
  });
});
