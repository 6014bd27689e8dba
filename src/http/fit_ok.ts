import { InspectionError } from '../errors.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { type AppParts, type Route, rounded } from './app.ts';
import { goneSignal } from './context.ts';
import { readFormRequest } from './request_body.ts';
import { fitOkForm } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** `POST /fit_ok`: good pictures become the memory of one role and ROI. */
export function fitOkRoute({ service, config }: AppParts): Route {
  return {
    method: 'POST',
    path: '/fit_ok',
    heavy: true,
    handle: async (c) => {
      const { fields, pictures } = await readFormRequest(c, fitOkForm, ['images', 'images[]'], config);
      const key = requestedModel(c, fields);
      if (fields.use_dataset) {
        throw new InspectionError(
          'insufficient_ok_samples',
          'Insufficient OK samples: 0 are stored for this role and ROI; this version keeps no dataset yet, so post the pictures as images.',
        );
      }
      if (pictures.length === 0) {
        throw new InspectionError('no_images', 'The form has no pictures; send at least one file in the field images.');
      }
      const report = await service.fit(
        {
          key,
          mmPerPx: fields.mm_per_px,
          keepAll: fields.memory_fit,
          pictures,
          shape: parseShapeText(fields.shape ?? ''),
          scoreMode: fields.score_mode,
          positions: fields.positions,
        },
        { onStep: (step, ms) => addStep(c.get('steps'), step, ms), signal: goneSignal(c) },
      );
      return c.json({
        status: 'ok',
        n_embeddings: report.embeddings,
        coreset_size: report.coresetSize,
        token_shape: [report.grid.rows, report.grid.cols],
        coreset_rate_requested: report.coresetRateRequested,
        coreset_rate_applied: report.coresetRateApplied,
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
        request_id: c.get('requestId'),
        recipe_id: key.recipeId,
      });
    },
  };
}

function addStep(steps: Record<string, number>, step: string, ms: number): void {
  steps[step] = rounded((steps[step] ?? 0) + ms);
}
