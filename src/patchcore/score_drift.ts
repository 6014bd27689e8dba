import { InspectionError } from '../errors.ts';
import { randomWord } from './random.ts';

/**
 * The comparison so far: plain JSON. It grows to {@link keptScores} scores, about 20 kB, and no further. Made by
 * {@link startDrift}, carried on by {@link observe}, read by {@link driftOf}.
 */
export interface DriftState {
  readonly seed: number;
  /** Evidence that is an alarm. */
  readonly limit: number;
  readonly referenceSize: number;
  /** Pictures observed. */
  readonly pictures: number;
  /** Ascending by score, then by `ties`: the scores that mark the gaps into which new ones fall. */
  readonly scores: readonly number[];
  /** Per score a random number that orders equal ones, 0 .. 2^32 - 1. */
  readonly ties: readonly number[];
  /** Per gap, below the first score first: one more than the scores seen in it. One longer than `scores`. */
  readonly counts: readonly number[];
  /** Per bet, in the order of {@link bets}. */
  readonly evidence: readonly BetEvidence[];
  readonly alarm: DriftAlarm | null;
}

export interface BetEvidence {
  /** Shiryaev-Roberts: what stakes of 1, one new before each picture, have become together. */
  readonly stakes: number;
  /** CUSUM: what a stake of 1 has become that was set at the best time. */
  readonly best: number;
  /** Index of the picture before which that was; 0 is the first observed. */
  readonly bestSince: number;
}

export type DriftDirection = 'higher' | 'lower';

export interface DriftAlarm {
  readonly since: number;
  readonly direction: DriftDirection;
}

export interface ScoreDrift {
  /** Stays true after the first alarm, until a new {@link startDrift}. */
  readonly drifted: boolean;
  /** Evidence for a shift; at {@link driftLimit} it is an alarm. After one it stays as it was then. */
  readonly statistic: number;
  readonly limit: number;
  /** Pictures observed, also after an alarm. */
  readonly pictures: number;
  /** Index of the observed picture with which the shift probably began, 0 for the first; null without an alarm. */
  readonly since: number | null;
  readonly direction: DriftDirection | null;
}

/** Without a shift, this many pictures pass on average before an alarm, at least. */
export const picturesPerFalseAlarm = 100_000;

/**
 * Where the statistic starts. Most shifts that matter come right after a calibration, when a small reference has the least
 * to say; this makes them count a thousandfold and costs at most one false alarm in a hundred starts.
 */
const headStart = 1_000;

/** The statistic's limit for one comparison. The head start is added, so that it takes nothing from {@link picturesPerFalseAlarm}. */
export const driftLimit = picturesPerFalseAlarm + headStart;

/** More scores only count in the gaps between these. 500 gaps tell shifts apart that are far smaller than the bets look for. */
export const keptScores = 500;

/** What a shift may look like: a new score is like the highest, or the lowest, of this many good ones. */
const bets: readonly { readonly direction: DriftDirection; readonly power: number }[] = [
  { direction: 'higher', power: 1.5 },
  { direction: 'higher', power: 2 },
  { direction: 'higher', power: 4 },
  { direction: 'lower', power: 1.5 },
  { direction: 'lower', power: 2 },
  { direction: 'lower', power: 4 },
];

/** Added to the seed for the reference's order, so that it has nothing to do with the order of equal scores. */
const shuffleStream = 1;

