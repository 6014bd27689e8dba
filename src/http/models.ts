import type { AppParts, Route } from './app.ts';
import type { RequestContext } from './context.ts';
import { readJsonRequest } from './request_body.ts';
import { modelQuery, rollbackRequest } from './schemas.ts';
import { parseWith, requestedModel, resolveRecipe } from './validation.ts';

/** `/models`: which there are, the memories that one has had, and the way back to an earlier one. */
export function modelRoutes({ service: { models }, config }: AppParts): readonly Route[] {
  const idsOf = (c: RequestContext) => ({ role_id: c.req.param('role_id'), roi_id: c.req.param('roi_id') });

  return [
    {
      method: 'GET',
      path: '/models',
      handle: async (c) => {
        c.set('recipeId', resolveRecipe(c.req.query('recipe_id'), c.req.header('x-recipe-id')));
        return c.json({
          status: 'ok',
          models: await models.list(),
          request_id: c.get('requestId'),
          recipe_id: c.get('recipeId'),
        });
      },
    },
    {
      method: 'GET',
      path: '/models/:role_id/:roi_id/generations',
      handle: async (c) => {
        const key = requestedModel(c, parseWith(modelQuery, { ...c.req.query(), ...idsOf(c) }));
        return c.json({
          status: 'ok',
          role_id: key.roleId,
          roi_id: key.roiId,
          model_key: key.modelKey,
          generations: await models.generations(key),
          request_id: c.get('requestId'),
          recipe_id: key.recipeId,
        });
      },
    },
    {
      method: 'POST',
      path: '/models/:role_id/:roi_id/rollback',
      handle: async (c) => {
        const { generation, ...names } = await readJsonRequest(c, rollbackRequest, config);
        const key = requestedModel(c, parseWith(modelQuery, { ...names, ...idsOf(c) }));
        return c.json({
          status: 'ok',
          role_id: key.roleId,
          roi_id: key.roiId,
          model_key: key.modelKey,
          ...(await models.rollBack(key, generation)),
          request_id: c.get('requestId'),
          recipe_id: key.recipeId,
        });
      },
    },
  ];
}
