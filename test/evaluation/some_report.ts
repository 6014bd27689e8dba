import {
  type EvaluationReport,
  type Metric,
  metricNames,
  type SetReport,
  type ShownPicture,
} from '../../src/evaluation/evaluation_report.ts';

/** One white pixel. */
const pixel =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==';

export const noMetric: Metric = { value: null, interval: null };

/** Two OK and three NG pictures; threshold 5: one NG is missed, one OK is a false alarm (it lies on the threshold). */
export function someSet(changes: Partial<SetReport> = {}): SetReport {
  const metric: Metric = { value: 0.5, interval: [0.25, 0.75] };
  return {
    name: 'tile',
    extractor: 'filters',
    seed: 3,
    settings: { coreset_rate: 0.05, score_mode: 'top_mean', score_percentile: 99, position_weight: 0.25 },
    counts: { memory: 40, held_out: 10, ok: 2, ng: 3, coreset_size: 2048, embeddings: 40960 },
    metrics: {
      ...(Object.fromEntries(metricNames.map((name) => [name, metric])) as SetReport['metrics']),
      image_auroc: { value: 0.98765, interval: [0.9511, 0.9999] },
      escape_rate: { value: 1 / 3, interval: [0, 1] },
    },
    kinds: [
      { kind: 'crack', pictures: 2, image_auroc: { value: 0.9, interval: [0.8, 1] } },
      { kind: 'fray', pictures: 1, image_auroc: { value: 0.7, interval: null } },
    ],
    threshold: { value: 5, from: 'held_out', rule: '99th percentile of 10 OK scores' },
    ms_per_picture: { decode: 4.25, network: 30, total: 34.56 },
    fit_s: 12.34,
    pictures: [
      { file: 'test/good/1.png', kind: 'good', score: 1 },
      { file: 'test/good/2.png', kind: 'good', score: 5 },
      { file: 'test/crack/1.png', kind: 'crack', score: 9 },
      { file: 'test/crack/2.png', kind: 'crack', score: 8 },
      { file: 'test/fray/1.png', kind: 'fray', score: 4 },
    ],
    misses: [someShown({ file: 'test/fray/1.png', kind: 'fray', score: 4, mask: pixel })],
    false_alarms: [someShown({ file: 'test/good/2.png', kind: 'good', score: 5 })],
    warnings: [],
    ...changes,
  };
}

export function someShown(changes: Partial<ShownPicture> = {}): ShownPicture {
  return {
    file: 'test/fray/1.png',
    kind: 'fray',
    score: 4,
    picture: pixel,
    heatmap: pixel,
    mask: null,
    why: ['Nearest OK picture: train/good/7.png'],
    ...changes,
  };
}

export function someReport(...sets: readonly SetReport[]): EvaluationReport {
  return {
    okng_version: '1.2.3',
    created_at_utc: '2025-03-04T05:06:07.890Z',
    command: 'okng evaluate tile --seed 3',
    machine: 'Some CPU, 8 cores',
    sets,
  };
}
