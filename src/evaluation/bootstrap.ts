import { InspectionError } from '../errors.ts';
import { percentile } from '../patchcore/image_score.ts';
import { seededRandom } from './seeded_random.ts';

export interface BootstrapOptions {
  /** How often to draw, at least 1; 1000 by default, 200 do for pixel metrics. */
  readonly resamples?: number;
  /** A whole number from 0 to 2³² - 1; the same seed draws the same pictures. */
  readonly seed: number;
  /** Share of the drawn values inside the interval, above 0 and below 1; 0.95 by default. */
  readonly level?: number;
}

/**
 * How far a metric might lie elsewhere had chance given other pictures of the same kind: the percentile bootstrap. OK and
 * NG pictures are drawn apart, with replacement, as many as there are, so that every draw has both; an empty list stays
 * empty. Draws for which the statistic is null (say, only NG pictures without a mask were drawn) are left out.
 *
 * Few pictures make it too narrow: a single picture can only be drawn again, and perfect scores stay perfect in every
 * draw. It knows nothing of other seeds of the coreset or of another choice of memory pictures.
 *
 * @param ok one item per OK picture: a score, a pixel tally
 * @param ng one item per NG picture
 * @param statistic must not depend on the order of the pictures; called `resamples` + 1 times
 * @returns [low, high] in the statistic's unit, linear between drawn values; null when the statistic of the pictures
 *   themselves is null or that of every draw
 * @throws InspectionError `invalid_value` for unusable options or a statistic that is not finite; what the statistic throws
 *
 * Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 13 (percentile interval)
 * and ch. 8 (two samples drawn apart).
 */
export function bootstrapInterval<O, N>(
  ok: readonly O[],
  ng: readonly N[],
  statistic: (ok: readonly O[], ng: readonly N[]) => number | null,
  { resamples = 1000, seed, level = 0.95 }: BootstrapOptions,
): [number, number] | null {
  if (!Number.isInteger(resamples) || resamples < 1) {
    throw new InspectionError(
      'invalid_value',
      `The number of resamples is ${resamples}; it must be a whole number ≥ 1.`,
    );
  }
  if (!(level > 0 && level < 1)) {
    throw new InspectionError('invalid_value', `The level is ${level}; it must lie between 0 and 1.`);
  }
  const random = seededRandom(seed);
  if (checkedValue(statistic(ok, ng)) === null) return null;
  const values: number[] = [];
  for (let draw = 0; draw < resamples; draw++) {
    const value = checkedValue(statistic(resampled(ok, random), resampled(ng, random)));
    if (value !== null) values.push(value);
  }
  if (values.length === 0) return null;
  const drawn = Float64Array.from(values);
  const outside = 50 * (1 - level);
  return [percentile(drawn, outside), percentile(drawn, 100 - outside)];
}

/** As many items as there are, drawn with replacement. */
function resampled<T>(items: readonly T[], random: () => number): T[] {
  return items.map(() => items[Math.floor(random() * items.length)] as T);
}

function checkedValue(value: number | null): number | null {
  if (value !== null && !Number.isFinite(value)) {
    throw new InspectionError('invalid_value', `The statistic of a bootstrap must be finite or null; it is ${value}.`);
  }
  return value;
}
