import type { AppParts, Route } from './app.ts';
import { readBody } from './context.ts';
import { calibrateNgRequest } from './schemas.ts';
import { parseJson, parseWith, requestedModel } from './validation.ts';

/** `POST /calibrate_ng`: scores of good and bad parts become a threshold. */
export function calibrateNgRoute({ service, config }: AppParts): Route {
  return {
    method: 'POST',
    path: '/calibrate_ng',
    handle: async (c) => {
      const body = parseJson(await readBody(c, config.maxBodyBytes));
      const request = parseWith(calibrateNgRequest, body);
      const key = requestedModel(c, request);
      const calibration = await service.calibrate({
        key,
        okScores: request.ok_scores,
        ngScores: request.ng_scores ?? [],
        mmPerPx: request.mm_per_px ?? null,
        areaMm2Thr: request.area_mm2_thr ?? null,
        scorePercentile: request.score_percentile ?? null,
      });
      return c.json({ ...calibration, request_id: c.get('requestId'), recipe_id: key.recipeId });
    },
  };
}
