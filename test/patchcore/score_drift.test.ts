import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type DriftState,
  driftLimit,
  driftOf,
  keptScores,
  observe,
  picturesPerFalseAlarm,
  startDrift,
} from '../../src/patchcore/score_drift.ts';
import { draws, normalStream, uniformStream } from './random_scores.ts';

const headStart = driftLimit - picturesPerFalseAlarm;

/** Few different values, so that ties are common. */
const tiedScores = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 30 });

function observeAll(state: DriftState, scores: readonly number[]): DriftState {
  return scores.reduce(observe, state);
}

/** Observes draws until the alarm, at most `pictures`. */
function run(state: DriftState, draw: (picture: number) => number, pictures: number): DriftState {
  let latest = state;
  for (let picture = 0; picture < pictures && latest.alarm === null; picture++) latest = observe(latest, draw(picture));
  return latest;
}

/** A score in the middle of each gap of a state without ties. */
function oneScorePerGap({ scores }: DriftState): number[] {
  const inner = scores.slice(1).map((score, i) => (score + (scores[i] as number)) / 2);
  return [(scores[0] as number) - 1, ...inner, (scores.at(-1) as number) + 1];
}

describe('startDrift', () => {
  it('starts at the head start, with one gap more than scores', () => {
    const state = startDrift([3, 1, 2], 7);
    expect(state).toMatchObject({ pictures: 0, referenceSize: 3, scores: [1, 2, 3], counts: [1, 1, 1, 1] });
    expect(driftOf(state)).toEqual({
      drifted: false,
      statistic: 1_000,
      limit: 101_000,
      pictures: 0,
      since: null,
      direction: null,
    });
  });

  it('does not depend on the order of the reference, ties included', () => {
    fc.assert(
      fc.property(tiedScores, fc.integer(), (ok, seed) => {
        expect(startDrift(ok.toReversed(), seed)).toEqual(startDrift(ok, seed));
      }),
    );
  });

  it('keeps 500 scores of a longer reference and counts the others where they belong', () => {
    const state = startDrift(
      Array.from({ length: 1_200 }, (_, i) => i),
      7,
    );
    expect(state.scores).toHaveLength(keptScores);
    expect(state.counts).toHaveLength(keptScores + 1);
    const marks = [-1, ...state.scores, 1_200];
    state.counts.forEach((count, gap) => {
      expect(count).toBe((marks[gap + 1] as number) - (marks[gap] as number));
    });
    // A random half, not one end.
    expect(state.scores.filter((score) => score < 600).length).toBeGreaterThan(200);
    expect(state.scores.filter((score) => score < 600).length).toBeLessThan(300);
  });

  it.each([
    ['no reference', [], 1, /at least one/],
    ['a reference that is not finite', [1, Number.NaN], 1, /NaN/],
    ['half a seed', [1], 0.5, /seed is 0.5/],
  ])('refuses %s', (_, ok, seed, message) => {
    expect(() => startDrift(ok, seed)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => startDrift(ok, seed)).toThrow(message);
  });
});