/**
 * Begins to compare new scores with a calibration's: one score per picture into {@link observe}, and {@link driftOf} tells
 * whether they still look like the reference.
 *
 * **What is promised.** While reference and new scores are independent draws from one distribution (or merely
 * exchangeable: no order is more probable than another), the mean number of pictures before an alarm is at least 100,000,
 * and an alarm within the first T has at most the chance (1,000 + T) / 101,000. Both hold exactly, for every
 * distribution, with ties, and for a reference of any size: its smallness costs power, never false alarms. Both are
 * means over references and pictures; one unlucky reference is soon outvoted, as every new score joins the comparison.
 * Pictures that depend on one another (one part filmed ten times) are no independent draws, and void the promise.
 *
 * **What is noticed.** A shift of the whole distribution, up or down, by ranks alone: how far the scores moved, measured
 * against their scatter, not in their unit. Normal scores that move with the first picture (simulated, 1,000 runs each way):
 *
 * | reference | 1.5 σ: noticed within 200 | median delay | 2.5 σ: noticed within 200 | median delay |
 * | --------- | ------------------------- | ------------ | ------------------------- | ------------ |
 * | 8         | 71 %                      | 33           | 99 %                      | 10           |
 * | 20        | 99.7 %                    | 11           | 100 %                     | 6            |
 * | 50        | 100 %                     | 9            | 100 %                     | 6            |
 * | 100       | 100 %                     | 8            | 100 %                     | 6            |
 *
 * A σ that comes after 300 good pictures is noticed after 28 (median), half a σ after 102. What is not noticed in some
 * hundred pictures has become the new normal, as new scores join the comparison.
 *
 * **What to observe.** The scores of all pictures, whatever their verdict. Without the NG ones the scores are cut off at the
 * threshold and the reference is not, which voids the promise (slightly, for a cut of the highest few percent). Single bad
 * parts do little, as one counts at most fourfold; about five in a row among the first pictures, or ten later, are a
 * shift, and a lasting share of a fifth may become one.
 *
 * **How.** A new score falls into one of the gaps between those seen. Exchangeable scores fall into each with a chance
 * known from the counts alone (Pólya's urn), independent of the distribution. Each bet names another chance, Q, and
 * multiplies its stakes by Q / chance, 1 on average. Since new stakes of 1 come in before each picture, the stakes' sum
 * grows by 1 per picture on average, so that the mean time to reach the limit is at least limit minus start. Sums of
 * stakes over six bets, averaged, keep that.
 *
 * From the 500th score on, gaps are no longer divided, only counted. The urn's chances remain exact; only the place inside a
 * gap is lost. A longer reference marks the gaps with 500 of its scores, drawn by the seed, and counts the others.
 *
 * @param referenceOkScores image scores of good parts in no memory; at least one, finite, any order, the order is without
 * effect
 * @param seed whole; orders equal scores at random, and nothing else below {@link keptScores} reference scores
 * @param comparisons how many run side by side and share the promise; each then needs as many times the evidence
 * @throws InspectionError `invalid_value` without a score, when one is not finite, or for a seed that is not whole
 *
 * Source: Vovk, Nouretdinov & Gammerman 2003, "Testing exchangeability on-line" (betting against ranks; we bet on the gap
 * instead of a smoothed p-value in it, which removes its noise); Vovk et al. 2021, "Retrain or not retrain: conformal
 * test martingales for change-point detection", arXiv:2102.10439 (Shiryaev-Roberts on them); Shin, Ramdas & Rinaldo
 * 2024, "E-detectors", arXiv:2203.03532 (their mean run length, mixtures); Moustakides, Polunchenko & Tartakovsky 2011 (head
 * start r, run length at least limit - r). The bets are Lehmann's 1953 alternatives, F^b and 1 - (1 - F)^b.
 */
export function startDrift(referenceOkScores: readonly number[], seed: number, comparisons = 1): DriftState {
  if (referenceOkScores.length === 0) {
    throw new InspectionError('invalid_value', 'A drift comparison needs at least one reference score.');
  }
  if (!Number.isSafeInteger(seed)) {
    throw new InspectionError('invalid_value', `The seed is ${seed}; it must be a whole number.`);
  }
  referenceOkScores.forEach(checkScore);
  let gaps: Gaps = { scores: [], ties: [], counts: [1] };
  shuffled(referenceOkScores, seed).forEach((score, index) => {
    const tie = randomWord(seed, index);
    gaps = withScore(gaps, gapOf(gaps, score, tie), score, tie);
  });
  const evidence = bets.map(() => ({ stakes: headStart, best: 1, bestSince: 0 }));
  const limit = comparisons * picturesPerFalseAlarm + headStart;
  return { seed, limit, referenceSize: referenceOkScores.length, pictures: 0, ...gaps, evidence, alarm: null };
}

