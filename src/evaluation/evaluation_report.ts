/**
 * What `okng evaluate` found, as plain data: the JSON file is this, table and HTML page are views of it. Scores and
 * distances have the unit of the anomaly map; higher is more anomalous. Snake case, because it is written as it stands.
 */
export interface EvaluationReport {
  readonly okng_version: string;
  readonly created_at_utc: string;
  /** The command line that makes the report again. */
  readonly command: string;
  readonly machine: string;
  readonly sets: readonly SetReport[];
}

/** One folder of pictures, one extractor, one seed. */
export interface SetReport {
  /** The folder's own name. */
  readonly name: string;
  readonly extractor: string;
  readonly seed: number;
  readonly settings: {
    readonly coreset_rate: number;
    readonly score_mode: string;
    readonly score_percentile: number;
    /** Share of the position memory in a patch score, 0 = off. */
    readonly position_weight: number;
  };
  readonly counts: {
    /** OK pictures in the memory. */
    readonly memory: number;
    /** OK pictures that chose the threshold and are in no memory; 0 when leave-one-out scores did. */
    readonly held_out: number;
    readonly ok: number;
    readonly ng: number;
    readonly coreset_size: number;
    readonly embeddings: number;
  };
  readonly metrics: Readonly<Record<MetricName, Metric>>;
  /** Image AUROC of each defect kind against all OK test pictures. */
  readonly kinds: readonly { readonly kind: string; readonly pictures: number; readonly image_auroc: Metric }[];
  readonly threshold: {
    readonly value: number;
    readonly from: 'held_out' | 'leave_one_out';
    /** The rule in words, such as `99th percentile of 30 OK scores`. */
    readonly rule: string;
  };
  /** Median milliseconds per picture by step, and of all steps together under `total`. */
  readonly ms_per_picture: Readonly<Record<string, number>>;
  readonly fit_s: number;
  /** Every test picture. */
  readonly pictures: readonly PictureResult[];
  /** NG pictures below the threshold and OK pictures at or above it, worst first; a few of each. */
  readonly misses: readonly ShownPicture[];
  readonly false_alarms: readonly ShownPicture[];
  /** What a reader should know, such as OK pictures that look bad, by name. */
  readonly warnings: readonly string[];
}

export const metricNames = [
  'image_auroc',
  'average_precision',
  'f1_max',
  'pixel_auroc',
  'au_pro_30',
  'au_pro_5',
  'region_overlap',
  'overkill_rate',
  'escape_rate',
] as const;
export type MetricName = (typeof metricNames)[number];

/** Null where the set does not allow it, such as pixel metrics without masks. */
export interface Metric {
  readonly value: number | null;
  /** 95 % bootstrap interval over pictures, [low, high]. */
  readonly interval: readonly [number, number] | null;
}

export interface PictureResult {
  /** Path inside the set, with `/`. */
  readonly file: string;
  /** `good`, or the defect's kind. */
  readonly kind: string;
  readonly score: number;
}

/** A picture worth looking at, with what a page needs to show it. */
export interface ShownPicture extends PictureResult {
  /** data: URL of a small picture (JPEG). */
  readonly picture: string;
  /** data: URL of the heatmap, a gray PNG of the same aspect ratio: 0 = least anomalous of this picture. */
  readonly heatmap: string;
  /** data: URL of the truth's mask (black and white PNG) where there is one. */
  readonly mask: string | null;
  /** Where the farthest patches lie and which OK picture comes nearest, in words; empty without explanation. */
  readonly why: readonly string[];
}
