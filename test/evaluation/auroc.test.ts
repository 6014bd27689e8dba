import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auroc } from '../../src/evaluation/auroc.ts';

/** Few different values, so that ties are common. */
const scores = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 12 });

describe('auroc', () => {
  it.each([
    ['perfect order', [1, 2, 3], [4, 5], 1],
    ['perfectly wrong', [4, 5], [1, 2, 3], 0],
    ['all tied', [7, 7], [7], 0.5],
    ['3 of 4 pairs in order', [1, 3], [2, 4], 0.75],
    ['one tie of two pairs', [1, 2], [2], 0.75],
    ['numeric order, not that of texts', [2, 9], [10, 100], 1],
  ])('%s', (_, ok, ng, expected) => {
    expect(auroc(ok, ng)).toBe(expected);
  });

  it('equals the share of pairs in order, ties counted half', () => {
    fc.assert(
      fc.property(scores, scores, (ok, ng) => {
        let pairs = 0;
        for (const a of ok) for (const b of ng) pairs += b > a ? 1 : b === a ? 0.5 : 0;
        expect(auroc(ok, ng)).toBeCloseTo(pairs / (ok.length * ng.length), 12);
      }),
    );
  });

  it('gives 1 minus the value when the lists are swapped', () => {
    fc.assert(
      fc.property(scores, scores, (ok, ng) => {
        expect(auroc(ng, ok)).toBeCloseTo(1 - auroc(ok, ng), 12);
      }),
    );
  });

  it('leaves the caller its order', () => {
    const ok = [3, 1, 2];
    auroc(ok, Float32Array.of(5, 4));
    expect(ok).toEqual([3, 1, 2]);
  });

  it.each([
    ['no OK score', [], [1], /at least one OK/],
    ['no NG score', [1], [], /at least one NG/],
    ['NaN', [1, Number.NaN], [1], /OK scores is NaN/],
    ['infinity', [1], [Number.POSITIVE_INFINITY], /NG scores is Infinity/],
  ])('refuses %s', (_, ok, ng, message) => {
    expect(() => auroc(ok, ng)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => auroc(ok, ng)).toThrow(message);
  });
});
