import { expect, it } from 'vitest';
import { type Client, createClient } from '../../src/client/client.ts';
import { openApiDocument } from '../../src/http/openapi.ts';

/** The client against the document of the service: what one has and the other has not fails here. */

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, unknown>>;
}

interface Operation {
  readonly parameters: readonly { readonly name: string; readonly in: 'path' | 'query' | 'header' }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}

const { paths } = openApiDocument('0.0.0') as { paths: Record<string, Record<string, Operation>> };
const operations: ReadonlyMap<string, Operation> = new Map(
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation]),
  ),
);

/** A value for everything that the document names, by name. */
interface Given {
  readonly path: Readonly<Record<string, string>>;
  readonly query: never;
  readonly body: never;
}

type Call = (client: Client, given: Given) => Promise<unknown>;

/** Every operation's methods; each must ask for just what the document says. */
const methods: Readonly<Record<string, readonly Call[]>> = {
  'GET /health': [(client) => client.health()],
  'GET /livez': [(client) => client.livez()],
  'GET /readyz': [(client) => client.readyz()],
  'POST /fit_ok': [(client, { body }) => client.fit(body), (client, { body }) => client.jobs.fit(body)],
  'POST /calibrate_ng': [(client, { body }) => client.calibrateNg(body)],
  'POST /infer': [
    (client, { body }) => client.infer(body, { deadlineMs: 100 }),
    (client, { body }) => client.inferAll(body, { deadlineMs: 100 }),
  ],
  'GET /models': [(client) => client.models.list()],
  'GET /models/{role_id}/{roi_id}/generations': [
    (client, { path, query }) => client.models.generations({ ...path, ...(query as object) } as never),
  ],
  'POST /models/{role_id}/{roi_id}/rollback': [(client, { path, body }) => client.models.rollBack(path as never, body)],
  'GET /models/{role_id}/{roi_id}/health': [
    (client, { path, query }) => client.modelHealth({ ...path, ...(query as object) } as never),
  ],
  'GET /state': [(client, { query }) => client.state(query)],
  'GET /manifest': [(client, { query }) => client.manifest(query)],
  'POST /datasets/ok/upload': [(client, { body }) => client.datasets.uploadOk(body)],
  'POST /datasets/ng/upload': [(client, { body }) => client.datasets.uploadNg(body)],
  'GET /datasets/list': [(client, { query }) => client.datasets.list(query)],
  'GET /datasets/file': [(client, { query }) => client.datasets.file(query)],
  'DELETE /datasets/file': [(client, { query }) => client.datasets.remove(query)],
  'GET /datasets/meta': [(client, { query }) => client.datasets.meta(query)],
  'GET /datasets/thumbnail': [(client, { query }) => client.datasets.thumbnail(query)],
  'DELETE /datasets/clear': [(client, { query }) => client.datasets.clear(query)],
  'POST /datasets/review': [(client, { body }) => client.datasets.review(body)],
  'POST /calibrate_dataset': [
    (client, { body }) => client.calibrateDataset(body),
    (client, { body }) => client.jobs.calibrateDataset(body),
  ],
  'POST /infer_dataset': [
    (client, { body }) => client.inferDataset(body),
    (client, { body }) => client.jobs.inferDataset(body),
  ],
  'GET /recipes': [(client) => client.recipes.list()],
  'GET /recipes/{id}': [(client, { path }) => client.recipes.get(path.id as string)],
  'PUT /recipes/{id}': [(client, { path, body }) => client.recipes.correct(path.id as string, body)],
  'DELETE /recipes/{id}': [(client, { path, query }) => client.recipes.remove(path.id as string, query)],
  'GET /jobs': [(client, { query }) => client.jobs.list(query)],
  'GET /jobs/{id}': [(client, { path }) => client.jobs.get(path.id as string)],
  'DELETE /jobs/{id}': [(client, { path }) => client.jobs.cancel(path.id as string)],
  'GET /jobs/{id}/events': [
    async (client, { path }) => {
      for await (const _ of client.jobs.follow(path.id as string));
    },
  ],
};

it('has a method for every operation of the document, and for nothing else', () => {
  expect(Object.keys(methods).sort()).toEqual([...operations.keys()].sort());
});

it('has no method that belongs to no operation', async () => {
  let asked = '';
  const { client, called } = noting(createClient({ url: 'http://okng', fetch: async () => answerTo(asked) }));
  for (const [name, calls] of Object.entries(methods)) {
    asked = name;
    for (const call of calls) await call(client, givenFor(name));
  }
  expect([...called].sort()).toEqual(functionsIn(client).sort());
});

