import type { Curve, Point, Series } from './curves.ts';
import { digits } from './table.ts';

const columns = 2;
const panel = { width: 400, height: 300, left: 52, right: 16, top: 76, bottom: 46 };
/** Series beyond the last colour begin anew; there are no more than three. */
const colours = 3;

/** Dark where the reader's system is; the page's own colour may differ, so the drawing brings its ground along. */
const style = `
text { font: 12px system-ui, "Segoe UI", Roboto, sans-serif; fill: #59636b }
.ground { fill: #ffffff } .title { font-size: 14px; font-weight: 600; fill: #1d2327 }
.grid { stroke: #d9dee2 } .law { fill: none; stroke-width: 1.5; stroke-dasharray: 5 4 }
.law.c0 { stroke: #0072b2 } .law.c1 { stroke: #c2500a } .law.c2 { stroke: #00785a }
.c0 { fill: #0072b2 } .c1 { fill: #c2500a } .c2 { fill: #00785a }
@media (prefers-color-scheme: dark) {
  text { fill: #9aa5ad } .ground { fill: #1c2125 } .title { fill: #e4e8ea } .grid { stroke: #353d43 }
  .law.c0 { stroke: #56b4e9 } .law.c1 { stroke: #f0934a } .law.c2 { stroke: #4cc9a4 }
  .c0 { fill: #56b4e9 } .c1 { fill: #f0934a } .c2 { fill: #4cc9a4 }
}`;

/** A panel per curve, both axes logarithmic: points are medians, dashed lines the fitted powers. */
export function curvesSvg(curves: readonly Curve[], caption: string): string {
  const width = panel.width * Math.min(columns, Math.max(1, curves.length));
  const height = panel.height * Math.ceil(curves.length / columns) + 28;
  const panels = curves.map((curve, i) => {
    const x = (i % columns) * panel.width;
    const y = Math.floor(i / columns) * panel.height;
    return `<g transform="translate(${x} ${y})">${panelOf(curve)}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>How cost grows</title>
<style>${style}
</style>
<rect class="ground" width="${width}" height="${height}"/>
${panels.join('\n')}
<text x="16" y="${height - 12}">${escaped(caption)}</text>
</svg>
`;
}

function panelOf({ name, series }: Curve): string {
  const points = series.flatMap((one) => one.points);
  const x = logScale(
    points.map((point) => point.x),
    panel.left,
    panel.width - panel.right,
  );
  const y = logScale(
    series.flatMap((one) => one.points.flatMap((point) => [point.y, lawAt(one, point.x)])),
    panel.height - panel.bottom,
    panel.top + 18 * (series.length - 1),
  );
  const [base, top] = [y(y.low), y(y.high)];
  return [
    `<text class="title" x="16" y="26">${escaped(`Milliseconds by ${name}`)}</text>`,
    ...series.map((one, i) => legend(one, i)),
    ...wholeSteps(y.low, y.high).map(
      (value) =>
        `<path class="grid" d="M${panel.left} ${y(value).toFixed(1)}H${panel.width - panel.right}"/><text x="${panel.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${numberText(value)}</text>`,
    ),
    ...[...new Set(points.map((point) => point.x))].map(
      (value) =>
        `<path class="grid" d="M${x(value).toFixed(1)} ${base}V${top}"/><text x="${x(value).toFixed(1)}" y="${base + 18}" text-anchor="middle">${numberText(value)}</text>`,
    ),
    ...series.map((one, i) => drawn(one, i, x, y)),
  ].join('\n');
}

function legend({ name, law }: Series, i: number): string {
  const y = 46 + 18 * i;
  return `<circle class="c${i % colours}" cx="21" cy="${y - 4}" r="4"/><text x="32" y="${y}">${escaped(name)}: exponent ${law.exponent.toFixed(2)}</text>`;
}

function drawn(one: Series, i: number, x: Scale, y: Scale): string {
  const { points } = one;
  const at = (value: number) => `${x(value).toFixed(1)} ${y(lawAt(one, value)).toFixed(1)}`;
  const [first, last] = [points[0] as Point, points.at(-1) as Point];
  const dots = points.map(
    (point) =>
      `<circle class="c${i % colours}" cx="${x(point.x).toFixed(1)}" cy="${y(point.y).toFixed(1)}" r="4"><title>${numberText(point.x)}: ${digits(point.y)} ms</title></circle>`,
  );
  return `<path class="law c${i % colours}" d="M${at(first.x)}L${at(last.x)}"/>${dots.join('')}`;
}

function lawAt({ law }: Series, x: number): number {
  return law.factor * x ** law.exponent;
}

interface Scale {
  (value: number): number;
  readonly low: number;
  readonly high: number;
}

/** From a little below the smallest value to a little above the largest. */
function logScale(values: readonly number[], from: number, to: number): Scale {
  const low = Math.min(...values) / 1.25;
  const high = Math.max(...values) * 1.25;
  const place = (value: number) => from + (Math.log(value / low) / Math.log(high / low)) * (to - from);
  return Object.assign(place, { low, high });
}

/** 1, 2, 5, 10, … between the bounds, or only the tens where those are many. */
function wholeSteps(low: number, high: number): readonly number[] {
  const steps: number[] = [];
  for (let ten = 10 ** Math.floor(Math.log10(low)); ten <= high; ten *= 10) steps.push(ten, 2 * ten, 5 * ten);
  const inside = steps.filter((step) => step >= low && step <= high);
  const tens = inside.filter((step) => Number.isInteger(Math.round(Math.log10(step) * 1e9) / 1e9));
  return inside.length > 6 && tens.length > 1 ? tens : inside;
}

function numberText(value: number): string {
  return value >= 10_000 ? `${Number((value / 1000).toPrecision(3))}k` : String(Number(value.toPrecision(3)));
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
