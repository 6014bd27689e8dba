import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auroc } from '../../src/evaluation/auroc.ts';
import { averagePrecision, f1Max, rates } from '../../src/evaluation/image_metrics.ts';
import { metricTruth } from './metric_truth.ts';

/** Few different values, so that ties are common. */
const scores = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 12 });

describe(`image metrics of scikit-learn ${metricTruth.made_with.scikit_learn}, to 1e-12`, () => {
  it.each(metricTruth.image_cases)('$name', (truth) => {
    expect(auroc(truth.ok_scores, truth.ng_scores)).toBeCloseTo(truth.auroc, 12);
    expect(averagePrecision(truth.ok_scores, truth.ng_scores)).toBeCloseTo(truth.average_precision, 12);
    expect(f1Max(truth.ok_scores, truth.ng_scores).f1).toBeCloseTo(truth.f1_max, 12);
  });
});

describe('averagePrecision', () => {
  it.each([
    ['perfect order', [1, 2, 3], [4, 5], 1],
    ['one NG below one OK', [2], [1], 1 / 2],
    ['all tied: the share of NG', [7, 7, 7], [7], 1 / 4],
    ['half found at precision 1, the rest at 2 of 3', [2], [3, 1], (1 / 2) * 1 + (1 / 2) * (2 / 3)],
    ['NG tied with OK is one step', [2], [2, 1], (1 / 2) * (1 / 2) + (1 / 2) * (2 / 3)],
    ['numeric order, not that of texts', [9], [10, 100], 1],
  ])('%s', (_, ok, ng, expected) => {
    expect(averagePrecision(ok, ng)).toBeCloseTo(expected, 12);
  });

  it('is never below what the worst order gives and 1 only for perfect order', () => {
    fc.assert(
      fc.property(scores, scores, (ok, ng) => {
        const value = averagePrecision(ok, ng);
        const worst = ng.map((_, i) => (i + 1) / (ok.length + i + 1)).reduce((sum, p) => sum + p, 0) / ng.length;
        expect(value).toBeGreaterThanOrEqual(worst - 1e-12);
        expect(value > 1 - 1e-12).toBe(Math.min(...ng) > Math.max(...ok));
      }),
    );
  });

  it('sees only the order of the scores', () => {
    fc.assert(
      fc.property(scores, scores, (ok, ng) => {
        const stretched = (list: readonly number[]) => list.map((score) => Math.exp(score)).reverse();
        expect(averagePrecision(stretched(ok), stretched(ng))).toBeCloseTo(averagePrecision(ok, ng), 12);
      }),
    );
  });
});

describe('f1Max', () => {
  it.each([
    ['perfect order: the lowest NG score', [1, 2, 3], [4, 5], 1, 4],
    ['all tied', [7], [7], 2 / 3, 7],
    ['calling everything NG when the order is wrong', [4, 5], [1], 2 / 4, 1],
    ['leaving the one weak NG', [2, 3, 4, 5], [1, 9, 9], 4 / 5, 9],
  ])('%s', (_, ok, ng, f1, threshold) => {
    expect(f1Max(ok, ng)).toEqual({ f1, threshold });
  });

  it('takes the lower of two equally good thresholds', () => {
    // At 5: 1 hit, F1 2/3. At 1: 2 hits and 2 false alarms, F1 4/6.
    expect(f1Max([2, 2], [1, 5])).toEqual({ f1: 2 / 3, threshold: 1 });
  });

  it('is reached at its threshold and no score does better, nor as well below it', () => {
    const f1At = (ok: readonly number[], ng: readonly number[], threshold: number) => {
      const hits = ng.filter((score) => score >= threshold).length;
      return (2 * hits) / (hits + ok.filter((score) => score >= threshold).length + ng.length);
    };
    fc.assert(
      fc.property(scores, scores, (ok, ng) => {
        const { f1, threshold } = f1Max(ok, ng);
        expect(f1At(ok, ng, threshold)).toBe(f1);
        for (const score of [...ok, ...ng]) {
          if (score < threshold) expect(f1At(ok, ng, score)).toBeLessThan(f1);
          else expect(f1At(ok, ng, score)).toBeLessThanOrEqual(f1);
        }
      }),
    );
  });
});

describe('rates', () => {
  it.each([
    ['apart', [1, 2], [3, 4], 2.5, 0, 0],
    ['at the threshold is NG', [1, 2, 3, 4], [4, 5], 4, 1 / 4, 0],
    ['just below the threshold is OK', [1, 2], [3, 4], 3.5, 0, 1 / 2],
    ['everything NG', [1, 2], [3], 0, 1, 0],
    ['everything OK', [1, 2], [3], 9, 0, 1],
  ])('%s', (_, ok, ng, threshold, overkill, escaped) => {
    expect(rates(ok, ng, threshold)).toEqual({ overkill, escape: escaped });
  });

  it('lets overkill fall and escape rise with the threshold', () => {
    fc.assert(
      fc.property(scores, scores, fc.integer({ min: -4, max: 4 }), (ok, ng, threshold) => {
        const low = rates(ok, ng, threshold);
        const high = rates(ok, ng, threshold + 1);
        expect(high.overkill).toBeLessThanOrEqual(low.overkill);
        expect(high.escape).toBeGreaterThanOrEqual(low.escape);
      }),
    );
  });

  it('refuses a threshold that is not finite', () => {
    expect(() => rates([1], [2], Number.NaN)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});

describe.each([
  ['averagePrecision', averagePrecision],
  ['f1Max', f1Max],
  ['rates', (ok: ArrayLike<number>, ng: ArrayLike<number>) => rates(ok, ng, 1)],
])('%s', (_, metric) => {
  it.each([
    ['no OK score', [], [1], /at least one OK/],
    ['no NG score', [1], [], /at least one NG/],
    ['NaN', [1, Number.NaN], [1], /OK scores is NaN/],
    ['infinity', [1], [Number.POSITIVE_INFINITY], /NG scores is Infinity/],
  ])('refuses %s', (_, ok, ng, message) => {
    expect(() => metric(ok, ng)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => metric(ok, ng)).toThrow(message);
  });

  it('leaves the caller its order', () => {
    const ok = [3, 1, 2];
    const ng = Float32Array.of(5, 4);
    metric(ok, ng);
    expect([ok, [...ng]]).toEqual([
      [3, 1, 2],
      [5, 4],
    ]);
  });
});
