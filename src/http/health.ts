import type { AppParts, Route } from './app.ts';
import { resolveRecipe } from './validation.ts';

/** `/health` for the GUI and CI, `/livez` and `/readyz` for whoever runs the service. */
export function healthRoutes({ service }: AppParts): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/health',
      handle: (c) => {
        c.set('recipeId', resolveRecipe(c.req.query('recipe_id'), c.req.header('x-recipe-id')));
        const { device, model, neighbors, reason } = service.health();
        return c.json({
          status: 'ok',
          device,
          model,
          neighbors,
          version: service.version,
          ...(reason !== null && { reason }),
          request_id: c.get('requestId'),
          recipe_id: c.get('recipeId'),
        });
      },
    },
    {
      method: 'GET',
      path: '/livez',
      handle: (c) => c.json({ status: 'ok', request_id: c.get('requestId'), recipe_id: c.get('recipeId') }),
    },
    {
      method: 'GET',
      path: '/readyz',
      handle: async (c) => {
        const { ready, problems } = service.readiness();
        // No reason to be taken from the line: inspections go on.
        const shortage = await service.shortage();
        return c.json(
          {
            status: ready ? 'ready' : 'not_ready',
            problems: shortage === null ? problems : [...problems, shortage],
            request_id: c.get('requestId'),
            recipe_id: c.get('recipeId'),
          },
          ready ? 200 : 503,
        );
      },
    },
  ];
}
