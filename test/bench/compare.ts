import type { BenchRecord } from './bench_record.ts';
import { type Figure, figureName, ratios } from './figure.ts';
import { clearestRankTest, median, rankTest } from './statistics.ts';
import { digits } from './table.ts';

/** Beyond noise: chance alone would rank the repetitions of both runs so far apart less often than this … */
export const significance = 0.01;
/** … and the medians differ by this share, because two runs of one and the same program differ by a few percent. */
export const leastChange = 0.05;

export type Change =
  | { readonly kind: 'noise' | 'too_few' }
  | { readonly kind: 'better' | 'worse'; readonly factor: number; readonly from: number; readonly to: number };

/**
 * Whether a figure changed, by its ratios where it has them, so that a machine that was slower for all does not count.
 *
 * `too_few`: so few repetitions (less than 5 in each run) that not even the clearest change could be told from chance.
 */
export function change(old: Figure, now: Figure): Change {
  const [before, after] = [ratios(old) ?? old.values, ratios(now) ?? now.values];
  if (clearestRankTest(before.length, after.length) >= significance) return { kind: 'too_few' };
  const [from, to] = [median(before), median(after)];
  const factor = to / from;
  const isLarge = Math.abs(Math.log(factor)) >= Math.log(1 + leastChange);
  if (!isLarge || rankTest(before, after) >= significance) return { kind: 'noise' };
  return { kind: factor > 1 === (now.unit === 'pictures/s') ? 'better' : 'worse', factor, from, to };
}

/**
 * What changed since `old` in the subjects measured now: where machine or versions differ, then a line per figure that changed,
 * then how many did not.
 */
export function comparison(old: BenchRecord, now: BenchRecord): readonly string[] {
  const subjects = new Set(now.figures.map(({ subject }) => subject));
  const former = old.figures.filter(({ subject }) => subjects.has(subject));
  const before = new Map(former.map((figure) => [figureName(figure), figure]));
  const lines: string[] = [];
  const unchanged = { noise: 0, too_few: 0 };
  for (const figure of now.figures) {
    const earlier = before.get(figureName(figure));
    if (earlier === undefined) {
      lines.push(`new      ${figureName(figure)}`);
      continue;
    }
    before.delete(figureName(figure));
    const found = change(earlier, figure);
    if ('factor' in found) lines.push(changeLine(figure, found));
    else unchanged[found.kind]++;
  }
  const few = unchanged.too_few === 0 ? '' : `; ${unchanged.too_few} with too few repetitions to tell`;
  return [
    `compared with the run of ${old.measured_at_utc}:`,
    ...differences('machine', old.machine, now.machine),
    ...differences('version', old.versions, now.versions),
    ...lines,
    ...[...before.keys()].map((name) => `missing  ${name}`),
    `${unchanged.noise} figures the same within noise${few}`,
  ];
}

/** A reference tells of the machine, not of okng. */
function changeLine(
  figure: Figure,
  { kind, factor, from, to }: Exclude<Change, { kind: 'noise' | 'too_few' }>,
): string {
  const { reference, unit } = figure;
  const what = reference === null ? 'machine' : kind;
  const measure = reference === null ? unit : `× ${reference.name}`;
  return `${what.padEnd(8)} ${digits(factor)} × as before: ${figureName(figure)} (${digits(from)} → ${digits(to)} ${measure})`;
}

function differences(
  what: string,
  old: Readonly<Record<string, string>>,
  now: Readonly<Record<string, string>>,
): readonly string[] {
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((name) => old[name] !== now[name]);
  return names.map((name) => `${what} differs: ${name} was ${old[name] ?? 'unknown'}, is ${now[name] ?? 'unknown'}`);
}
