import type { AppParts, Route } from './app.ts';
import { readJsonRequest } from './request_body.ts';
import { calibrateNgRequest } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** `POST /calibrate_ng`: scores of good and bad parts become a threshold. */
export function calibrateNgRoute({ service, config }: AppParts): Route {
  return {
    method: 'POST',
    path: '/calibrate_ng',
    handle: async (c) => {
      const request = await readJsonRequest(c, calibrateNgRequest, config);
      const key = requestedModel(c, request);
      const calibration = await service.calibrate({
        key,
        okScores: request.ok_scores ?? null,
        ngScores: request.ng_scores ?? [],
        mmPerPx: request.mm_per_px ?? null,
        areaMm2Thr: request.area_mm2_thr ?? null,
        scorePercentile: request.score_percentile ?? null,
        maxOverkill: request.max_overkill,
        confidence: request.confidence,
        reviewThreshold: request.review_threshold,
      });
      return c.json({ ...calibration, request_id: c.get('requestId'), recipe_id: key.recipeId });
    },
  };
}
