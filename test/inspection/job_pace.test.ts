import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { etaSeconds, type Pace, withReport } from '../../src/inspection/job_pace.ts';

const startedMs = 1000;

/** The pace after reports of `[step, done, total, at ms]`. */
function paceAfter(...reports: readonly (readonly [string, number, number, number])[]): Pace {
  let pace: Pace | null = null;
  for (const [step, done, total, atMs] of reports) pace = withReport(pace, { step, done, total }, atMs, startedMs);
  return pace as Pace;
}

describe('the time until a step ends', () => {
  it('is unknown while nothing is done', () => {
    expect(etaSeconds(paceAfter(['pictures', 0, 4, 1000]), 5000)).toBeNull();
  });

  it('follows from the first piece, as long as there is one only', () => {
    expect(etaSeconds(paceAfter(['pictures', 1, 4, 3000]), 3000)).toBe(6);
  });

  it('leaves out the first piece, which may have loaded a network, once there are two', () => {
    expect(etaSeconds(paceAfter(['pictures', 1, 5, 9000], ['pictures', 3, 5, 11_000]), 11_000)).toBe(2);
  });

  it('counts down between two reports, not below 0', () => {
    const pace = paceAfter(['pictures', 1, 4, 3000]);
    expect(etaSeconds(pace, 4500)).toBe(4.5);
    expect(etaSeconds(pace, 60_000)).toBe(0);
  });

  it('begins anew with another step, from the end of the one before', () => {
    const reports = [
      ['pictures', 1, 2, 5000],
      ['pictures', 2, 2, 9000],
      ['coreset', 10, 40, 10_000],
    ] as const;
    expect(etaSeconds(paceAfter(...reports), 10_000)).toBe(3);
  });

  it('goes on with a step that another came between, without what was done of it before', () => {
    const reports = [
      ['pictures', 1, 10, 2000],
      ['pictures', 6, 10, 7000],
      ['thinning', 2, 2, 9000],
      ['pictures', 7, 10, 10_000],
    ] as const;
    expect(etaSeconds(paceAfter(...reports), 10_000)).toBe(3);
  });

  it.each([
    ['less is done than before', ['pictures', 1, 4, 6000] as const],
    ['the total is another', ['pictures', 3, 6, 6000] as const],
  ])('begins anew when %s', (_, report) => {
    const pace = paceAfter(['pictures', 1, 4, 2000], ['pictures', 2, 4, 3000], report);
    expect(pace.first).toEqual({ done: report[1], atMs: 6000 });
    expect(pace.sinceMs).toBe(3000);
  });

  it('is 0 at the end and never negative or infinite, whatever is reported when', () => {
    const report = fc.tuple(
      fc.constantFrom('a', 'b'),
      fc.integer({ min: 0, max: 20 }),
      fc.integer({ min: 0, max: 20 }),
      fc.integer({ min: 0, max: 1e6 }),
    );
    fc.assert(
      fc.property(fc.array(report, { minLength: 1 }), fc.integer({ min: 0, max: 2e6 }), (reports, nowMs) => {
        const pace = paceAfter(...reports);
        const eta = etaSeconds(pace, nowMs);
        if (eta !== null) expect(Number.isFinite(eta) && eta >= 0).toBe(true);
        if (pace.last.done >= pace.total) expect(eta).toBe(0);
      }),
    );
  });
});
