import type { Recipe } from '../inspection/manage_recipes.ts';
import type { AppParts, Route } from './app.ts';
import type { RequestContext } from './context.ts';
import { readJsonRequest } from './request_body.ts';
import { recipeChange, recipeId, recipeRemoval } from './schemas.ts';
import { parseWith, resolveRecipe } from './validation.ts';

/** `/recipes`: which there are, what they hold, a scale that was wrong, and the end of one. */
export function recipeRoutes({ service: { recipes }, config }: AppParts): readonly Route[] {
  /** The recipe of the path; it is the answer's as well, whatever the header says. */
  const requestedRecipe = (c: RequestContext): string => {
    const id = parseWith(recipeId, c.req.param('id'));
    c.set('recipeId', id);
    return id;
  };

  return [
    {
      method: 'GET',
      path: '/recipes',
      handle: async (c) => {
        c.set('recipeId', resolveRecipe(c.req.query('recipe_id'), c.req.header('x-recipe-id')));
        const found = await recipes.list();
        return c.json({
          status: 'ok',
          recipes: found.map(recipeBody),
          request_id: c.get('requestId'),
          recipe_id: c.get('recipeId'),
        });
      },
    },
    {
      method: 'GET',
      path: '/recipes/:id',
      handle: async (c) => {
        const id = requestedRecipe(c);
        return c.json({ status: 'ok', ...recipeBody(await recipes.find(id)), request_id: c.get('requestId') });
      },
    },
    {
      method: 'PUT',
      path: '/recipes/:id',
      handle: async (c) => {
        const id = requestedRecipe(c);
        const { mm_per_px: mmPerPx } = await readJsonRequest(c, recipeChange, config);
        c.set('recipeId', id);
        const before = await recipes.correctScale(id, mmPerPx);
        return c.json({
          status: 'ok',
          previous_mm_per_px: before,
          ...recipeBody(await recipes.find(id)),
          request_id: c.get('requestId'),
        });
      },
    },
    {
      method: 'DELETE',
      path: '/recipes/:id',
      handle: async (c) => {
        const id = requestedRecipe(c);
        const { force } = parseWith(recipeRemoval, c.req.query());
        await recipes.remove(id, force);
        return c.json({ status: 'ok', deleted: true, request_id: c.get('requestId'), recipe_id: id });
      },
    },
  ];
}

function recipeBody({ recipeId: id, mmPerPx, models, datasets }: Recipe) {
  return {
    recipe_id: id,
    mm_per_px: mmPerPx,
    models: models.map(({ roleId, roiId, modelKey, hasCalibration }) => ({
      role_id: roleId ?? null,
      roi_id: roiId ?? null,
      model_key: modelKey ?? null,
      has_calibration: hasCalibration,
    })),
    datasets: datasets.map(({ roleId, roiId, counts }) => ({
      role_id: roleId ?? null,
      roi_id: roiId ?? null,
      n_ok: counts.ok,
      n_ng: counts.ng,
    })),
  };
}
