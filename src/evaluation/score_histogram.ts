import { InspectionError } from '../errors.ts';

/** Counts of OK and NG scores in common bins of one width. */
export interface ScoreHistogram {
  /** [bins + 1] ascending, finite; one of them is the threshold. */
  readonly edges: readonly number[];
  /** [bins] OK pictures per bin. */
  readonly ok: readonly number[];
  /** [bins] NG pictures per bin. */
  readonly ng: readonly number[];
}

/** Wide enough bins for sets of tens of pictures, narrow enough for hundreds. */
const binsAcross = 38;

/**
 * Sorts scores into about 40 bins that cover all scores and the threshold. The threshold is an edge, so that no bin holds
 * both sides of the verdict: whatever is at or above it lies in the bins to its right. A bin holds its lower edge, not its
 * upper one. Every score is counted exactly once. Scores that differ by less than float32 can tell share a bin on either
 * side of the threshold.
 *
 * @param okScores any number, finite, within float32's range
 * @param ngScores the same; both lists may be empty
 * @param threshold finite, same unit
 * @throws InspectionError `invalid_value` for a number that is not finite
 */
export function scoreHistogram(
  okScores: readonly number[],
  ngScores: readonly number[],
  threshold: number,
): ScoreHistogram {
  let low = threshold;
  let high = threshold;
  for (const score of [threshold, ...okScores, ...ngScores]) {
    if (!Number.isFinite(score)) {
      throw new InspectionError(
        'invalid_value',
        `A histogram needs finite scores and a finite threshold, not ${score}.`,
      );
    }
    low = Math.min(low, score);
    high = Math.max(high, score);
  }
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (!(high - low > size * 1e-7)) {
    const margin = size > 0 ? size * 0.05 : 1;
    low -= margin;
    high += margin;
  }
  const width = (high - low) / binsAcross;
  const below = Math.ceil((threshold - low) / width);
  const above = Math.floor((high - threshold) / width) + 1;
  // The same quotient as above, but for its sign: rounding carries no score over the threshold or past the ends.
  const binOf = (score: number): number => below + Math.floor((score - threshold) / width);
  const counts = (scores: readonly number[]): number[] => {
    const bins = new Array<number>(below + above).fill(0);
    for (const score of scores) (bins[binOf(score)] as number)++;
    return bins;
  };
  return {
    edges: Array.from({ length: below + above + 1 }, (_, i) => threshold + (i - below) * width),
    ok: counts(okScores),
    ng: counts(ngScores),
  };
}

/**
 * Round numbers for an axis: multiples of 1, 2 or 5 times a power of ten within [low, high], ascending.
 *
 * @param low finite, below `high`
 * @param most number of steps from end to end at most, ≥ 1
 */
export function axisTicks(low: number, high: number, most: number): readonly { at: number; label: string }[] {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  // 1e-9: a ratio that is 2 in decimals may be a hair above it in binary.
  const factor = [1, 2, 5, 10].find((f) => f * power >= raw * (1 - 1e-9)) ?? 10;
  const step = factor * power;
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const plain = decimals <= 6 && Math.max(Math.abs(low), Math.abs(high)) < 1e6;
  return Array.from({ length: count }, (_, i) => {
    const at = (first + i) * step;
    return { at, label: plain ? at.toFixed(decimals) : String(Number(at.toPrecision(4))) };
  });
}
