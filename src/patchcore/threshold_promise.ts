import { InspectionError } from '../errors.ts';
import { binomialLowerTail, lowerTails } from './binomial.ts';

export interface PromiseRequest {
  /** Image scores of good parts that are in no memory and chose nothing else; finite, any order, ties allowed. */
  readonly okScores: readonly number[];
  /** The largest overkill (share of good parts judged NG) that is still fine: above 0, below 1. */
  readonly alpha: number;
  /** How often, over many calibrations, the overkill may be above alpha all the same: above 0, below 1. */
  readonly delta: number;
}

export interface PromisedThreshold {
  readonly kind: 'promised';
  /** NG is `score >= threshold`. Keep all of its digits: rounded down, it is at an OK score and promises less. */
  readonly threshold: number;
  /** The threshold lies just above the k-th smallest OK score, 1..n. */
  readonly k: number;
  readonly n: number;
  /** The chance of a broken promise at this k, at most delta; exact for continuous scores, an upper bound with ties. */
  readonly violationProbability: number;
  readonly alpha: number;
  readonly delta: number;
}

/** Not even a threshold above every score can promise this from n scores. */
export interface TooFewScores {
  readonly kind: 'too_few';
  readonly n: number;
  /** {@link okScoresNeeded} */
  readonly needed: number;
}

export type ThresholdPromise = PromisedThreshold | TooFewScores;

/** Two chances this close count as equal: 0.9 · 0.9 shall keep a promise of 0.81, which it misses in float64. */
const tieTolerance = 1e-11;

/** Halvings of 0..1: the bound is at most 1e-18 too high, and never too low. */
const bisections = 60;

/**
 * The lowest threshold with a promise: except with chance delta, at most the share alpha of good parts is judged NG.
 *
 * The chance is over the calibration pictures: of many calibrations, each with n new ones, at most the share delta
 * ends with an overkill above alpha. It holds for every distribution of the scores, with ties too, as long as
 * calibration and production pictures are independent draws from the same one. It ends with a shift of the scores (see
 * `score_drift.ts`), and it says nothing about escapes (see {@link escapeUpperBound}).
 *
 * The paper judges NG above the k-th smallest score; here NG is `score >= threshold`. Between continuous scores that is
 * the same. With ties it is not: every good part whose score equals the k-th would be overkill, a share that no k bounds.
 * So the threshold is the next float64 after that score: `score >= nextUp(s)` is `score > s`.
 *
 * Cost: O(n log n).
 *
 * @returns `too_few` when n < {@link okScoresNeeded}, also without any score
 * @throws InspectionError `invalid_value` for a score that is not finite, or alpha or delta not between 0 and 1
 *
 * Source: Tong, Feng & Li 2018, "Neyman-Pearson classification algorithms and NP receiver operating characteristics",
 * Science Advances 4:eaao1659, proposition 1 (the umbrella algorithm). We sum its binomial tail from the other end,
 * P(Bin(n, alpha) ≤ n - k), and chances that agree to 11 digits count as equal.
 */
export function promiseThreshold({ okScores, alpha, delta }: PromiseRequest): ThresholdPromise {
  checkFinite(okScores);
  const needed = okScoresNeeded(alpha, delta);
  const n = okScores.length;
  if (n < needed) return { kind: 'too_few', n, needed };
  let above = -1;
  let violationProbability = 0;
  for (const tail of lowerTails(n, alpha)) {
    // The first one is what `needed` has already granted; compared again in other arithmetic, a tie might fall otherwise.
    if (above >= 0 && tail > delta * (1 + tieTolerance)) break;
    above++;
    violationProbability = tail;
  }
  const k = n - above;
  const kth = Float64Array.from(okScores).sort()[k - 1] as number;
  return { kind: 'promised', threshold: nextUp(kth), k, n, violationProbability, alpha, delta };
}

