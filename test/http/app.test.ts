import { rmSync, writeFileSync } from 'node:fs';
import { platform } from 'node:os';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { healthResponse, problemBody } from '../../src/http/responses.ts';
import { answer, startTestApp, type TestApp } from './test_app.ts';

let okng: TestApp;

beforeAll(async () => {
  okng = await startTestApp({ BDI_CORS_ORIGINS: 'http://gui.example' });
});

afterAll(() => okng.close());

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

describe('/health', () => {
  it('tells device, model and version', async () => {
    const { status, body } = await answer(await okng.app.request('/health'));
    expect(status).toBe(200);
    expect(healthResponse.parse(body)).toMatchObject({
      status: 'ok',
      device: 'cpu',
      model: 'embedded_filter_bank',
      version: '0.1.0',
      recipe_id: 'default',
    });
  });

  it('checks and normalises the recipe header', async () => {
    const good = await answer(await okng.app.request('/health', { headers: { 'X-Recipe-Id': ' Line-2 ' } }));
    expect(good.body.recipe_id).toBe('line-2');
    const bad = await answer(await okng.app.request('/health', { headers: { 'X-Recipe-Id': 'last' } }));
    expect(bad).toMatchObject({ status: 400, body: { code: 'invalid_value' } });
  });

  it('gives the reason when a wished-for device is missing', async () => {
    // One that this system can never have.
    const device = platform() === 'win32' ? 'coreml' : 'dml';
    const wishing = await startTestApp({ DEVICE: device });
    const health = async () => (await answer(await wishing.app.request('/health'))).body;
    expect(await health()).toMatchObject({ device: 'cpu', reason: `DEVICE=${device} is being looked for.` });
    await wishing.service.warm();
    expect(await health()).toMatchObject({
      device: 'cpu',
      reason: expect.stringMatching(new RegExp(`DEVICE=${device} is not to be had here .*the CPU serves`)),
    });
    await wishing.close();
  });
});

describe('request ids', () => {
  it('are echoed in header and body, errors included', async () => {
    for (const path of ['/health', '/nowhere']) {
      const { headers, body } = await answer(
        await okng.app.request(path, { headers: { 'X-Request-Id': 'line 7 / shot 9' } }),
      );
      expect(headers.get('x-request-id')).toBe('line 7 / shot 9');
      expect(body.request_id).toBe('line 7 / shot 9');
    }
  });

  it('are made when absent or blank', async () => {
    for (const headers of [{}, { 'X-Request-Id': '' }, { 'X-Request-Id': '  ' }]) {
      const { headers: sent, body } = await answer(await okng.app.request('/health', { headers }));
      expect(body.request_id).toMatch(uuid);
      expect(sent.get('x-request-id')).toBe(body.request_id);
    }
  });

  it.each([
    ['their first 200 characters', 'x'.repeat(201), 'x'.repeat(200)],
    ['200 characters whole', 'y'.repeat(200), 'y'.repeat(200)],
    ['bytes beyond ASCII', 'Stra\u00dfe \u00e9\u0080', 'Stra\u00dfe \u00e9\u0080'],
    ['what is left without characters no header may hold', 'a\u007fb', 'ab'],
  ])('are echoed as far as that is possible: %s', async (_, sent, echoed) => {
    const { headers, body } = await answer(await okng.app.request('/health', { headers: { 'X-Request-Id': sent } }));
    expect(body.request_id).toBe(echoed);
    expect(headers.get('x-request-id')).toBe(echoed);
  });
});

describe('errors', () => {
  it("have the contract's body and the members of RFC 9457", async () => {
    const { status, headers, body } = await answer(await okng.app.request('/nowhere'));
    expect(status).toBe(404);
    expect(headers.get('content-type')).toContain('application/problem+json');
    const problem = problemBody.parse(body);
    expect(problem).toMatchObject({ status: 404, code: 'not_found', title: 'Not found', recipe_id: 'default' });
    expect(problem.detail).toBe(problem.error);
  });

  it('say which methods a path answers', async () => {
    const { status, headers } = await answer(await okng.app.request('/infer'));
    expect(status).toBe(405);
    expect(headers.get('allow')).toBe('POST, OPTIONS');
    expect((await okng.app.request('/health', { method: 'DELETE' })).headers.get('allow')).toBe('GET, HEAD, OPTIONS');
  });

  it('hide what went wrong inside, and tell the log', async () => {
    const broken = {
      ...okng.service,
      health: () => {
        throw new Error('secret /etc/path');
      },
    };
    const { createApp } = await import('../../src/http/app.ts');
    const { pino } = await import('pino');
    const lines: string[] = [];
    const log = pino({ level: 'error' }, { write: (line: string) => lines.push(line) });
    const app = createApp({ service: broken, config: { ...okng.config, maxBodyBytes: 1, queueLimit: 1 }, log });
    const { status, body } = await answer(await app.request('/health'));
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain('secret');
    expect(body).toMatchObject({ code: 'internal_error' });
    expect(lines.join('')).toContain('secret /etc/path');
  });
});

