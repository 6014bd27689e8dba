import { InspectionError } from '../errors.ts';
import type { Inspection } from '../inspection/inspect_image.ts';
import { parseShapeText } from '../inspection/shape_text.ts';
import { type AppParts, type Route, rounded } from './app.ts';
import { goneSignal } from './context.ts';
import { readFormRequest } from './request_body.ts';
import { inferForm } from './schemas.ts';
import { requestedModel } from './validation.ts';

/** `POST /infer`: one picture becomes a score, a verdict, a heatmap and the defect regions. */
export function inferRoute({ service, config }: AppParts): Route {
  return {
    method: 'POST',
    path: '/infer',
    heavy: true,
    handle: async (c) => {
      const { fields, pictures } = await readFormRequest(c, inferForm, ['image'], config);
      const key = requestedModel(c, fields);
      const shape = parseShapeText(fields.shape ?? '');
      const [picture, ...more] = pictures;
      if (picture === undefined) {
        throw new InspectionError('missing_field', 'The field image is missing; send one picture as a file.');
      }
      if (more.length > 0) {
        throw new InspectionError('invalid_value', `The field image holds ${more.length + 1} files; send one picture.`);
      }
      const inspection = await service.inspect(
        {
          key,
          mmPerPx: fields.mm_per_px,
          picture,
          shape,
          includeHeatmap: fields.include_heatmap,
          explain: fields.explain,
          scorePValue: fields.score_p_value,
        },
        goneSignal(c),
      );
      for (const [step, ms] of Object.entries(inspection.steps)) c.get('steps')[step] = rounded(ms);
      const { heatmapPng } = inspection;
      return c.json({
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
      });
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
