import type { Figure } from './figure.ts';
import { median, type PowerLaw, powerLaw } from './statistics.ts';

export interface Point {
  readonly x: number;
  /** Milliseconds, the median. */
  readonly y: number;
}

export interface Series {
  readonly name: string;
  /** At least two, by x. */
  readonly points: readonly Point[];
  readonly law: PowerLaw;
  /** Exponent from the last point but one to the last: what is fixed weighs least there. */
  readonly lastExponent: number;
}

/** How cost grows with one thing. */
export interface Curve {
  readonly name: string;
  readonly series: readonly Series[];
}

/** The curves that the figures of a run lie on; one point alone is none. */
export function curvesOf(figures: readonly Figure[]): readonly Curve[] {
  const curves = new Map<string, Map<string, Point[]>>();
  for (const { at, values } of figures) {
    if (at === undefined) continue;
    const series = curves.get(at.curve) ?? new Map<string, Point[]>();
    curves.set(at.curve, series);
    series.set(at.series, [...(series.get(at.series) ?? []), { x: at.x, y: median(values) }]);
  }
  const drawn = [...curves].map(([name, series]) => ({ name, series: [...series].flatMap(seriesOf) }));
  return drawn.filter(({ series }) => series.length > 0);
}

function seriesOf([name, unsorted]: readonly [string, readonly Point[]]): readonly Series[] {
  if (unsorted.length < 2) return [];
  const points = unsorted.toSorted((a, b) => a.x - b.x);
  return [{ name, points, law: powerLaw(points), lastExponent: powerLaw(points.slice(-2)).exponent }];
}

/** A line per series: the exponent over all points, and over the last two. */
export function curveLines(curves: readonly Curve[]): readonly string[] {
  return curves.flatMap(({ name, series }) =>
    series.map(({ name: of, points, law, lastExponent }) => {
      const [first, last] = [points[0] as Point, points.at(-1) as Point];
      const exponents = `${law.exponent.toFixed(2)} (${lastExponent.toFixed(2)} over the last step)`;
      return `time grows with ${name}^${exponents}, ${first.x} to ${last.x}: ${of}`;
    }),
  );
}
