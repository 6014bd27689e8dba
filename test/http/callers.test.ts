import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { createApp } from '../../src/http/app.ts';
import { isLoopback } from '../../src/http/callers.ts';
import { problemBody } from '../../src/http/responses.ts';
import { answer, startTestApp, type TestApp } from './test_app.ts';

const key = 'a-key-of-the-gui-0123';
const otherKey = 'another-key-4567:89ab';
const log: string[] = [];
const logger = pino({ level: 'trace' }, { write: (line: string) => log.push(line) });

let okng: TestApp;

beforeAll(async () => {
  okng = await startTestApp(
    { BDI_API_KEYS: `gui:${key},line:${otherKey}`, BDI_CORS_ORIGINS: 'http://gui.example' },
    { log: logger },
  );
});

afterAll(() => okng.close());

/** The same service with other settings. */
function appWith(environment: Readonly<Record<string, string>>) {
  return createApp({ service: okng.service, config: loadConfig(environment), log: pino({ level: 'silent' }) });
}

describe('a service with keys', () => {
  const recipes = (headers: Readonly<Record<string, string>>, path = '/recipes') => okng.app.request(path, { headers });

  it.each([
    ['Authorization: Bearer', { Authorization: `Bearer ${key}` }, 'gui'],
    ['bearer, with blanks', { Authorization: `bearer  ${key} ` }, 'gui'],
    ['X-API-Key', { 'X-API-Key': ` ${otherKey} ` }, 'line'],
    ["X-API-Key beside a proxy's own login", { Authorization: 'Basic dTpw', 'X-API-Key': key }, 'gui'],
  ])('lets in whoever brings one, and logs the name: %s', async (_, headers, name) => {
    log.length = 0;
    expect((await recipes(headers)).status).toBe(200);
    expect(log.map((line) => JSON.parse(line)).find(({ msg }) => msg === 'request')).toMatchObject({ caller: name });
  });

  it.each([
    ['no key', {}, /brings no API key/],
    ['another key', { 'X-API-Key': 'a-key-of-nobody-0123' }, /is not known here/],
    ['the beginning of a key', { 'X-API-Key': key.slice(0, -1) }, /is not known here/],
    ['more than a key', { Authorization: `Bearer ${key}x` }, /is not known here/],
    ['a key in another case', { 'X-API-Key': key.toUpperCase() }, /is not known here/],
    ['a key under another scheme', { Authorization: `Basic ${key}` }, /brings no API key/],
    ['a name as a key', { 'X-API-Key': 'gui' }, /is not known here/],
    ['a key with its name', { 'X-API-Key': `gui:${key}` }, /is not known here/],
    ['a wrong bearer beside a good X-API-Key', { Authorization: 'Bearer x', 'X-API-Key': key }, /is not known/],
  ])('turns away %s', async (_, headers, text) => {
    const { status, headers: sent, body } = await answer(await recipes({ ...headers, 'X-Request-Id': 'shot 9' }));
    expect(status).toBe(401);
    expect(sent.get('www-authenticate')).toMatch(/^Bearer realm=/);
    expect(sent.get('content-type')).toContain('application/problem+json');
    expect(problemBody.parse(body)).toMatchObject({ code: 'unauthorized', request_id: 'shot 9' });
    expect(body.error).toMatch(text);
  });

  it('asks for a key at every path that is not open, and takes none from the query', async () => {
    for (const path of ['/jobs', '/datasets/list', '/nowhere', `/recipes?api_key=${key}`, '/docs/../recipes'])
      expect((await recipes({}, path)).status, path).toBe(401);
    for (const method of ['POST', 'PUT', 'DELETE'])
      expect((await okng.app.request('/health', { method })).status, method).toBe(405);
    expect((await okng.app.request('/infer', { method: 'POST', body: 'x' })).status).toBe(401);
  });

  it.each(['/health', '/livez', '/docs', '/docs/start.js', '/openapi.json'])('answers everybody: %s', async (path) => {
    expect((await recipes({}, path)).status).toBe(200);
    expect((await okng.app.request(path, { method: 'HEAD' })).status).toBe(200);
  });

  it('tells everybody whether it is ready, and which methods a path answers', async () => {
    expect((await answer(await recipes({}, '/readyz'))).body).toMatchObject({ status: 'not_ready' });
    expect((await okng.app.request('/infer', { method: 'OPTIONS' })).status).toBe(204);
  });

  it('lets a page of a listed origin send its key, and read why it was turned away', async () => {
    const origin = { Origin: 'http://gui.example' };
    const asked = { 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'x-api-key' };
    const preflight = await okng.app.request('/infer', { method: 'OPTIONS', headers: { ...origin, ...asked } });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toMatch(/Authorization, X-API-Key/);
    const refused = await recipes(origin);
    expect(refused.status).toBe(401);
    expect(refused.headers.get('access-control-allow-origin')).toBe('http://gui.example');
  });

  it('needs no word on origins and names: a page that does not know the key gets nowhere', async () => {
    const headers = { Origin: 'http://evil.example', 'X-API-Key': key };
    const { status } = await okng.app.request('http://evil.example/recipes/x', { method: 'DELETE', headers });
    expect(status).toBe(404);
  });

  it('writes no key into its log, known or not, wherever it stood', async () => {
    log.length = 0;
    const wrong = 'a-wrong-key-0123456789';
    for (const secret of [key, wrong]) {
      await recipes({ Authorization: `Bearer ${secret}`, 'X-API-Key': secret, Cookie: `key=${secret}` });
      await recipes({ Authorization: secret }, `/recipes?api_key=${secret}`);
      await recipes({ 'X-API-Key': secret }, `/health?recipe_id=last&key=${secret}`);
      await okng.app.request('/infer', { method: 'POST', headers: { 'X-API-Key': secret }, body: 'x' });
    }
    expect(log.length).toBeGreaterThan(8);
    expect(log.join('')).not.toContain(key);
    expect(log.join('')).not.toContain(wrong);
  });
});

