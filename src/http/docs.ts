import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { AppParts, Route } from './app.ts';

/** The assets of swagger-ui-dist that the page needs; nothing else of the package is served. */
const assets: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>okng API</title>
    <link rel="stylesheet" href="/docs/swagger-ui.css">
    <link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

const start = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null });\n`;

/** Plants have no internet: everything the page loads comes from here, and the browser is told to allow nothing else. */
const contentSecurityPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'";

/** `/openapi.json` and the page that shows it, without the internet. Both are made on first use. */
export function docsRoutes({ service }: AppParts): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/openapi.json',
      handle: async (c) => {
        const { openApiDocument } = await import('./openapi.ts');
        return c.json(openApiDocument(service.version));
      },
    },
    {
      method: 'GET',
      path: '/docs',
      handle: (c) => c.html(page, 200, { 'Content-Security-Policy': contentSecurityPolicy }),
    },
    {
      method: 'GET',
      path: '/docs/start.js',
      handle: (c) => c.body(start, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }),
    },
    ...Object.entries(assets).map(
      ([name, type]): Route => ({
        method: 'GET',
        path: `/docs/${name}`,
        handle: async (c) =>
          c.body(await readFile(join(assetFolder(), name)), 200, {
            'Content-Type': type,
            'Cache-Control': 'public, max-age=3600',
          }),
      }),
    ),
  ];
}

function assetFolder(): string {
  return dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
}
