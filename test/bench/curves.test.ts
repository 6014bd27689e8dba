import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { curveLines, curvesOf } from './curves.ts';
import { curvesSvg } from './curves_svg.ts';
import type { Figure } from './figure.ts';

function point(curve: string, series: string, x: number, y: number): Figure {
  return {
    subject: 's',
    name: `${series} ${x}`,
    unit: 'ms',
    values: [y, y, 9 * y],
    reference: null,
    at: { curve, series, x },
  };
}

const figures: readonly Figure[] = [
  point('bank rows', '384 columns', 1000, 20),
  point('bank rows', '384 columns', 10, 2),
  point('bank rows', '384 columns', 100, 2),
  point('bank rows', 'x < y', 10, 5),
  point('bank rows', 'x < y', 100, 50),
  point('callers', 'alone', 1, 5),
  { subject: 's', name: 'no point', unit: 'ms', values: [1], reference: null },
];

describe('curves', () => {
  it('join the medians of a series by x; one point alone is none', () => {
    const curves = curvesOf(figures);
    expect(curves.map(({ name, series }) => [name, series.map((one) => one.name)])).toEqual([
      ['bank rows', ['384 columns', 'x < y']],
    ]);
    expect(curves[0]?.series[0]).toMatchObject({
      points: [
        { x: 10, y: 2 },
        { x: 100, y: 2 },
        { x: 1000, y: 20 },
      ],
      law: { exponent: expect.closeTo(0.5) },
      lastExponent: expect.closeTo(1),
    });
  });

  it('are told in a line each', () => {
    expect(curveLines(curvesOf(figures))).toEqual([
      'time grows with bank rows^0.50 (1.00 over the last step), 10 to 1000: 384 columns',
      'time grows with bank rows^1.00 (1.00 over the last step), 10 to 100: x < y',
    ]);
  });

  it('are a picture that others can read, every point inside its panel', async () => {
    const svg = curvesSvg(curvesOf(figures), 'a <machine>');
    const { width, height } = await sharp(Buffer.from(svg)).metadata();
    expect([width, height]).toEqual([400, 328]);
    const dots = [...svg.matchAll(/<circle class="c\d" cx="([\d.]+)" cy="([\d.]+)" r="4"><title>/g)];
    expect(dots).toHaveLength(5);
    for (const [, x, y] of dots) {
      expect(Number(x)).toBeGreaterThan(52);
      expect(Number(x)).toBeLessThan(384);
      expect(Number(y)).toBeGreaterThan(76);
      expect(Number(y)).toBeLessThan(254);
    }
    expect(svg).toContain('x &lt; y: exponent 1.00');
    expect(svg).toContain('a &lt;machine>');
  });

  it('may be none', async () => {
    expect(await sharp(Buffer.from(curvesSvg([], ''))).metadata()).toMatchObject({ format: 'svg' });
  });
});