describe('observe', () => {
  it('bets on the gap: above the only reference score it stakes on the upper half', () => {
    const after = observe(startDrift([10], 7), 11);
    // Both gaps have chance 1/2. The bets take it for 1 - 2^-b (higher) and 2^-b (lower), b = 1.5, 2, 4.
    const factors = [1.5, 2, 4].map((b) => 2 * (1 - 2 ** -b)).concat([1.5, 2, 4].map((b) => 2 * 2 ** -b));
    expect(after.evidence.map(({ stakes }) => stakes)).toEqual(factors.map((f) => expect.closeTo(1_001 * f, 9)));
    expect(after).toMatchObject({ pictures: 1, scores: [10, 11], counts: [1, 1, 1] });
  });

  it.each([
    ['few scores', 5, 0],
    ['few scores and some pictures', 5, 30],
    ['all kept scores', 700, 0],
    ['all kept scores and some pictures', 480, 200],
  ])('bets fairly: over the gaps every stake grows by exactly the new 1, with %s', (_, n, pictures) => {
    const draw = normalStream(3);
    const state = run(startDrift(draws(n, draw), 7), draw, pictures);
    const seen = n + pictures + 1;
    expect(state.counts.reduce((sum, count) => sum + count)).toBe(seen);
    const nexts = oneScorePerGap(state).map((score) => observe(state, score));
    state.evidence.forEach(({ stakes }, bet) => {
      const mean = nexts.reduce(
        (sum, next, gap) => sum + ((state.counts[gap] as number) / seen) * (next.evidence[bet]?.stakes as number),
        0,
      );
      expect(mean / (stakes + 1)).toBeCloseTo(1, 10);
    });
  });

  it('mirrors: negated scores give the same evidence the other way round', () => {
    const draw = normalStream(5);
    const [ok, later] = [draws(20, draw), draws(100, draw)];
    const up = observeAll(startDrift(ok, 7), later).evidence.map(({ stakes }) => stakes);
    const negated = (scores: number[]) => scores.map((score) => -score);
    const down = observeAll(startDrift(negated(ok), 7), negated(later)).evidence.map(({ stakes }) => stakes);
    expect(down).toEqual([...up.slice(3), ...up.slice(0, 3)].map((stakes) => expect.closeTo(stakes, 6)));
  });

  it('sees ranks only: any rising transform of the scores gives the same', () => {
    const draw = normalStream(5);
    const [ok, later] = [draws(20, draw), draws(100, draw)];
    const exp = (scores: number[]) => scores.map(Math.exp);
    expect(driftOf(observeAll(startDrift(exp(ok), 7), exp(later)))).toEqual(
      driftOf(observeAll(startDrift(ok, 7), later)),
    );
  });

  it('is pure, repeatable, and goes on after being kept as JSON, ties included', () => {
    fc.assert(
      fc.property(tiedScores, tiedScores, fc.integer(), (ok, later, seed) => {
        const started = startDrift(ok, seed);
        const before = JSON.stringify(started);
        const straight = observeAll(started, later);
        expect(JSON.stringify(started)).toBe(before);
        const throughJson = later.reduce(
          (state, score) => JSON.parse(JSON.stringify(observe(state, score))) as DriftState,
          JSON.parse(before) as DriftState,
        );
        expect(throughJson).toEqual(straight);
        // What comes after an alarm, which a short run of low scores may raise, is counted but not kept.
        const alarm = later.findIndex((_, i) => driftOf(observeAll(started, later.slice(0, i + 1))).drifted);
        const kept = alarm < 0 ? later : later.slice(0, alarm + 1);
        expect(straight.scores).toEqual([...ok, ...kept].sort((a, b) => a - b));
        expect(straight.pictures).toBe(later.length);
      }),
      { examples: [[[0, 0, 0], [0, -1, -1, -1, -1, -1, 0], -1765074346]] },
    );
  });

  it('stays small', () => {
    const draw = normalStream(5);
    const state = run(startDrift(draws(2_000, draw), 7), draw, 2_000);
    expect(state.scores).toHaveLength(keptScores);
    expect(JSON.stringify(state).length).toBeLessThan(20_000);
  });

  it('holds the alarm and goes on counting', () => {
    const alarmed = run(startDrift(draws(50, normalStream(5)), 7), () => 100, 200);
    expect(driftOf(alarmed).drifted).toBe(true);
    expect(driftOf(alarmed).statistic).toBeGreaterThanOrEqual(driftLimit);
    const later = observeAll(alarmed, new Array<number>(50).fill(0));
    expect(driftOf(later)).toEqual({ ...driftOf(alarmed), pictures: alarmed.pictures + 50 });
  });

  it.each([[Number.NaN], [Number.NEGATIVE_INFINITY]])('refuses %d, also after an alarm', (score) => {
    const alarmed = run(startDrift(draws(50, normalStream(5)), 7), () => 100, 200);
    for (const state of [startDrift([1], 7), alarmed]) {
      expect(() => observe(state, score)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    }
  });
});

describe('without a shift', () => {
  /** At most (head start + pictures) / limit of the runs may alarm, and three standard errors by chance. */
  function mostAlarms(runs: number, pictures: number): number {
    const expected = (runs * (headStart + pictures)) / driftLimit;
    return expected + 3 * Math.sqrt(expected);
  }

  function alarms(runs: number, pictures: number, n: number, stream: (seed: number) => () => number): number {
    let count = 0;
    for (let seed = 0; seed < runs; seed++) {
      const draw = stream(seed);
      if (run(startDrift(draws(n, draw), seed), draw, pictures).alarm !== null) count++;
    }
    return count;
  }

  it.each([
    // Beyond 500 scores the long runs go on by counting.
    ['normal', 20, 200, 1_200, normalStream],
    ['normal', 100, 200, 800, normalStream],
    ['normal', 8, 1_000, 100, normalStream],
    ['three different', 20, 100, 800, (seed: number) => tenths(seed, 3)],
    ['hardly different', 8, 1_000, 100, (seed: number) => tenths(seed, 2)],
  ])(
    'alarms no oftener than stated: %s scores, reference %d, %d runs of %d pictures',
    (_, n, runs, pictures, stream) => {
      expect(alarms(runs, pictures, n, stream)).toBeLessThanOrEqual(mostAlarms(runs, pictures));
    },
  );

  it('never alarms while all scores are equal', () => {
    expect(driftOf(run(startDrift(new Array<number>(20).fill(5), 7), () => 5, 3_000)).drifted).toBe(false);
  });

  it.each([
    ['single bad parts, one in 20', 20],
    ['a pair of them, two in 40', 40],
  ])('stands %s', (_, every) => {
    const draw = normalStream(11);
    const next = (picture: number) => (picture % every < every / 20 ? 10 : draw());
    expect(driftOf(run(startDrift(draws(100, draw), 7), next, 500)).drifted).toBe(false);
  });

  function tenths(seed: number, values: number): () => number {
    const uniform = uniformStream(seed);
    return () => Math.floor(uniform() * values) / 10;
  }
});

describe('with a shift', () => {
  const runs = 200;

  interface Noticed {
    readonly within200: number;
    readonly medianDelay: number;
    readonly rightDirection: number;
  }

  function noticed(n: number, shift: number): Noticed {
    const ends = Array.from({ length: runs }, (_, seed) => {
      const draw = normalStream(seed);
      return driftOf(run(startDrift(draws(n, draw), seed), () => draw() + shift, 200));
    });
    const delays = ends.map((end) => (end.drifted ? end.pictures : Number.POSITIVE_INFINITY)).sort((a, b) => a - b);
    const direction = shift > 0 ? 'higher' : 'lower';
    return {
      within200: ends.filter((end) => end.drifted).length / runs,
      medianDelay: delays[runs / 2] as number,
      rightDirection: ends.filter((end) => end.drifted && end.direction === direction).length / runs,
    };
  }

  it.each([
    [20, 1.5, 0.97, 15],
    [50, 1.5, 0.99, 11],
    [100, 1.5, 0.99, 10],
    [20, 2.5, 0.99, 8],
    [50, 2.5, 0.99, 7],
    [100, 2.5, 0.99, 7],
    [8, 2.5, 0.95, 15],
  ])(
    'notices it from the first picture: reference %d, %d sigma, in %d of the runs, half of them within %d',
    (n, sigma, share, delay) => {
      for (const shift of [sigma, -sigma]) {
        const { within200, medianDelay, rightDirection } = noticed(n, shift);
        expect(within200).toBeGreaterThanOrEqual(share);
        expect(medianDelay).toBeLessThanOrEqual(delay);
        expect(rightDirection).toBe(within200);
      }
    },
  );

  it('has too little to say with a reference of 8 and 1.5 sigma: about 7 in 10', () => {
    expect(noticed(8, 1.5).within200).toBeGreaterThan(0.6);
    expect(noticed(8, 1.5).within200).toBeLessThan(0.82);
  });

  it.each([
    [20, 300],
    [20, 1_000],
  ])('tells when it began: reference %d, one sigma from picture %d on', (n, first) => {
    const ends = Array.from({ length: 40 }, (_, seed) => {
      const draw = normalStream(seed);
      const next = (picture: number) => draw() + (picture >= first ? 1 : 0);
      return driftOf(run(startDrift(draws(n, draw), seed), next, first + 200));
    });
    expect(ends.filter(({ drifted, pictures }) => drifted && pictures > first).length).toBeGreaterThanOrEqual(38);
    const near = ends.filter(({ since }) => since !== null && Math.abs(since - first) <= 20);
    expect(near.length).toBeGreaterThanOrEqual(32);
  });

  it('notices equal scores that all move by a hair: ranks know no size', () => {
    const { drifted, since, direction } = driftOf(run(startDrift(new Array<number>(20).fill(5), 7), () => 5.0001, 200));
    expect({ drifted, since, direction }).toEqual({ drifted: true, since: 0, direction: 'higher' });
  });
});
