import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
    const cuda = await startTestApp({ DEVICE: 'cuda' });
    const { body } = await answer(await cuda.app.request('/health'));
    expect(body).toMatchObject({ device: 'cpu', reason: expect.stringContaining('cuda') });
    await cuda.close();
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

  it('are made when absent, or when they cannot be echoed', async () => {
    for (const headers of [{}, { 'X-Request-Id': 'x'.repeat(201) }]) {
      const { headers: sent, body } = await answer(await okng.app.request('/health', { headers }));
      expect(body.request_id).toMatch(uuid);
      expect(sent.get('x-request-id')).toBe(body.request_id);
    }
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
    const app = createApp({ service: broken, config: { maxBodyBytes: 1, queueLimit: 1, corsOrigins: [] }, log });
    const { status, body } = await answer(await app.request('/health'));
    expect(status).toBe(500);
    expect(JSON.stringify(body)).not.toContain('secret');
    expect(body).toMatchObject({ code: 'internal_error' });
    expect(lines.join('')).toContain('secret /etc/path');
  });
});

describe('OPTIONS and HEAD', () => {
  it('answer on every endpoint, and 404 elsewhere: the GUI probes support that way', async () => {
    for (const path of ['/health', '/fit_ok', '/calibrate_ng', '/infer']) {
      expect((await okng.app.request(path, { method: 'OPTIONS' })).status, path).toBe(204);
    }
    expect((await okng.app.request('/datasets/list', { method: 'OPTIONS' })).status).toBe(404);
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
    expect(Object.keys(document.paths)).toEqual(['/health', '/livez', '/readyz', '/fit_ok', '/calibrate_ng', '/infer']);
    const infer = document.paths['/infer']?.post?.requestBody?.content['multipart/form-data']?.schema.required;
    expect(infer).toEqual(expect.arrayContaining(['role_id', 'roi_id', 'mm_per_px', 'image']));
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
