import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binomialLowerTail } from '../../src/patchcore/binomial.ts';
import {
  escapeUpperBound,
  nextUp,
  okScoresNeeded,
  type PromisedThreshold,
  promiseThreshold,
  scorePValue,
} from '../../src/patchcore/threshold_promise.ts';
import { draws, normalCdf, normalStream, uniformStream } from './random_scores.ts';

const share = fc.double({ min: 0.01, max: 0.9, noNaN: true });
/** Few different values, so that ties are common. */
const tiedScores = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 60 });

function oneTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1);
}

function promised(okScores: readonly number[], alpha: number, delta: number): PromisedThreshold {
  const promise = promiseThreshold({ okScores, alpha, delta });
  if (promise.kind !== 'promised') throw new Error(`${promise.n} scores are too few, ${promise.needed} are needed.`);
  return promise;
}

describe('promiseThreshold', () => {
  it('takes the highest of 59 scores for 5 % and 5 %', () => {
    expect(promiseThreshold({ okScores: oneTo(59), alpha: 0.05, delta: 0.05 })).toEqual({
      kind: 'promised',
      threshold: nextUp(59),
      k: 59,
      n: 59,
      violationProbability: expect.closeTo(0.95 ** 59, 14),
      alpha: 0.05,
      delta: 0.05,
    });
  });

  it.each([
    ['58 for 5 % and 5 %', 58, 0.05, 59],
    ['298 for 1 % and 5 %', 298, 0.01, 299],
    ['none', 0, 0.5, 5],
  ])('says how many scores are needed: %s are too few', (_, n, alpha, needed) => {
    expect(promiseThreshold({ okScores: oneTo(n), alpha, delta: 0.05 })).toEqual({ kind: 'too_few', n, needed });
  });

  it.each([
    ['the highest of 299 for 1 %', 299, 0.01, 0.05, 299],
    ['the second highest of 100, as P(Bin(100, .05) ≤ 1) is .037 and P(≤ 2) is .118', 100, 0.05, 0.05, 99],
    ['the middle of 3, as P(Bin(3, .5) ≤ 1) is .5', 3, 0.5, 0.5, 2],
    ['the highest, at the very edge of what counts as equal chances', 3, 0.5, 0.12499999999875, 3],
    ['the only one', 1, 0.5, 0.5, 1],
    ['the lowest, when nearly everything may be overkill', 3, 0.9, 0.9, 1],
  ])('takes %s', (_, n, alpha, delta, k) => {
    expect(promised(oneTo(n), alpha, delta)).toMatchObject({ k, threshold: nextUp(k) });
  });

  it('takes the smallest k that keeps delta', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 }), share, share, (n, alpha, delta) => {
        const promise = promiseThreshold({ okScores: oneTo(n), alpha, delta });
        const chance = (k: number) => binomialLowerTail(n, n - k, alpha);
        if (promise.kind === 'too_few') {
          expect(chance(n)).toBeGreaterThan(delta);
          return;
        }
        expect(promise.violationProbability).toBeCloseTo(chance(promise.k), 12);
        expect(chance(promise.k)).toBeLessThanOrEqual(delta * (1 + 1e-10));
        if (promise.k > 1) expect(chance(promise.k - 1)).toBeGreaterThan(delta);
      }),
    );
  });

  it('never gets higher with a larger alpha or a larger delta', () => {
    fc.assert(
      fc.property(tiedScores, share, share, fc.double({ min: 1, max: 1.1, noNaN: true }), (ok, alpha, delta, more) => {
        const first = promiseThreshold({ okScores: ok, alpha, delta });
        fc.pre(first.kind === 'promised');
        expect(promised(ok, alpha * more, delta).threshold).toBeLessThanOrEqual(first.threshold);
        expect(promised(ok, alpha, delta * more).threshold).toBeLessThanOrEqual(first.threshold);
      }),
    );
  });

  it('judges at most n - k of its own scores NG, with any ties', () => {
    fc.assert(
      fc.property(tiedScores, share, share, (ok, alpha, delta) => {
        const promise = promiseThreshold({ okScores: ok, alpha, delta });
        fc.pre(promise.kind === 'promised');
        expect(ok.filter((score) => score >= promise.threshold).length).toBeLessThanOrEqual(ok.length - promise.k);
        expect(Math.max(...ok.filter((score) => score < promise.threshold))).toBe(
          ok.toSorted((a, b) => a - b)[promise.k - 1],
        );
      }),
    );
  });

  it('does not depend on the order and leaves the caller its own', () => {
    const ok = [9, 10, 1, 2];
    expect(promised(ok, 0.6, 0.1)).toEqual(promised([1, 2, 9, 10], 0.6, 0.1));
    expect(promised(ok, 0.6, 0.1).threshold).toBe(nextUp(10));
    expect(ok).toEqual([9, 10, 1, 2]);
  });

  it.each([
    ['alpha 0', { okScores: [1], alpha: 0, delta: 0.1 }, /alpha is 0/],
    ['alpha 1', { okScores: [1], alpha: 1, delta: 0.1 }, /alpha is 1/],
    ['delta NaN', { okScores: [1], alpha: 0.1, delta: Number.NaN }, /delta is NaN/],
    ['delta 1', { okScores: [1], alpha: 0.1, delta: 1 }, /delta is 1/],
    ['a score that is not finite', { okScores: [1, Number.NaN], alpha: 0.1, delta: 0.1 }, /one of them is NaN/],
  ])('refuses %s', (_, request, message) => {
    expect(() => promiseThreshold(request)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => promiseThreshold(request)).toThrow(message);
  });
});