describe('the recipe in the body of an error', () => {
  const json = (body: string, headers: Readonly<Record<string, string>> = {}) => ({
    method: 'POST',
    body,
    headers: { 'Content-Type': 'application/json', ...headers },
  });
  const form = (fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>> = {}) => {
    const data = new FormData();
    for (const [name, value] of Object.entries(fields)) data.append(name, value);
    return { method: 'POST', body: data, headers };
  };

  it.each([
    ['404, by header', '/nowhere', { headers: { 'X-Recipe-Id': ' Line-2' } }, 404, 'line-2'],
    ['404, by query', '/nowhere?recipe_id=LINE3', { headers: { 'X-Recipe-Id': 'line-2' } }, 404, 'line3'],
    ['405', '/infer', { headers: { 'X-Recipe-Id': 'line-2' } }, 405, 'line-2'],
    ['413', '/infer', form({}, { 'X-Recipe-Id': 'line-2', 'Content-Length': '99999999999' }), 413, 'line-2'],
    ['415', '/infer', json('{}', { 'X-Recipe-Id': 'line-2' }), 415, 'line-2'],
    ['no JSON', '/calibrate_ng', json('{', { 'X-Recipe-Id': 'line-2' }), 400, 'line-2'],
    ['another field, JSON', '/calibrate_ng', json('{"recipe_id":"B"}', { 'X-Recipe-Id': 'a' }), 422, 'b'],
    ['another field, form', '/fit_ok', form({ recipe_id: 'B' }, { 'X-Recipe-Id': 'a' }), 422, 'b'],
    ['another field, null recipe', '/calibrate_ng', json('{"recipe_id":null}', { 'X-Recipe-Id': 'a' }), 422, 'a'],
    ['an unusable header', '/nowhere', { headers: { 'X-Recipe-Id': 'last' } }, 404, 'default'],
    ['an unusable field', '/infer', form({ recipe_id: '../x' }, { 'X-Recipe-Id': 'a' }), 422, 'a'],
  ])('is the one that was named: %s', async (_, path, init, status, recipe) => {
    const answered = await answer(await okng.app.request(path, init));
    expect({ status: answered.status, recipe: answered.body.recipe_id }).toEqual({ status, recipe });
  });

  it('is the one that was named: 429', async () => {
    const { createApp } = await import('../../src/http/app.ts');
    const { pino } = await import('pino');
    const config = { ...okng.config, maxBodyBytes: 1, queueLimit: 0 };
    const full = createApp({ service: okng.service, config, log: pino({ level: 'silent' }) });
    const init = { method: 'POST', headers: { 'X-Recipe-Id': 'line-2' } };
    expect(await answer(await full.request('/infer', init))).toMatchObject({
      status: 429,
      body: { recipe_id: 'line-2' },
    });
  });
});

describe('OPTIONS and HEAD', () => {
  it('answer on every endpoint, and 404 elsewhere: the GUI probes support that way', async () => {
    const core = ['/health', '/fit_ok', '/calibrate_ng', '/infer', '/models/{role_id}/{roi_id}/health'];
    const datasets = ['ok/upload', 'ng/upload', 'list', 'file', 'meta', 'thumbnail', 'clear', 'review'];
    const second = ['/state', '/manifest', '/calibrate_dataset', '/infer_dataset', '/recipes', '/recipes/line1'];
    for (const path of [...core, ...datasets.map((name) => `/datasets/${name}`), ...second]) {
      expect((await okng.app.request(path, { method: 'OPTIONS' })).status, path).toBe(204);
    }
    expect((await okng.app.request('/datasets/else', { method: 'OPTIONS' })).status).toBe(404);
    expect((await okng.app.request('/health', { method: 'HEAD' })).status).toBe(200);
  });
});

