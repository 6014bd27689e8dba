import { InspectionError } from '../errors.ts';
import type { Inspection } from '../inspection/inspect_image.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { type AppParts, type Route, rounded } from './app.ts';
import { deadlineOf, goneSignal } from './context.ts';
import { readFormRequest } from './request_body.ts';
import { inferForm } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** In one request: their heatmaps are all held, and all in one text, until it is answered. */
export const mostPictures = 16;

/**
 * `POST /infer`: a picture becomes a score, a verdict, a heatmap and the defect regions. Several pictures of one model become a
 * list of such answers, in their order; if one cannot be inspected, none is answered.
 */
export function inferRoute({ service, config }: AppParts): Route {
  return {
    method: 'POST',
    path: '/infer',
    heavy: true,
    handle: async (c) => {
      const { fields, pictures } = await readFormRequest(c, inferForm, ['image'], config);
      const key = requestedModel(c, fields);
      const shape = parseShapeText(fields.shape ?? '');
      if (pictures.length === 0) {
        throw new InspectionError('missing_field', 'The field image is missing; send one picture as a file.');
      }
      if (pictures.length > mostPictures) {
        throw new InspectionError(
          'too_many_parts',
          `The field image holds ${pictures.length} files, and one request takes at most ${mostPictures}; send the others in further requests.`,
        );
      }
      const answerBy = deadlineOf(c);
      const requests = pictures.map((picture) => ({
        key,
        mmPerPx: fields.mm_per_px,
        picture,
        shape,
        includeHeatmap: fields.include_heatmap,
        explain: fields.explain,
        scorePValue: fields.score_p_value,
        answerBy,
      }));
      const inspections = await service.inspectAll(requests, goneSignal(c));
      const steps = c.get('steps');
      for (const [step, ms] of inspections.flatMap((one) => Object.entries(one.steps))) {
        steps[step] = rounded((steps[step] ?? 0) + ms);
      }
      const answers = inspections.map(({ heatmapPng, ...inspection }) => ({
        role_id: fields.role_id,
        roi_id: fields.roi_id,
        score: inspection.score,
        threshold: inspection.threshold,
        decision: inspection.decision,
        verdict: inspection.verdict,
        calib_stale: inspection.calibrationStale,
        model_generation: inspection.generation,
        ...(fields.score_p_value && { score_p_value: inspection.scorePValue }),
        ...(fields.explain && { explanations: inspection.explanations }),
        heatmap_png_base64: heatmapPng === null ? null : base64Of(heatmapPng),
        regions: regionsBody(inspection),
        in_memory: inspection.inMemory,
        token_shape: [inspection.grid.rows, inspection.grid.cols],
        params: inspection.params,
        model_key: key.modelKey,
        request_id: c.get('requestId'),
        recipe_id: key.recipeId,
      }));
      return c.json(answers.length === 1 ? answers[0] : answers);
    },
  };
}

/** The regions of an answer, in the contract's words. */
export function regionsBody({ regions }: Pick<Inspection, 'regions'>) {
  return regions.map((region) => ({
    bbox: region.bbox,
    x: region.x,
    y: region.y,
    w: region.w,
    h: region.h,
    area_px: region.areaPx,
    area_mm2: region.areaMm2,
    contour: region.contour,
  }));
}

/** Plain, without a `data:` prefix. */
export function base64Of({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}
