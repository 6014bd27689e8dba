import { InspectionError } from '../errors.ts';
import type { FitReport, FitRequest } from '../inspection/fit_model.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import type { AppParts, Route } from './app.ts';
import type { AnswerLongWork, LongWorkHooks } from './long_work.ts';
import { readFormRequest } from './request_body.ts';
import { fitOkForm } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** `POST /fit_ok`: good pictures, posted or stored before, become the memory of one role and ROI. */
export function fitOkRoute({ service, config }: AppParts, answerLongWork: AnswerLongWork): Route {
  return {
    method: 'POST',
    path: '/fit_ok',
    heavy: true,
    handle: async (c) => {
      const { fields, pictures } = await readFormRequest(c, fitOkForm, ['images', 'images[]'], config);
      const key = requestedModel(c, fields);
      if (!fields.use_dataset && pictures.length === 0) {
        throw new InspectionError('no_images', 'The form has no pictures; send at least one file in the field images.');
      }
      const fit: FitRequest = {
        key,
        mmPerPx: fields.mm_per_px,
        keepAll: fields.memory_fit,
        pictures: fields.use_dataset ? null : pictures,
        shape: parseShapeText(fields.shape ?? ''),
        scoreMode: fields.score_mode,
        positions: fields.positions,
      };
      const work = async (hooks: LongWorkHooks) => fitBody(key, await service.fit(fit, hooks));
      return await answerLongWork(c, { kind: 'fit_ok', key, fields, pictures, work });
    },
  };
}

function fitBody(key: FitRequest['key'], report: FitReport) {
  return {
    status: 'ok',
    n_embeddings: report.embeddings,
    coreset_size: report.coresetSize,
    token_shape: [report.grid.rows, report.grid.cols],
    coreset_rate_requested: report.coresetRateRequested,
    coreset_rate_applied: report.coresetRateApplied,
    thinned: report.thinned && {
      patches_seen: report.thinned.patchesSeen,
      patches_kept: report.thinned.patchesKept,
      radius: report.thinned.radius,
    },
    n_images: report.pictures,
    mm_per_px: report.mmPerPx,
    extractor: report.extractorName,
    role_id: key.roleId,
    roi_id: key.roiId,
    model_key: key.modelKey,
    calibration: report.calibration,
    score_mode: report.scoreMode,
    position_weight: report.positionWeight,
    suspect_images: report.suspects,
    leave_one_out_scores: report.leftOut.map(({ score }) => score),
  };
}