describe('a service without keys', () => {
  const change = (
    url: string,
    headers: Readonly<Record<string, string>>,
    environment: Readonly<Record<string, string>> = {},
    method = 'DELETE',
  ) => appWith(environment).request(url, { method, headers });
  const local = 'http://127.0.0.1:8000/recipes/none';

  it.each([
    ['a client that is no browser', local, {}],
    ['its own page', local, { Origin: 'http://127.0.0.1:8000' }],
    ['its own page by name', 'http://localhost:8000/recipes/none', { Origin: 'http://localhost:8000' }],
    ['its own page by the name of a machine', 'http://linepc7:8000/recipes/none', { Origin: 'http://linepc7:8000' }],
    ['its own page behind TLS', 'http://[::1]:8000/recipes/none', { Origin: 'https://[::1]:8000' }],
  ])('is changed by %s', async (_, url, headers) => {
    expect((await change(url, headers)).status).toBe(404);
  });

  it.each([
    ['another site', local, { Origin: 'http://evil.example' }],
    ['another service on this machine', local, { Origin: 'http://127.0.0.1:3000' }],
    ['a page without an origin', local, { Origin: 'null' }],
    ['a page whose name was turned to this machine', 'http://evil.example:8000/recipes/none', {}],
    ['the same, telling its origin', 'http://evil.example:8000/recipes/none', { Origin: 'http://evil.example:8000' }],
  ])('is not changed by %s', async (_, url, headers) => {
    for (const method of ['POST', 'PUT', 'DELETE']) {
      const { status, body } = await answer(await change(url, headers, {}, method));
      expect({ status, code: problemBody.parse(body).code }).toEqual({ status: 403, code: 'foreign_origin' });
    }
  });

  it('is changed and called by what is listed', async () => {
    const headers = { Origin: 'http://evil.example:8000' };
    for (const listed of ['http://evil.example:8000', '*']) {
      const environment = { BDI_CORS_ORIGINS: listed };
      expect((await change(local, headers, environment)).status).toBe(404);
      expect((await change('http://evil.example:8000/recipes/none', {}, environment)).status).toBe(404);
    }
  });

  it('on loopback is not read by a foreign name either, but tells that it is there', async () => {
    const read = (host: string, path: string) => appWith({ BDI_BACKEND_HOST: host }).request(path);
    expect((await read('127.0.0.1', 'http://evil.example/recipes')).status).toBe(403);
    expect((await read('127.0.0.1', 'http://evil.example/health')).status).toBe(200);
    expect((await read('127.0.0.1', 'http://127.0.0.1/recipes')).status).toBe(200);
  });

  it('on an address of the plant goes by any name, but its pages must be listed or of an address', async () => {
    const everywhere = { BDI_BACKEND_HOST: '0.0.0.0' };
    const byName = 'http://okng.plant.example:8000/recipes/none';
    expect((await change(byName, {}, everywhere)).status).toBe(404);
    expect((await change(byName, { Origin: 'http://okng.plant.example:8000' }, everywhere)).status).toBe(403);
    const named = { BDI_BACKEND_HOST: 'okng.plant.example' };
    expect((await change(byName, { Origin: 'http://okng.plant.example:8000' }, named)).status).toBe(404);
    const byAddress = 'http://10.1.2.3:8000/recipes/none';
    expect((await change(byAddress, { Origin: 'http://10.1.2.3:8000' }, everywhere)).status).toBe(404);
  });

  it('listens on loopback unless told otherwise', () => {
    expect(isLoopback(loadConfig({}).host)).toBe(true);
    for (const host of ['localhost', '::1', '127.9.9.9']) expect(isLoopback(host), host).toBe(true);
    for (const host of ['0.0.0.0', '::', '127.0.0.1.evil.example', '10.0.0.1'])
      expect(isLoopback(host), host).toBe(false);
  });
});

it('a closed service answers no preflight of a page', async () => {
  const headers = { Origin: 'http://evil.example', 'Access-Control-Request-Method': 'DELETE' };
  const preflight = await appWith({}).request('http://127.0.0.1/recipes/x', { method: 'OPTIONS', headers });
  expect([...preflight.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
});
