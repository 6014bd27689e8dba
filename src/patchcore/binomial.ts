/** Sums are brought back below this on the way, so that tails far below the smallest float64 can be added up. */
const rescaleAt = 1e200;
const logRescale = Math.log(rescaleAt);

/**
 * How often `trials` draws hit at most `hits` times, each with chance `p`: P(Bin(trials, p) ≤ hits).
 *
 * The terms follow from one another by multiplication, in units of (1 - p)^trials, whose logarithm is kept apart:
 * nothing underflows, and the relative error stays near 1e-12 up to 100,000 trials. O(hits).
 *
 * @param trials ≥ 0
 * @param hits whole; below 0 gives 0, `trials` and above gives 1
 * @param p above 0, below 1
 * @returns 0..1; falls as p grows
 */
export function binomialLowerTail(trials: number, hits: number, p: number): number {
  if (hits < 0) return 0;
  if (hits >= trials) return 1;
  let tail = 0;
  for (const sum of lowerTails(trials, p)) {
    tail = sum;
    if (hits-- === 0) break;
  }
  return tail;
}

/** {@link binomialLowerTail} for 0, 1, 2, … `trials` hits, one addition each. */
export function* lowerTails(trials: number, p: number): Generator<number> {
  const odds = p / (1 - p);
  let logUnit = trials * Math.log1p(-p);
  let term = 1;
  let sum = 1;
  for (let hits = 0; hits <= trials; hits++) {
    yield Math.min(1, Math.exp(logUnit + Math.log(sum)));
    term *= ((trials - hits) / (hits + 1)) * odds;
    sum += term;
    if (sum > rescaleAt) {
      term /= rescaleAt;
      sum /= rescaleAt;
      logUnit += logRescale;
    }
  }
}