it.each([...operations.keys()])('%s is asked for with what the document names, by every method', async (name) => {
  const operation = operations.get(name) as Operation;
  const given = givenFor(name);
  const filled = Object.entries(given.path).reduce(
    (path, [key, value]) => path.replace(`{${key}}`, encodeURIComponent(value)),
    name.replace(' /', ' /behind/a/proxy/'),
  );
  const known = [...parametersIn(operation, 'header'), 'Content-Type'].map((header) => header.toLowerCase());
  for (const call of methods[name] ?? []) {
    const asked: { readonly url: URL; readonly init: RequestInit }[] = [];
    const client = createClient({
      url: 'http://okng/behind/a/proxy/',
      fetch: async (url, init) => {
        asked.push({ url: new URL(url), init });
        return answerTo(name);
      },
    });
    await call(client, given);
    expect(asked).toHaveLength(1);
    const [{ url, init }] = asked as [(typeof asked)[0]];
    expect(`${init.method} ${url.pathname}`).toBe(filled);
    expect([...url.searchParams.keys()].sort()).toEqual(parametersIn(operation, 'query').sort());
    expect(fieldsSent(init.body).sort()).toEqual(fieldsOf(operation).sort());
    const headers = new Headers(init.headers);
    expect(known).toEqual(expect.arrayContaining([...headers.keys()]));
    expect(headers.has('idempotency-key')).toBe(known.includes('idempotency-key'));
  }
});

it('sends long work as a job only where a job is asked for', async () => {
  const preferred: (string | null)[] = [];
  const client = createClient({
    url: 'http://okng',
    fetch: async (_, init) => {
      preferred.push(new Headers(init.headers).get('prefer'));
      return answerTo('POST /fit_ok');
    },
  });
  for (const name of ['POST /fit_ok', 'POST /calibrate_dataset', 'POST /infer_dataset']) {
    for (const call of methods[name] as readonly Call[]) await call(client, givenFor(name));
  }
  expect(preferred).toEqual([null, 'respond-async', null, 'respond-async', null, 'respond-async']);
});

function parametersIn({ parameters }: Operation, where: 'path' | 'query' | 'header'): string[] {
  return parameters.filter((parameter) => parameter.in === where).map((parameter) => parameter.name);
}

function fieldsOf({ requestBody }: Operation): string[] {
  return Object.values(requestBody?.content ?? {}).flatMap(({ schema }) => Object.keys(schema.properties ?? {}));
}

function givenFor(name: string): Given {
  const operation = operations.get(name) as Operation;
  const textFor = (names: readonly string[]) => Object.fromEntries(names.map((one) => [one, `a ${one}/with signs`]));
  const picture = { name: 'part.png', bytes: new Uint8Array([1]) };
  const lists: Record<string, unknown> = { images: [picture, picture], image: picture, metas: [{ a: 1 }, { a: 2 }] };
  return {
    path: textFor(parametersIn(operation, 'path')),
    query: textFor(parametersIn(operation, 'query')) as never,
    body: Object.fromEntries(fieldsOf(operation).map((one) => [one, lists[one] ?? `a ${one}`])) as never,
  };
}

function fieldsSent(body: RequestInit['body']): string[] {
  if (body instanceof FormData) return [...new Set(body.keys())];
  return typeof body === 'string' ? Object.keys(JSON.parse(body) as object) : [];
}

/** An answer of the kind that the document promises. */
function answerTo(name: string): Response {
  const { responses } = operations.get(name) as Operation;
  const [type] = Object.keys(responses['200']?.content ?? {});
  if (type === 'text/event-stream') return new Response(null, { status: 204 });
  if (type === 'image/*') return new Response('picture', { headers: { 'Content-Type': 'image/png' } });
  return Response.json({ id: 'job', request_id: 'r' });
}

/** The client with its calls written down, by the path to the method. */
function noting(client: Client) {
  const called = new Set<string>();
  const wrapped = (part: object, prefix: string): object =>
    Object.fromEntries(
      Object.entries(part).map(([name, member]) => [
        name,
        typeof member === 'function'
          ? (...args: unknown[]) => {
              called.add(prefix + name);
              return member(...args);
            }
          : wrapped(member, `${prefix}${name}.`),
      ]),
    );
  return { client: wrapped(client, '') as Client, called };
}

function functionsIn(part: object, prefix = ''): string[] {
  return Object.entries(part).flatMap(([name, member]) =>
    typeof member === 'function' ? [prefix + name] : functionsIn(member, `${prefix}${name}.`),
  );
}