/** Scores with a known distribution: how to draw one, and the share at or above a threshold. */
interface KnownScores {
  readonly stream: (seed: number) => () => number;
  readonly overkill: (threshold: number) => number;
}

const uniformScores: KnownScores = { stream: uniformStream, overkill: (t) => Math.min(1, Math.max(0, 1 - t)) };
const normalScores: KnownScores = { stream: normalStream, overkill: (t) => 1 - normalCdf(t) };
const lognormalScores: KnownScores = {
  stream: (seed) => {
    const normal = normalStream(seed);
    return () => Math.exp(normal());
  },
  overkill: (t) => 1 - normalCdf(Math.log(t)),
};
/** 0, 1, … 9, all equally often. */
const digitScores: KnownScores = {
  stream: (seed) => {
    const uniform = uniformStream(seed);
    return () => Math.floor(uniform() * 10);
  },
  overkill: (t) => oneTo(10).filter((digit) => digit - 1 >= t).length / 10,
};

const calibrations = 1_000;

/** The share of calibrations after which more than alpha of the good parts are judged NG. */
function brokenShare(n: number, alpha: number, delta: number, scores: KnownScores, overkill = scores.overkill): number {
  let broken = 0;
  for (let seed = 0; seed < calibrations; seed++) {
    if (overkill(promised(draws(n, scores.stream(seed)), alpha, delta).threshold) > alpha) broken++;
  }
  return broken / calibrations;
}

function standardError(chance: number): number {
  return Math.sqrt((chance * (1 - chance)) / calibrations);
}

