import type { DatasetCalibration } from '../inspection/calibrate_dataset.ts';
import type { AppParts, Route } from './app.ts';
import type { AnswerLongWork } from './long_work.ts';
import { readJsonRequest } from './request_body.ts';
import { calibrateDatasetRequest } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** `POST /calibrate_dataset`: the stored samples are scored, and their scores become a threshold. */
export function calibrateDatasetRoute({ service, config }: AppParts, answerLongWork: AnswerLongWork): Route {
  return {
    method: 'POST',
    path: '/calibrate_dataset',
    heavy: true,
    handle: async (c) => {
      const fields = await readJsonRequest(c, calibrateDatasetRequest, config);
      const key = requestedModel(c, fields);
      const request = {
        key,
        defaultMmPerPx: fields.default_mm_per_px ?? null,
        requireNg: fields.require_ng ?? true,
        areaMm2Thr: fields.area_mm2_thr ?? null,
        scorePercentile: fields.score_percentile ?? null,
        maxOverkill: fields.max_overkill,
        confidence: fields.confidence,
        reviewThreshold: fields.review_threshold,
      };
      return await answerLongWork(c, {
        kind: 'calibrate_dataset',
        key,
        fields,
        work: async (hooks) => calibrationBody(await service.datasets.calibrate(request, hooks)),
      });
    },
  };
}

function calibrationBody({ calibration, samples, suspects, errors, warnings }: DatasetCalibration) {
  return {
    ...calibration,
    samples: samples.map(({ label, filename, score, scoreFrom }) => ({
      label,
      filename,
      score,
      score_from: scoreFrom,
    })),
    suspects,
    errors,
    warnings,
  };
}
