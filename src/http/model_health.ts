import type { AppParts, Route } from './app.ts';
import { modelQuery } from './schemas.ts';
import { parseWith, requestedModel } from './validation.ts';

/** `GET /models/{role_id}/{roi_id}/health`: is the model fitted and calibrated, and do its scores still look the same. */
export function modelHealthRoute({ service }: AppParts): Route {
  return {
    method: 'GET',
    path: '/models/:role_id/:roi_id/health',
    handle: async (c) => {
      const fields = parseWith(modelQuery, {
        role_id: c.req.param('role_id'),
        roi_id: c.req.param('roi_id'),
        ...c.req.query(),
      });
      const key = requestedModel(c, fields);
      const { memory, calibrationState, drift } = await service.describe(key);
      return c.json({
        status: 'ok',
        role_id: key.roleId,
        roi_id: key.roiId,
        model_key: key.modelKey,
        memory_fitted: memory !== null,
        calibration: memory === null ? 'none' : calibrationState,
        drift,
        request_id: c.get('requestId'),
        recipe_id: key.recipeId,
      });
    },
  };
}