describe('the promise, over 1,000 calibrations', () => {
  const continuous = [
    ['uniform', uniformScores],
    ['normal', normalScores],
    ['lognormal', lognormalScores],
  ] as const;
  const cases = continuous.flatMap(([name, scores]) => [100, 59].map((n) => [name, n, scores] as const));

  it.each(cases)('is broken as often as stated: %s scores, n = %d', (_, n, scores) => {
    const { violationProbability } = promised(oneTo(n), 0.05, 0.05);
    const share = brokenShare(n, 0.05, 0.05, scores);
    expect(share).toBeLessThanOrEqual(0.05 + 3 * standardError(0.05));
    expect(Math.abs(share - violationProbability)).toBeLessThanOrEqual(3 * standardError(violationProbability));
  });

  it.each([
    // Each digit is a tenth: just below a whole number of them, one digit too low is enough to break the promise.
    [0.099, 100],
    [0.099, 59],
    [0.199, 100],
  ])('is kept for ten digits: alpha %d, n = %d', (alpha, n) => {
    const share = brokenShare(n, alpha, 0.05, digitScores);
    expect(share).toBeGreaterThan(0);
    expect(share).toBeLessThanOrEqual(0.05 + 3 * standardError(0.05));
  });

  it('would be broken with ties if the threshold were the k-th score itself', () => {
    const atTheScore = (threshold: number) => digitScores.overkill(Math.floor(threshold));
    // P(Bin(100, .25) ≤ 17) = .038, so k is 83. That digit is 7 or less, and 7, 8, 9 are overkill, with
    // P(Bin(100, .2) ≤ 17) = .271.
    expect(promised(oneTo(100), 0.25, 0.05).k).toBe(83);
    const share = brokenShare(100, 0.25, 0.05, digitScores, atTheScore);
    expect(Math.abs(share - 0.271)).toBeLessThan(3 * standardError(0.271));
  });

  it.each([
    [59, 0.387],
    [100, 0.524],
    [500, 0.997],
  ])('ends with a shift: half a sigma after calibrating with n = %d breaks it in a share of %d', (n, expected) => {
    const shifted = (threshold: number) => normalScores.overkill(threshold - 0.5);
    const share = brokenShare(n, 0.05, 0.05, normalScores, shifted);
    // The shifted overkill is above 5 % when the unshifted one is above 1 - Φ(1.645 + 0.5) = 1.60 %.
    const { k } = promised(oneTo(n), 0.05, 0.05);
    expect(binomialLowerTail(n, n - k, 1 - normalCdf(1.6448536 + 0.5))).toBeCloseTo(expected, 3);
    expect(Math.abs(share - expected)).toBeLessThanOrEqual(3 * standardError(expected));
  });
});

describe('okScoresNeeded', () => {
  it.each([
    [0.05, 0.05, 59],
    [0.01, 0.05, 299],
    [0.01, 0.01, 459],
    [0.5, 0.25, 2],
    [0.5, 0.2499, 3],
    [0.5, 0.9, 1],
    [0.1, 0.9, 1],
    // 0.9 · 0.9 in float64 is above 0.81.
    [0.1, 0.81, 2],
    [0.1, 0.729, 3],
    [0.2, 0.8 ** 10, 10],
    [0.001, 0.999 ** 5_000, 5_000],
  ])('alpha %d, delta %d: %d', (alpha, delta, needed) => {
    expect(okScoresNeeded(alpha, delta)).toBe(needed);
  });

  it('is the smallest number for which there is a promise', () => {
    const powers = fc.record({
      alpha: fc.constantFrom(0.5, 0.2, 0.1, 0.05, 0.01),
      n: fc.integer({ min: 1, max: 300 }),
    });
    fc.assert(
      fc.property(powers, share, ({ alpha, n }, anyDelta) => {
        // A delta that is hit exactly, and any other.
        for (const delta of [(1 - alpha) ** n, anyDelta]) {
          const needed = okScoresNeeded(alpha, delta);
          if (delta !== anyDelta) expect(needed).toBe(n);
          expect(promiseThreshold({ okScores: oneTo(needed), alpha, delta }).kind).toBe('promised');
          expect(promiseThreshold({ okScores: oneTo(needed - 1), alpha, delta }).kind).toBe('too_few');
        }
      }),
    );
  });
});

