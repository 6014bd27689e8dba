import type { Metric, MetricName } from './evaluation_report.ts';

/** Stands where a set does not allow a number. */
export const noValue = '–';

/** A metric in words, for people who know the line and not the field. */
export interface MetricWords {
  readonly title: string;
  readonly meaning: string;
  readonly better: 'higher' | 'lower';
  /** Percent with one decimal; the others are 0..1 with three. */
  readonly percent: boolean;
}

export const metricWords: Readonly<Record<MetricName, MetricWords>> = {
  image_auroc: {
    title: 'Image AUROC',
    meaning:
      'The chance that a defective picture scores higher than a good one, whatever the threshold: 1 is perfect, 0.5 is guessing.',
    better: 'higher',
    percent: false,
  },
  average_precision: {
    title: 'Average precision',
    meaning:
      'The share of real defects among the pictures called defective, averaged while the threshold is lowered until every defect is found.',
    better: 'higher',
    percent: false,
  },
  f1_max: {
    title: 'F1-max',
    meaning:
      'The best balance between finding every defect and raising no false alarm that any threshold could reach on these pictures.',
    better: 'higher',
    percent: false,
  },
  pixel_auroc: {
    title: 'Pixel AUROC',
    meaning:
      'The chance that a defective pixel is hotter in the anomaly map than a good one; large defects dominate it.',
    better: 'higher',
    percent: false,
  },
  au_pro_30: {
    title: 'AU-PRO 30\u00a0%',
    meaning:
      'How much of each true defect the map covers, small and large defects counted alike, averaged over thresholds that mark at most 30 % of the good pixels.',
    better: 'higher',
    percent: false,
  },
  au_pro_5: {
    title: 'AU-PRO 5\u00a0%',
    meaning: 'The same with at most 5 % of the good pixels marked, which is nearer to what a line tolerates.',
    better: 'higher',
    percent: false,
  },
  region_overlap: {
    title: 'Region overlap',
    meaning:
      'The share of a true defect that is marked at the threshold, averaged over all defects, small and large alike.',
    better: 'higher',
    percent: false,
  },
  overkill_rate: {
    title: 'Overkill',
    meaning: 'The share of good test pictures that the threshold rejects (false alarms).',
    better: 'lower',
    percent: true,
  },
  escape_rate: {
    title: 'Escape',
    meaning: 'The share of defective test pictures that the threshold lets pass (missed defects).',
    better: 'lower',
    percent: true,
  },
};

/** `0.987`, `3.3 %` or `–`; the space before the percent sign does not break. */
export function metricText(name: MetricName, { value }: Metric): string {
  if (value === null) return noValue;
  return metricWords[name].percent ? `${(value * 100).toFixed(1)}\u00a0%` : value.toFixed(3);
}

/** `[0.951, 0.999]` or `[1.2, 8.0] %`; empty without an interval. */
export function intervalText(name: MetricName, { interval }: Metric): string {
  if (interval === null) return '';
  const [low, high] = interval;
  if (!metricWords[name].percent) return `[${low.toFixed(3)}, ${high.toFixed(3)}]`;
  return `[${(low * 100).toFixed(1)}, ${(high * 100).toFixed(1)}]\u00a0%`;
}

/** Scores have no natural scale: five digits, so that one beside its threshold still differs. */
export function scoreText(score: number): string {
  return score.toPrecision(5);
}

/** One decimal, `–` where nothing was measured. */
export function msText(ms: number | undefined): string {
  return ms === undefined ? noValue : ms.toFixed(1);
}