describe('CORS', () => {
  it('lets the configured origin in and no other', async () => {
    const preflight = (origin: string) =>
      okng.app.request('/infer', {
        method: 'OPTIONS',
        headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' },
      });
    expect((await preflight('http://gui.example')).headers.get('access-control-allow-origin')).toBe(
      'http://gui.example',
    );
    expect((await preflight('http://evil.example')).headers.get('access-control-allow-origin')).toBeNull();
  });

  it('shows the answer on unknown paths too, and the headers a client acts on', async () => {
    const origin = { Origin: 'http://gui.example' };
    for (const path of ['/nothing', '/health', '/infer']) {
      const { headers, status } = await okng.app.request(path, { headers: origin });
      expect(headers.get('access-control-allow-origin'), `${path} ${status}`).toBe('http://gui.example');
      expect(headers.get('access-control-expose-headers')).toMatch(/X-Request-Id.*Retry-After/);
      expect(headers.get('vary')).toBe('Origin');
    }
  });

  it('lets a preflight for an unknown path pass, so that the 404 behind it is seen', async () => {
    const asked = { Origin: 'http://gui.example', 'Access-Control-Request-Method': 'GET' };
    const preflight = await okng.app.request('/nothing', { method: 'OPTIONS', headers: asked });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('X-Recipe-Id');
    const probe = await okng.app.request('/nothing', { method: 'OPTIONS', headers: { Origin: 'http://gui.example' } });
    expect(probe.status).toBe(404);
    expect(probe.headers.get('access-control-allow-origin')).toBe('http://gui.example');
  });

  it('says which methods an endpoint answers, as without CORS', async () => {
    const { status, headers } = await okng.app.request('/infer', { method: 'OPTIONS' });
    expect({ status, allow: headers.get('allow') }).toEqual({ status: 204, allow: 'POST, OPTIONS' });
  });

  it('lets everybody in with *', async () => {
    const open = await startTestApp({ BDI_CORS_ORIGINS: '*' });
    const { headers } = await open.app.request('/state', { headers: { Origin: 'http://any.example' } });
    expect(headers.get('access-control-allow-origin')).toBe('*');
    await open.close();
  });

  it('is closed without a setting', async () => {
    const closed = await startTestApp();
    const response = await closed.app.request('/health', { headers: { Origin: 'http://gui.example' } });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    await closed.close();
  });
});

describe('probes', () => {
  it('is alive at once and ready once it is warm', async () => {
    const cold = await startTestApp();
    expect((await cold.app.request('/livez')).status).toBe(200);
    const before = await answer(await cold.app.request('/readyz'));
    expect(before).toMatchObject({ status: 503, body: { status: 'not_ready', problems: [expect.any(String)] } });
    await cold.service.warm();
    expect((await cold.app.request('/readyz')).status).toBe(200);
    await cold.close();
    expect(await answer(await cold.app.request('/readyz'))).toMatchObject({
      status: 503,
      body: { problems: ['The service is shutting down.'] },
    });
  });

  it('is warmed again every ten seconds after a failure, until that succeeds or the service is closed', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const cold = await startTestApp();
      // Real reading and loading goes on between two ticks of the clock.
      const until = async (condition: () => boolean) => {
        while (!condition()) await new Promise((resolve) => setImmediate(resolve));
      };
      const problems = async () => (await answer(await cold.app.request('/readyz'))).body.problems;
      writeFileSync(cold.modelsDir, 'a file where the folder must be');
      await expect(cold.service.warm()).rejects.toMatchObject({ code: 'not_ready' });
      expect(await problems()).toEqual([expect.stringContaining('BDI_MODELS_DIR')]);
      for (let failures = 0; failures < 2; failures++) {
        expect(vi.getTimerCount()).toBe(1);
        vi.advanceTimersByTime(10_000);
        await until(() => vi.getTimerCount() === 1);
        expect(await problems()).toEqual([expect.stringContaining('BDI_MODELS_DIR')]);
      }
      rmSync(cold.modelsDir);
      vi.advanceTimersByTime(9_999);
      expect(cold.service.readiness().ready).toBe(false);
      vi.advanceTimersByTime(1);
      await until(() => cold.service.readiness().ready);
      expect((await cold.app.request('/readyz')).status).toBe(200);
      expect(vi.getTimerCount()).toBe(0);
      await cold.close();

      const broken = await startTestApp();
      writeFileSync(broken.modelsDir, '');
      await expect(broken.service.warm()).rejects.toMatchObject({ code: 'not_ready' });
      await broken.close();
      vi.advanceTimersByTime(10_000);
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is ready at once with light import', async () => {
    const light = await startTestApp({ BDI_LIGHT_IMPORT: '1' });
    expect((await light.app.request('/readyz')).status).toBe(200);
    await light.close();
  });
});