describe('escapeUpperBound', () => {
  it.each([
    ['no bad parts', 0, 0, null],
    ['all missed', 4, 4, 1],
    ['the only one missed', 1, 1, 1],
  ])('%s', (_, ngCount, misses, expected) => {
    expect(escapeUpperBound(ngCount, misses, 0.05)).toBe(expected);
  });

  it.each([
    ['none of 1', 1, 0, 0.05, 0.95],
    ['none of 2, at a quarter', 2, 0, 0.25, 0.5],
    // (1 - p)² + 2p(1 - p) = 1 - p²
    ['one of 2, at a quarter', 2, 1, 0.25, Math.sqrt(0.75)],
    // scipy 1.17.1, beta.ppf(1 - delta, misses + 1, ngCount - misses)
    ['none of 10', 10, 0, 0.05, 0.2588655508930522],
    ['one of 10', 10, 1, 0.05, 0.39416330243650466],
    ['3 of 50', 50, 3, 0.05, 0.14783717636418123],
    ['199 of 200', 200, 199, 0.1, 0.9994733361578259],
    ['10 of 1,000', 1_000, 10, 0.01, 0.02004260590087893],
  ])('%s', (_, ngCount, misses, delta, expected) => {
    expect(escapeUpperBound(ngCount, misses, delta)).toBeCloseTo(expected, 12);
  });

  it('is the rate at which so few misses have the chance delta, and falls with more delta', () => {
    const counts = fc
      .integer({ min: 2, max: 500 })
      .chain((ngCount) => fc.tuple(fc.constant(ngCount), fc.integer({ min: 0, max: ngCount - 1 })));
    fc.assert(
      fc.property(counts, share, ([ngCount, misses], delta) => {
        const bound = escapeUpperBound(ngCount, misses, delta) as number;
        expect(binomialLowerTail(ngCount, misses, bound)).toBeCloseTo(delta, 9);
        expect(escapeUpperBound(ngCount, misses, delta * 1.1)).toBeLessThan(bound);
        expect(escapeUpperBound(ngCount, misses + 1, delta)).toBeGreaterThan(bound);
      }),
    );
  });

  it.each([
    ['more misses than parts', 3, 4, 0.1],
    ['half a miss', 3, 0.5, 0.1],
    ['fewer than none', 3, -1, 0.1],
    ['delta 0', 3, 1, 0],
  ])('refuses %s', (_, ngCount, misses, delta) => {
    expect(() => escapeUpperBound(ngCount, misses, delta)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});

describe('scorePValue', () => {
  it.each([
    ['above all', 9, [1, 2, 3], 1 / 4],
    ['below all', 0, [1, 2, 3], 1],
    ['a tie counts', 2, [1, 2, 2, 3], 4 / 5],
    ['between', 2.5, [1, 2, 2, 3], 2 / 5],
    ['nothing to compare with', 5, [], 1],
  ])('%s', (_, score, ok, expected) => {
    expect(scorePValue(score, ok)).toBe(expected);
  });

  it('is at most u for at most the share u of exchangeable scores, with any ties', () => {
    fc.assert(
      fc.property(tiedScores, (scores) => {
        // Every score takes its turn as the new one: exactly what exchangeable means.
        const values = scores.map((score, i) => scorePValue(score, scores.toSpliced(i, 1)));
        for (const u of values) {
          expect(values.filter((value) => value <= u).length / values.length).toBeLessThanOrEqual(u + 1e-12);
        }
      }),
    );
  });

  it.each([
    ['NaN', Number.NaN, [1]],
    ['an infinite OK score', 1, [Number.POSITIVE_INFINITY]],
  ])('refuses %s', (_, score, ok) => {
    expect(() => scorePValue(score, ok)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});

describe('nextUp', () => {
  it.each([
    [1, 1 + Number.EPSILON],
    [0, Number.MIN_VALUE],
    [-0, Number.MIN_VALUE],
    [-Number.MIN_VALUE, -0],
    [-1, -1 + Number.EPSILON / 2],
    [Number.MAX_VALUE, Number.POSITIVE_INFINITY],
  ])('%d is followed by %d', (value, next) => {
    expect(nextUp(value)).toBe(next);
  });

  it('leaves no number between', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const next = nextUp(value);
        expect(next).toBeGreaterThan(value);
        const middle = value / 2 + next / 2;
        expect(middle <= value || middle >= next || next - value <= Number.MIN_VALUE).toBe(true);
      }),
    );
  });
});
