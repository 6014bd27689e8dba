import type { ScoreMode } from '../patchcore/image_score.ts';

/** How the distances of one picture become its image score. A threshold belongs to exactly one rule. */
export interface ScoreRule {
  /** Neighbours per patch; the distance is to the nearest. */
  readonly k: 1;
  /** Of new memories; a fitted one keeps its own. */
  readonly mode: ScoreMode;
  /** 0..100, of the anomaly map inside the ROI. */
  readonly percentile: number;
  /** Gaussian blur of the anomaly map in pixels. */
  readonly sigmaPx: number;
}