/**
 * The state after one more score. After an alarm only the pictures are counted. Pure; O({@link keptScores}).
 *
 * @param score finite
 * @throws InspectionError `invalid_value` when the score is not finite
 */
export function observe(state: DriftState, score: number): DriftState {
  checkScore(score);
  if (state.alarm !== null) return { ...state, pictures: state.pictures + 1 };
  const tie = randomWord(state.seed, state.referenceSize + state.pictures);
  const gap = gapOf(state, score, tie);
  const factors = betFactors(state, gap);
  const evidence = state.evidence.map(({ stakes, best, bestSince }, bet) => ({
    stakes: (stakes + 1) * (factors[bet] as number),
    best: Math.max(best, 1) * (factors[bet] as number),
    bestSince: best > 1 ? bestSince : state.pictures,
  }));
  const alarm = meanStakes(evidence) >= state.limit ? alarmOf(evidence) : null;
  return { ...state, pictures: state.pictures + 1, ...withScore(state, gap, score, tie), evidence, alarm };
}

/** What the scores observed so far say. */
export function driftOf({ pictures, evidence, limit, alarm }: DriftState): ScoreDrift {
  return {
    drifted: alarm !== null,
    statistic: meanStakes(evidence),
    limit,
    pictures,
    since: alarm?.since ?? null,
    direction: alarm?.direction ?? null,
  };
}

type Gaps = Pick<DriftState, 'scores' | 'ties' | 'counts'>;

/** By how much each bet's stakes grow when a score falls into this gap. Weighted with the gaps' chances, the mean is 1. */
function betFactors({ counts, referenceSize, pictures }: DriftState, gap: number): number[] {
  let below = 0;
  for (let i = 0; i < gap; i++) below += counts[i] as number;
  // Every score seen counts once, and there is one gap more than marks.
  const total = referenceSize + pictures + 1;
  const own = counts[gap] as number;
  const chance = own / total;
  const low = below / total;
  // The very number that is `low` for the next gap, so that the bets on all gaps add up to 1.
  const high = (below + own) / total;
  return bets.map(({ direction, power }) => {
    const bet = direction === 'higher' ? high ** power - low ** power : (1 - low) ** power - (1 - high) ** power;
    return bet / chance;
  });
}

function meanStakes(evidence: readonly BetEvidence[]): number {
  return evidence.reduce((sum, { stakes }) => sum + stakes, 0) / evidence.length;
}

function alarmOf(evidence: readonly BetEvidence[]): DriftAlarm {
  const stakes = evidence.map((bet) => bet.stakes);
  const strongest = stakes.indexOf(Math.max(...stakes));
  return {
    since: (evidence[strongest] as BetEvidence).bestSince,
    direction: (bets[strongest] as (typeof bets)[number]).direction,
  };
}

/** How many kept scores lie below the pair (score, tie): its gap. */
function gapOf({ scores, ties }: Gaps, score: number, tie: number): number {
  let low = 0;
  let high = scores.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const kept = scores[middle] as number;
    if (kept < score || (kept === score && (ties[middle] as number) < tie)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Divides the gap by the score, or counts it there when enough are kept. */
function withScore({ scores, ties, counts }: Gaps, gap: number, score: number, tie: number): Gaps {
  if (scores.length >= keptScores) return { scores, ties, counts: counts.with(gap, (counts[gap] as number) + 1) };
  return {
    scores: scores.toSpliced(gap, 0, score),
    ties: ties.toSpliced(gap, 0, tie),
    // Until now every gap counts 1; it stays so, with one gap more.
    counts: [...counts, 1],
  };
}

/** A random order that depends on the seed, not on the order given. */
function shuffled(scores: readonly number[], seed: number): number[] {
  return Array.from(Float64Array.from(scores).sort())
    .map((score, index) => ({ score, key: randomWord(seed + shuffleStream, index) }))
    .sort((a, b) => a.key - b.key)
    .map(({ score }) => score);
}

function checkScore(score: number): void {
  if (!Number.isFinite(score)) {
    throw new InspectionError('invalid_value', `A score must be finite; this one is ${score}.`);
  }
}
