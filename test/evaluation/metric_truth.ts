import { readFileSync } from 'node:fs';
import type { GrayMap } from '../../src/patchcore/anomaly_map.ts';

/** What `scripts/make_metric_truth.py` wrote. */
interface MetricTruth {
  readonly made_with: { readonly scikit_learn: string };
  readonly image_cases: readonly {
    readonly name: string;
    readonly ok_scores: readonly number[];
    readonly ng_scores: readonly number[];
    readonly auroc: number;
    readonly average_precision: number;
    readonly f1_max: number;
  }[];
  readonly pixel_cases: readonly {
    readonly name: string;
    readonly pictures: readonly { readonly mask: readonly string[]; readonly bins: readonly number[] }[];
    readonly regions: number;
    readonly pixel_auroc: number;
    readonly au_pro_30: number;
    readonly au_pro_5: number;
    readonly overlap_thresholds: readonly number[];
    readonly region_overlaps: readonly number[];
  }[];
}

export const metricTruth = JSON.parse(
  readFileSync(new URL('metric_truth.json', import.meta.url), 'utf8'),
) as MetricTruth;

/** '#' is a defect. */
export function drawnMask(...lines: readonly string[]) {
  const size = { height: lines.length, width: lines[0]?.length ?? 0 };
  return { size, mask: Uint8Array.from(lines.join(''), (letter) => (letter === '#' ? 1 : 0)) };
}

/** A map whose values lie in the middle of the given bins of 1/4096. */
export function mapOfBins(size: { readonly height: number; readonly width: number }, bins: readonly number[]): GrayMap {
  return { ...size, data: Float32Array.from(bins, (bin) => (bin + 0.5) / 4096) };
}