/**
 * How many OK scores {@link promiseThreshold} needs: the smallest n with (1 - alpha)^n ≤ delta. 59 for 5 % and 5 %,
 * 299 for 1 % and 5 %.
 *
 * @param alpha above 0, below 1
 * @param delta above 0, below 1
 * @returns at least 1
 * @throws InspectionError `invalid_value` when alpha or delta is not between 0 and 1
 */
export function okScoresNeeded(alpha: number, delta: number): number {
  checkShare('alpha', alpha);
  checkShare('delta', delta);
  const exact = Math.log(delta) / Math.log1p(-alpha);
  const nearest = Math.round(exact);
  // One score changes the chance by the factor 1 - alpha, so nearness is measured in the chance, not in scores.
  const isTie = nearest >= 1 && Math.abs((exact - nearest) * Math.log1p(-alpha)) <= tieTolerance;
  return isTie ? nearest : Math.ceil(exact);
}

/**
 * Exact one-sided upper bound on the escape rate (share of bad parts judged OK), from bad parts that chose nothing:
 * except with chance delta, the true rate is at most this. Clopper-Pearson;
 * 1 - delta^(1 / n) when none was missed.
 *
 * Few bad parts bound little: none missed of 10 still allows 26 % at delta 0.05.
 *
 * @param ngCount bad parts judged, ≥ 0
 * @param misses how many of them were judged OK, 0..ngCount
 * @param delta above 0, below 1
 * @returns above 0, at most 1; 1 when all were missed; null without bad parts. For delta above about a half it may be below the
 * observed rate
 * @throws InspectionError `invalid_value` for counts that are not whole or do not fit, or delta not between 0 and 1
 *
 * Source: Clopper & Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
 */
export function escapeUpperBound(ngCount: number, misses: number, delta: number): number | null {
  checkShare('delta', delta);
  if (!Number.isSafeInteger(ngCount) || !Number.isSafeInteger(misses) || misses < 0 || misses > ngCount) {
    throw new InspectionError(
      'invalid_value',
      `There cannot be ${misses} misses of ${ngCount} bad parts; both must be whole, from 0 to the number of bad parts.`,
    );
  }
  if (ngCount === 0) return null;
  if (misses === ngCount) return 1;
  let low = 0;
  let high = 1;
  for (let step = 0; step < bisections; step++) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) break;
    if (binomialLowerTail(ngCount, misses, middle) > delta) low = middle;
    else high = middle;
  }
  return high;
}

/**
 * How rare a score is among good parts: the share of scores at least as high, the picture itself counted in. For a good
 * picture from the same distribution it is at most u with chance at most u, for every u.
 *
 * @param score finite
 * @param okScores of good parts in no memory; may be empty, which gives 1
 * @returns above 0, at most 1; the smallest possible is 1 / (n + 1)
 * @throws InspectionError `invalid_value` for a number that is not finite
 *
 * Source: Vovk, Gammerman & Shafer 2005, "Algorithmic learning in a random world" (conformal p-value, not smoothed).
 */
export function scorePValue(score: number, okScores: readonly number[]): number {
  checkFinite(okScores);
  checkFinite([score]);
  return (1 + okScores.filter((ok) => ok >= score).length) / (okScores.length + 1);
}

/**
 * The smallest float64 above `value`; infinity after the largest. Both zeros are followed by the smallest positive one.
 *
 * @param value not NaN, not infinite
 */
export function nextUp(value: number): number {
  if (value === 0) return Number.MIN_VALUE;
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, value);
  // Floats of one sign are ordered as their bits; negative ones backwards.
  bits.setBigInt64(0, bits.getBigInt64(0) + (value > 0 ? 1n : -1n));
  return bits.getFloat64(0);
}

function checkShare(name: string, share: number): void {
  if (!(share > 0 && share < 1)) {
    throw new InspectionError('invalid_value', `${name} is ${share}; it must be above 0 and below 1.`);
  }
}

function checkFinite(scores: readonly number[]): void {
  const wrong = scores.find((score) => !Number.isFinite(score));
  if (wrong !== undefined) {
    throw new InspectionError('invalid_value', `Scores must be finite; one of them is ${wrong}.`);
  }
}
