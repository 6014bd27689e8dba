import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseThreshold } from '../../src/patchcore/calibration.ts';

describe('chooseThreshold', () => {
  it.each([
    [[10, 11, 13], [22], 99, 17.48],
    [[10, 11, 13], null, 99, 12.96],
    [[10, 11, 13], [], 99, 12.96],
    [[10, 11, 13], [5, 6], 99, 13.2192],
    [[1], [1], 99, 1.02],
    [[0.3, 0.31, 0.32], [0.6, 0.5, 0.7], 95, 0.4145],
  ])('of OK %j and NG %j at %d is %d', (okScores, ngScores, percentile, threshold) => {
    expect(chooseThreshold({ okScores, ngScores, percentile }).threshold).toBeCloseTo(threshold, 9);
  });

  it('tells means and percentiles', () => {
    expect(chooseThreshold({ okScores: [1, 3], ngScores: [10, 20], percentile: 50 })).toEqual({
      threshold: 6.25,
      pOk: 2,
      pNg: 10.5,
      okMean: 2,
      ngMean: 15,
    });
    expect(chooseThreshold({ okScores: [1], ngScores: null, percentile: 99 })).toMatchObject({ pNg: null, ngMean: 0 });
  });

  it('lies between OK and NG scores that do not overlap', () => {
    const scores = fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(scores, scores, (ok, ng) => {
        const above = ng.map((score) => score + 11);
        const { threshold } = chooseThreshold({ okScores: ok, ngScores: above, percentile: 100 });
        expect(threshold).toBeGreaterThan(Math.max(...ok));
        expect(threshold).toBeLessThan(Math.max(...above));
      }),
    );
  });

  it.each([
    [[], null],
    [[Number.NaN], null],
    [[1], [Number.POSITIVE_INFINITY]],
  ])('refuses OK %j and NG %j', (okScores, ngScores) => {
    expect(() => chooseThreshold({ okScores, ngScores, percentile: 99 })).toThrow(
      expect.objectContaining({ code: 'invalid_value' }),
    );
  });
});
