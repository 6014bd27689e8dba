import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auroc } from '../../src/evaluation/auroc.ts';
import { bootstrapInterval } from '../../src/evaluation/bootstrap.ts';
import { pixelAuroc, tallyPicture } from '../../src/evaluation/pixel_metrics.ts';
import { drawnMask, mapOfBins } from './metric_truth.ts';

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const spread = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('bootstrapInterval', () => {
  it('has no width when nothing can vary', () => {
    expect(bootstrapInterval([1], [4, 4, 4], (ok, ng) => mean(ok) + mean(ng), { seed: 1 })).toEqual([5, 5]);
  });

  it('lies where the theory of the mean says', () => {
    // 400 values 0..399: the mean has a standard error of 115.47 / 20 = 5.77, so ± 11.3 at 95 % and ± 5.9 at 70 %.
    const at = (level: number) => bootstrapInterval(spread(400), [], mean, { seed: 3, resamples: 4000, level });
    const [low, high] = at(0.95) as [number, number];
    expect(Math.abs(low - (199.5 - 11.3))).toBeLessThan(1);
    expect(Math.abs(high - (199.5 + 11.3))).toBeLessThan(1);
    const [lowOf70, highOf70] = at(0.7) as [number, number];
    expect(Math.abs(highOf70 - lowOf70 - 2 * 5.98)).toBeLessThan(1);
  });

  it('draws OK and NG pictures apart, with replacement, as many as there are', () => {
    const drawn: (readonly string[])[] = [];
    bootstrapInterval(
      ['a', 'b', 'c'],
      ['x', 'y'],
      (ok, ng) => {
        drawn.push(ok, ng);
        return 0;
      },
      { seed: 5, resamples: 100 },
    );
    expect(drawn.slice(0, 2)).toEqual([
      ['a', 'b', 'c'],
      ['x', 'y'],
    ]);
    expect(drawn).toHaveLength(2 * 101);
    const oks = drawn.filter((_, i) => i % 2 === 0).map((ok) => ok.join(''));
    const ngs = drawn.filter((_, i) => i % 2 === 1).map((ng) => ng.join(''));
    for (const ok of oks) expect(ok).toMatch(/^[abc]{3}$/);
    for (const ng of ngs) expect(ng).toMatch(/^[xy]{2}$/);
    expect(oks.slice(1).join('')).toMatch(/(?=.*a)(?=.*b)(?=.*c)/);
    expect(oks.some((ok) => new Set(ok).size < 3)).toBe(true);
    expect(new Set(ngs)).toEqual(new Set(['xx', 'xy', 'yx', 'yy']));
  });

  it('is the same for the same seed and another for another', () => {
    const of = (seed: number) => bootstrapInterval(spread(30), spread(20), auroc, { seed, resamples: 50 });
    expect(of(7)).toEqual(of(7));
    expect(of(7)).not.toEqual(of(8));
  });

  it('draws 1000 times at a level of 95 % unless told otherwise', () => {
    let calls = 0;
    const counted = (ok: readonly number[]) => {
      calls++;
      return mean(ok);
    };
    const usual = bootstrapInterval(spread(9), [], counted, { seed: 1 });
    expect(calls).toBe(1001);
    expect(usual).toEqual(bootstrapInterval(spread(9), [], mean, { seed: 1, resamples: 1000, level: 0.95 }));
  });

  it('stays within what the statistic gave, low before high', () => {
    const scores = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(scores, scores, fc.integer({ min: 0, max: 1000 }), (ok, ng, seed) => {
        const values: number[] = [];
        const statistic = (a: readonly number[], b: readonly number[]) => {
          values.push(auroc(a, b));
          return values.at(-1) as number;
        };
        const [low, high] = bootstrapInterval(ok, ng, statistic, { seed, resamples: 20 }) as [number, number];
        expect(low).toBeGreaterThanOrEqual(Math.min(...values));
        expect(high).toBeLessThanOrEqual(Math.max(...values));
        expect(low).toBeLessThanOrEqual(high);
      }),
    );
  });

  it('is null when the statistic of the pictures is', () => {
    expect(bootstrapInterval([1], [2], () => null, { seed: 1 })).toBeNull();
  });

  it('leaves out draws without a value, and is null when none has one', () => {
    const withNine = (_: readonly number[], ng: readonly number[]) => (ng.includes(9) ? 1 : null);
    expect(bootstrapInterval([1], [2, 9], withNine, { seed: 1 })).toEqual([1, 1]);
    let calls = 0;
    expect(bootstrapInterval([1], [2], () => (calls++ === 0 ? 1 : null), { seed: 1, resamples: 5 })).toBeNull();
    expect(calls).toBe(6);
  });

  it('takes tallies of pixels', () => {
    const { mask, size } = drawnMask('.#', '.#');
    const ng = [mapOfBins(size, [1, 5, 1, 5]), mapOfBins(size, [1, 0, 1, 0])].map((map) => tallyPicture(map, mask));
    const ok = [tallyPicture(mapOfBins(size, [1, 1, 1, 1]), null)];
    const pixels = bootstrapInterval(ok, ng, (a, b) => pixelAuroc([...a, ...b]), { seed: 1, resamples: 200 });
    expect(pixels).toEqual([0, 1]);
  });

  it.each([
    ['no resample', { seed: 1, resamples: 0 }],
    ['half a resample', { seed: 1, resamples: 1.5 }],
    ['a level of 0', { seed: 1, level: 0 }],
    ['a level of 1', { seed: 1, level: 1 }],
    ['a negative seed', { seed: -1 }],
  ])('refuses %s', (_, options) => {
    expect(() => bootstrapInterval([1], [2], auroc, options)).toThrow(
      expect.objectContaining({ code: 'invalid_value' }),
    );
  });

  it('refuses a statistic that is not finite', () => {
    expect(() => bootstrapInterval([1], [2], () => Number.NaN, { seed: 1 })).toThrow(/it is NaN/);
  });
});
