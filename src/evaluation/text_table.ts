import type { EvaluationReport, SetReport } from './evaluation_report.ts';
import { intervalText, metricText, msText } from './metric_words.ts';
import { printableText } from './printable_text.ts';

/** Fits a terminal of 170 columns. */
const mostColumns = 170;
const gap = '  ';

interface Column {
  readonly title: string;
  readonly cell: (set: SetReport) => string;
  readonly align: 'left' | 'right';
}

const columns: readonly Column[] = [
  { title: 'set', cell: (set) => set.name, align: 'left' },
  { title: 'extractor', cell: (set) => set.extractor, align: 'left' },
  { title: 'seed', cell: (set) => String(set.seed), align: 'right' },
  { title: 'memory OK', cell: (set) => String(set.counts.memory), align: 'right' },
  { title: 'test OK/NG', cell: (set) => `${set.counts.ok}/${set.counts.ng}`, align: 'right' },
  {
    title: 'image AUROC [95 %]',
    cell: ({ metrics }) =>
      `${metricText('image_auroc', metrics.image_auroc)} ${intervalText('image_auroc', metrics.image_auroc)}`,
    align: 'left',
  },
  {
    title: 'AP',
    cell: ({ metrics }) => metricText('average_precision', metrics.average_precision),
    align: 'right',
  },
  { title: 'F1', cell: ({ metrics }) => metricText('f1_max', metrics.f1_max), align: 'right' },
  { title: 'pixel AUROC', cell: ({ metrics }) => metricText('pixel_auroc', metrics.pixel_auroc), align: 'right' },
  { title: 'AU-PRO30', cell: ({ metrics }) => metricText('au_pro_30', metrics.au_pro_30), align: 'right' },
  { title: 'overkill', cell: ({ metrics }) => metricText('overkill_rate', metrics.overkill_rate), align: 'right' },
  { title: 'escape', cell: ({ metrics }) => metricText('escape_rate', metrics.escape_rate), align: 'right' },
  { title: 'ms', cell: (set) => msText(set.ms_per_picture.total), align: 'right' },
];

/**
 * The report as a table for a terminal: a header, one line per set, then each warning. Metrics have three decimals,
 * rates are percent with one, `–` stands for what a set does not allow. Lines are at most 170 columns wide and end with a newline:
 * long names of sets and extractors are cut with `…`, long warnings go on in indented lines. Characters that would
 * command a terminal are replaced.
 */
export function textTable(report: EvaluationReport): string {
  if (report.sets.length === 0) return 'No set was evaluated.\n';
  const rows = [
    columns.map(({ title }) => title),
    ...report.sets.map((set) =>
      columns.map(({ cell }) => printableText(cell(set)).replaceAll('\u00a0', ' ').trimEnd()),
    ),
  ];
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => textWidth(row[i] as string))));
  const table = rows.map((row) =>
    fittedWidths(widths)
      .map((width, i) => alignedText(shortened(row[i] as string, width), width, (columns[i] as Column).align))
      .join(gap)
      .trimEnd(),
  );
  const warnings = report.sets.flatMap((set) =>
    set.warnings.flatMap((warning) =>
      wrapped(printableText(`warning: ${set.name} (${set.extractor}, seed ${set.seed}): ${warning}`)),
    ),
  );
  return [...table, ...warnings].map((line) => `${line}\n`).join('');
}

/** Only the names of set and extractor, the first two columns, give way. */
function fittedWidths([name, extractor, ...numbers]: readonly number[]): number[] {
  const room = numbers.reduce((left, width) => left - width - gap.length, mostColumns - gap.length);
  const extractorWidth = Math.min(extractor as number, Math.max(Math.floor(room * 0.45), room - (name as number)));
  return [Math.min(name as number, room - extractorWidth), extractorWidth, ...numbers];
}

function alignedText(text: string, width: number, align: 'left' | 'right'): string {
  const space = ' '.repeat(Math.max(0, width - textWidth(text)));
  return align === 'left' ? text + space : space + text;
}

function shortened(text: string, width: number): string {
  return textWidth(text) <= width ? text : `${startOf(text, width - 1)}…`;
}

/** Breaks at spaces, and inside a word only where the word alone is wider than a line. */
function wrapped(text: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (textWidth(longer) <= mostColumns) {
      line = longer;
      continue;
    }
    if (line !== '') lines.push(line);
    let rest = `${gap}${word}`;
    while (textWidth(rest) > mostColumns) {
      const start = startOf(rest, mostColumns);
      lines.push(start);
      rest = gap + rest.slice(start.length);
    }
    line = rest;
  }
  return [...lines, line];
}

/** As many whole characters as fit. */
function startOf(text: string, width: number): string {
  let start = '';
  let left = width;
  for (const { segment } of characters.segment(text)) {
    left -= textWidth(segment);
    if (left < 0) break;
    start += segment;
  }
  return start;
}

// What a reader sees as one character: macOS writes a Korean syllable in a file name as two or three.
const characters = new Intl.Segmenter('en', { granularity: 'grapheme' });
const wide =
  /^(?![\uff61-\uffdc])[\p{Script=Hangul}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u;

/** Columns of a terminal: Korean, Chinese and Japanese characters take two. */
function textWidth(text: string): number {
  let width = 0;
  for (const { segment } of characters.segment(text)) width += wide.test(segment) ? 2 : 1;
  return width;
}
