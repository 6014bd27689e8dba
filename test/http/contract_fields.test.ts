import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { partPictures } from '../parts.ts';
import { answer, type JsonAnswer, startTestApp, type TestApp } from './test_app.ts';

/** What the endpoints of the wire contract require, and how each of them tells that it did not get it. */

let okng: TestApp;
beforeAll(async () => {
  okng = await startTestApp();
});
afterAll(() => okng.close());

const [part] = partPictures('train/good') as [{ name: string; bytes: Uint8Array }];
const picture = new File([part.bytes as Uint8Array<ArrayBuffer>], part.name);

type Fields = Readonly<Record<string, unknown>>;

interface Endpoint {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly reads: 'form' | 'json' | 'query';
  readonly required: Fields;
  /** The picture that a request needs to be whole. */
  readonly picture?: 'image' | 'images';
}

const ids = { role_id: 'flange', roi_id: 'top' };
const sample = { ...ids, label: 'ok', filename: 'a.png' };
const endpoints: readonly Endpoint[] = [
  { method: 'POST', path: '/fit_ok', reads: 'form', required: { ...ids, mm_per_px: '0.1' } },
  { method: 'POST', path: '/infer', reads: 'form', required: { ...ids, mm_per_px: '0.1' }, picture: 'image' },
  { method: 'POST', path: '/calibrate_ng', reads: 'json', required: { ...ids, ok_scores: [1] } },
  { method: 'GET', path: '/state', reads: 'query', required: ids },
  { method: 'GET', path: '/manifest', reads: 'query', required: ids },
  { method: 'POST', path: '/datasets/ok/upload', reads: 'form', required: ids },
  { method: 'POST', path: '/datasets/ng/upload', reads: 'form', required: ids },
  { method: 'GET', path: '/datasets/list', reads: 'query', required: ids },
  { method: 'GET', path: '/datasets/file', reads: 'query', required: sample },
  { method: 'GET', path: '/datasets/meta', reads: 'query', required: sample },
  { method: 'DELETE', path: '/datasets/file', reads: 'query', required: sample },
  { method: 'DELETE', path: '/datasets/clear', reads: 'query', required: { ...ids, label: 'ok' } },
  { method: 'POST', path: '/calibrate_dataset', reads: 'json', required: ids },
  { method: 'POST', path: '/infer_dataset', reads: 'json', required: ids },
];

async function ask({ method, path, reads, picture: field }: Endpoint, fields: Fields): Promise<JsonAnswer> {
  const texts = Object.entries(fields).map(([name, value]) => [name, String(value)] as [string, string]);
  if (reads === 'query') return answer(await okng.app.request(`${path}?${new URLSearchParams(texts)}`, { method }));
  if (reads === 'json') return answer(await okng.app.request(path, { method, body: JSON.stringify(fields) }));
  const body = new FormData();
  for (const [name, value] of texts) body.append(name, value);
  if (field !== undefined) body.append(field, picture);
  return answer(await okng.app.request(path, { method, body }));
}

/** Asks in vain: nothing on disk may change. */
async function refusal(endpoint: Endpoint, fields: Fields) {
  const before = okng.files();
  const { status, body } = await ask(endpoint, fields);
  expect(okng.files()).toEqual(before);
  return { status, code: body.code, error: String(body.error) };
}

const named = (of: (endpoint: Endpoint) => boolean = () => true) =>
  endpoints.filter(of).map((endpoint) => [`${endpoint.method} ${endpoint.path}`, endpoint] as const);

describe.each(named())('%s', (_, endpoint) => {
  const { method, path, required } = endpoint;

  it('is 422 without a field that it requires, and names it', async () => {
    for (const field of Object.keys(required)) {
      const { [field]: _absent, ...others } = required;
      const error = `The field ${field} is missing.`;
      expect(await refusal(endpoint, others)).toEqual({ status: 422, code: 'missing_field', error });
    }
  });

  it('is 400 for an id without characters or with more than 200, and takes 200 of any script', async () => {
    for (const field of Object.keys(ids)) {
      for (const id of ['', '検'.repeat(201)]) {
        expect(await refusal(endpoint, { ...required, [field]: id })).toEqual({
          status: 400,
          code: 'invalid_value',
          error: expect.stringMatching(`^${field} (must not be empty|has 201 characters; at most 200)`),
        });
      }
      const { body } = await ask(endpoint, { ...required, [field]: '検😀'.repeat(100) });
      expect(body.code).not.toBe('invalid_value');
    }
  });

  it('is 405 for another method, and OPTIONS tells which there are', async () => {
    const options = await okng.app.request(path, { method: 'OPTIONS' });
    expect(options.status).toBe(204);
    expect(options.headers.get('allow')).toContain(method);
    const { status, headers, body } = await answer(await okng.app.request(path, { method: 'PATCH' }));
    expect([status, body.code]).toEqual([405, 'method_not_allowed']);
    expect(headers.get('allow')).toBe(options.headers.get('allow'));
  });
});

it.each(named(({ reads }) => reads === 'json'))(
  '%s is 422 for a member of another type, and names it',
  async (_, endpoint) => {
    for (const field of [...Object.keys(endpoint.required), 'recipe_id', 'model_key']) {
      expect(await refusal(endpoint, { ...endpoint.required, [field]: { a: 1 } })).toEqual({
        status: 422,
        code: 'invalid_type',
        error: expect.stringContaining(field),
      });
    }
  },
);

it.each(named(({ required }) => 'mm_per_px' in required))(
  '%s is 400 for a scale that is not finite or not above 0, 422 for text that is no number',
  async (_, endpoint) => {
    const statuses: number[] = [];
    for (const scale of ['0', '-0.1', 'NaN', 'Infinity', '-inf', '1e999', 'abc', '0,1']) {
      const { status, error } = await refusal(endpoint, { ...endpoint.required, mm_per_px: scale });
      expect(error).toContain('mm_per_px');
      statuses.push(status);
    }
    expect(statuses).toEqual([400, 400, 400, 400, 400, 400, 422, 422]);
  },
);
