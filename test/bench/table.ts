import { type Figure, ratios } from './figure.ts';
import { median, p95 } from './statistics.ts';

/** A heading and a line per figure: its ratio to the reference first, then median, p95, minimum and repetitions. */
export function table(title: string, figures: readonly Figure[]): string {
  const heads = ['ratio', 'median', 'p95', 'min', 'n'].map((head, i) => head.padStart(widths[i] as number));
  return ['', title, `${heads.join('')}  figure, unit (ratio to)`, ...figures.map(line), ''].join('\n');
}

const widths = [8, 9, 9, 9, 4];

function line(figure: Figure): string {
  const { name, unit, values, reference } = figure;
  const cells = [
    ratioText(figure),
    ...[median(values), p95(values), Math.min(...values)].map(digits),
    String(values.length),
  ].map((cell, i) => cell.padStart(widths[i] as number));
  return `${cells.join('')}  ${name}, ${unit}${reference === null ? '' : ` (${reference.name})`}`;
}

/** The median of the repetitions' ratios; empty for a figure that is a reference itself. */
function ratioText(figure: Figure): string {
  const each = ratios(figure);
  return each === null ? '' : `${digits(median(each))} ×`;
}

/** Three that count. */
export function digits(value: number): string {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 3);
}
