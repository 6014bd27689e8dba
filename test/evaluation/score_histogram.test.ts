import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { axisTicks, scoreHistogram } from '../../src/evaluation/score_histogram.ts';

const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
const score = fc.oneof(fc.integer({ min: -2, max: 2 }), fc.float({ noNaN: true, noDefaultInfinity: true }));
const scores = fc.array(score, { maxLength: 12 });

describe('scoreHistogram', () => {
  it('has the threshold between what passes and what is rejected', () => {
    const { edges, ok, ng } = scoreHistogram([0, 1, 5], [4.999, 5, 38], 5);
    const bin = edges.indexOf(5);
    expect(edges).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect([ok[0], ok[1], ok[bin]]).toEqual([1, 1, 1]);
    expect([ng[bin - 1], ng[bin], ng[38]]).toEqual([1, 1, 1]);
  });

  it('counts every picture once, on its side of the threshold, within the edges', () => {
    fc.assert(
      fc.property(scores, scores, score, (okScores, ngScores, threshold) => {
        const { edges, ok, ng } = scoreHistogram(okScores, ngScores, threshold);
        const bin = edges.indexOf(threshold);
        expect(bin).toBeGreaterThanOrEqual(0);
        expect(ok.length).toBeLessThanOrEqual(40);
        for (const [list, counts] of [
          [okScores, ok],
          [ngScores, ng],
        ] as const) {
          expect(counts).toHaveLength(edges.length - 1);
          expect(sum(counts)).toBe(list.length);
          expect(sum(counts.slice(0, bin))).toBe(list.filter((value) => value < threshold).length);
        }
      }),
    );
  });

  it('has ascending edges around all scores', () => {
    fc.assert(
      fc.property(scores, score, (list, threshold) => {
        const { edges } = scoreHistogram(list, [], threshold);
        for (let i = 1; i < edges.length; i++) expect(edges[i]).toBeGreaterThan(edges[i - 1] as number);
        const hair = ((edges.at(-1) as number) - (edges[0] as number)) * 1e-9;
        expect(Math.min(threshold, ...list)).toBeGreaterThanOrEqual((edges[0] as number) - hair);
        expect(Math.max(threshold, ...list)).toBeLessThanOrEqual((edges.at(-1) as number) + hair);
      }),
    );
  });

  it.each([
    ['all scores on the threshold', [7, 7], [7], 7, 3],
    ['all zero', [0], [0], 0, 2],
    ['nothing but a threshold', [], [], 3, 0],
    ['differences below float32', [1, 1 + 1e-12], [], 1, 2],
  ])('keeps width with %s', (_, okScores, ngScores, threshold, pictures) => {
    const { edges, ok, ng } = scoreHistogram(okScores, ngScores, threshold);
    expect(edges.at(-1) as number).toBeGreaterThan(edges[0] as number);
    expect((ok[edges.indexOf(threshold)] as number) + (ng[edges.indexOf(threshold)] as number)).toBe(pictures);
  });

  it.each([
    ['a score', [Number.NaN], 1],
    ['the threshold', [1], Number.POSITIVE_INFINITY],
  ])('refuses %s that is not finite', (_, okScores, threshold) => {
    expect(() => scoreHistogram(okScores, [], threshold)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});

describe('axisTicks', () => {
  it.each([
    [0, 10, 5, ['0', '2', '4', '6', '8', '10']],
    [0, 0.3, 3, ['0.0', '0.1', '0.2', '0.3']],
    [0.21, 0.64, 8, ['0.3', '0.4', '0.5', '0.6']],
    [-0.06, 0.06, 4, ['-0.05', '0.00', '0.05']],
    [0, 4e6, 4, ['0', '1000000', '2000000', '3000000', '4000000']],
    [0, 2e-8, 2, ['0', '1e-8', '2e-8']],
  ])('%d to %d in at most %d steps', (low, high, most, labels) => {
    expect(axisTicks(low, high, most).map(({ label }) => label)).toEqual(labels);
  });

  it('stays within the axis, ascends, and is never crowded', () => {
    fc.assert(
      fc.property(score, score, fc.integer({ min: 1, max: 10 }), (a, b, most) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        fc.pre(high - low > 1e-7 * Math.max(Math.abs(low), Math.abs(high)));
        const ticks = axisTicks(low, high, most).map(({ at }) => at);
        expect(ticks.length).toBeLessThanOrEqual(most + 1);
        const hair = (high - low) * 1e-6;
        for (const at of ticks) expect(at).toBeGreaterThanOrEqual(low - hair);
        for (const at of ticks) expect(at).toBeLessThanOrEqual(high + hair);
        for (let i = 1; i < ticks.length; i++) expect(ticks[i]).toBeGreaterThan(ticks[i - 1] as number);
      }),
    );
  });
});
