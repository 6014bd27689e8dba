import type { ModelDescription } from '../inspection/describe_model.ts';
import { memoryOriginOf } from '../inspection/memory_origin.ts';
import type { AppParts, Route } from './app.ts';
import { classesBody } from './dataset_samples.ts';
import { modelQuery } from './schemas.ts';
import { parseWith, requestedModel } from './validation.ts';

/** `GET /state` and `GET /manifest`: what an inspection would find. */
export function modelStateRoutes({ service }: AppParts): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/state',
      handle: async (c) => {
        const key = requestedModel(c, parseWith(modelQuery, c.req.query()));
        const described = await service.describe(key);
        return c.json({
          status: 'ok',
          ...stateBody(described),
          drift: described.drift,
          role_id: key.roleId,
          roi_id: key.roiId,
          model_key: key.modelKey,
          request_id: c.get('requestId'),
          recipe_id: key.recipeId,
        });
      },
    },
    {
      method: 'GET',
      path: '/manifest',
      handle: async (c) => {
        const key = requestedModel(c, parseWith(modelQuery, c.req.query()));
        const [described, { classes }] = await Promise.all([service.describe(key), service.datasets.list(key)]);
        const { ok_scores: _, ...calibration } = described.calibration ?? {};
        return c.json({
          ...stateBody(described),
          role_id: key.roleId,
          roi_id: key.roiId,
          model_key: key.modelKey,
          memory: described.memory !== null,
          calib: described.calibration === null ? null : calibration,
          datasets: { role_id: key.roleId, roi_id: key.roiId, classes: classesBody(classes) },
          request_id: c.get('requestId'),
          recipe_id: key.recipeId,
        });
      },
    },
  ];
}

function stateBody(described: ModelDescription) {
  const { memory, refusal, borrowed, generation, calibrationState, calibration, mmPerPx } = described;
  return {
    memory_fitted: memory !== null,
    calib_present: calibration !== null,
    calib_stale: calibrationState === 'stale',
    model_generation: generation,
    calibration: calibrationState,
    refusal,
    borrowed: memory !== null && borrowed,
    memory_id: memory?.memoryId ?? null,
    memory_origin: memory === null ? null : memoryOriginOf(memory),
    extractor: memory?.extractorName ?? null,
    mm_per_px: mmPerPx,
  };
}
