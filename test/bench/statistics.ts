import { percentile } from '../../src/patchcore/image_score.ts';

export function median(values: readonly number[]): number {
  return percentile(Float64Array.from(values), 50);
}

/** Linear between values, as numpy does it: of fewer than twenty values it lies just below the largest. */
export function p95(values: readonly number[]): number {
  return percentile(Float64Array.from(values), 95);
}

/**
 * How likely two samples of one and the same source differ in their ranks at least as much as these: the exact two-sided
 * Mann-Whitney test, ties sharing their ranks. It asks nothing of the distribution, which suits times: they have a hard
 * floor and a long tail.
 *
 * Cost: (n + m)³ · n additions at most; 0.8 seconds for a hundred values each.
 *
 * @param a at least one value
 * @param b at least one value
 */
export function rankTest(a: readonly number[], b: readonly number[]): number {
  const ranks = doubledRanks([...a, ...b]);
  const observed = ranks.slice(0, a.length).reduce((sum, rank) => sum + rank, 0);
  const mean = a.length * (a.length + b.length + 1);
  const counts = sumsOfChoices(ranks, a.length);
  let all = 0;
  let asFar = 0;
  for (const [sum, count] of counts.entries()) {
    all += count;
    if (Math.abs(sum - mean) >= Math.abs(observed - mean)) asFar += count;
  }
  return asFar / all;
}

/** What {@link rankTest} gives at its clearest: every one of `n` values below every one of `m`. */
export function clearestRankTest(n: number, m: number): number {
  let choices = 1;
  for (let i = 1; i <= n; i++) choices *= (m + i) / i;
  return Math.min(1, 2 / choices);
}

/** Twice the rank of each value, so that shared ranks stay whole. */
function doubledRanks(values: readonly number[]): readonly number[] {
  return values.map((value) => {
    let doubled = 1;
    for (const other of values) doubled += other < value ? 2 : other === value ? 1 : 0;
    return doubled;
  });
}

/** In how many ways `chosen` of the ranks have each sum. */
function sumsOfChoices(ranks: readonly number[], chosen: number): Float64Array {
  const width = ranks.reduce((sum, rank) => sum + rank, 1);
  const ways = Array.from({ length: chosen + 1 }, () => new Float64Array(width));
  (ways[0] as Float64Array)[0] = 1;
  for (const rank of ranks) {
    for (let count = chosen; count >= 1; count--) {
      const fewer = ways[count - 1] as Float64Array;
      const row = ways[count] as Float64Array;
      for (let sum = rank; sum < width; sum++) row[sum] = (row[sum] as number) + (fewer[sum - rank] as number);
    }
  }
  return ways[chosen] as Float64Array;
}

/** y = factor · x^exponent */
export interface PowerLaw {
  readonly exponent: number;
  readonly factor: number;
}

/** Least squares in log x and log y; at least two different x, everything above 0. */
export function powerLaw(points: readonly { readonly x: number; readonly y: number }[]): PowerLaw {
  const logs = points.map(({ x, y }) => [Math.log(x), Math.log(y)] as const);
  const mean = (at: 0 | 1) => logs.reduce((sum, log) => sum + log[at], 0) / logs.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const covariance = logs.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  const variance = logs.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const exponent = covariance / variance;
  return { exponent, factor: Math.exp(meanY - exponent * meanX) };
}