describe('documentation', () => {
  it('describes every endpoint, from the schemas that check them', async () => {
    const { body } = await answer(await okng.app.request('/openapi.json'));
    const document = body as {
      openapi: string;
      paths: Record<
        string,
        Record<string, { requestBody?: { content: Record<string, { schema: { required: string[] } }> } }>
      >;
    };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toEqual([
      '/health',
      '/livez',
      '/readyz',
      '/fit_ok',
      '/calibrate_ng',
      '/infer',
      '/models',
      '/models/{role_id}/{roi_id}/generations',
      '/models/{role_id}/{roi_id}/rollback',
      '/models/{role_id}/{roi_id}/health',
      '/state',
      '/manifest',
      '/datasets/ok/upload',
      '/datasets/ng/upload',
      '/datasets/list',
      '/datasets/file',
      '/datasets/meta',
      '/datasets/thumbnail',
      '/datasets/clear',
      '/datasets/review',
      '/calibrate_dataset',
      '/infer_dataset',
      '/recipes',
      '/recipes/{id}',
      '/jobs',
      '/jobs/{id}',
      '/jobs/{id}/events',
    ]);
    const infer = document.paths['/infer']?.post?.requestBody?.content['multipart/form-data']?.schema.required;
    expect(infer).toEqual(expect.arrayContaining(['role_id', 'roi_id', 'mm_per_px', 'image']));
  });

  it('says what every form field is for', async () => {
    const { body } = await answer(await okng.app.request('/openapi.json'));
    const { paths } = body as {
      paths: Record<
        string,
        { post?: { requestBody: { content: Record<string, { schema: { properties: object } }> } } }
      >;
    };
    for (const path of ['/fit_ok', '/infer', '/calibrate_ng']) {
      for (const { schema } of Object.values(paths[path]?.post?.requestBody.content ?? {})) {
        for (const [name, property] of Object.entries(schema.properties) as [string, { description?: string }][]) {
          expect(property.description, `${path} ${name}`).toMatch(/\w{3}/);
        }
      }
    }
  });

  it('shows the body that /readyz has when it is not ready', async () => {
    const { body } = await answer(await okng.app.request('/openapi.json'));
    const { paths } = body as {
      paths: Record<string, { get: { responses: Record<string, { content: Record<string, { schema: object }> }> } }>;
    };
    const notReady = paths['/readyz']?.get.responses['503']?.content;
    expect(notReady).toMatchObject({ 'application/json': { schema: { properties: { problems: { type: 'array' } } } } });
    expect(notReady).not.toHaveProperty('application/problem+json');
  });

  it('says that scores are lists of numbers, and how many', async () => {
    const { body } = await answer(await okng.app.request('/openapi.json'));
    const { paths } = body as {
      paths: Record<string, { post: { requestBody: { content: Record<string, { schema: { properties: object } }> } } }>;
    };
    const list = (minItems: number) => ({ type: 'array', items: { type: 'number' }, minItems, maxItems: 1_000_000 });
    expect(paths['/calibrate_ng']?.post.requestBody.content['application/json']?.schema.properties).toMatchObject({
      ok_scores: list(1),
      ng_scores: { anyOf: [list(0), { type: 'null' }] },
    });
  });

  it('serves its page without the internet', async () => {
    const page = await (await okng.app.request('/docs')).text();
    expect(page).not.toMatch(/https?:\/\//);
    for (const [, asset] of page.matchAll(/(?:src|href)="([^"]+)"/g)) {
      const response = await okng.app.request(asset as string);
      expect(response.status, asset).toBe(200);
      expect((await response.arrayBuffer()).byteLength, asset).toBeGreaterThan(50);
    }
    expect((await okng.app.request('/docs/../package.json')).status).toBe(404);
  });
});
