import type { AppParts, Route } from './app.ts';
import { goneSignal } from './context.ts';
import { readJsonRequest } from './request_body.ts';
import { reviewRequest } from './schemas.ts';
import { requestedDataset } from './validation.ts';

/** `POST /datasets/review`: which of the stored good parts look bad to the others, before they are learned. */
export function datasetReviewRoute({ service, config }: AppParts): Route {
  return {
    method: 'POST',
    path: '/datasets/review',
    heavy: true,
    handle: async (c) => {
      const key = requestedDataset(c, await readJsonRequest(c, reviewRequest, config));
      const { samples, errors } = await service.datasets.review(key, { signal: goneSignal(c) });
      return c.json({
        status: 'ok',
        role_id: key.roleId,
        roi_id: key.roiId,
        n_suspects: samples.filter(({ suspect }) => suspect).length,
        samples: samples.map(({ name, score, suspect }) => ({ filename: name, score, suspect })),
        errors,
        request_id: c.get('requestId'),
        recipe_id: key.recipeId,
      });
    },
  };
}
