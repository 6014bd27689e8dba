import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ClientOptions, createClient, OkngError } from '../../src/client/client.ts';

/** What the client does where the service does not answer as it should. Waiting is by fake clock, except over sockets. */

type Answer = Response | Error;

const refused = () =>
  new TypeError('fetch failed', { cause: Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }) });
const lost = () =>
  new TypeError('fetch failed', { cause: Object.assign(new Error('other side closed'), { code: 'UND_ERR_SOCKET' }) });
const problem = (status: number, code: string, headers: Record<string, string> = {}) =>
  Response.json({ code, error: `It is ${code}.`, request_id: 'r' }, { status, headers });
const health = () => Response.json({ status: 'ok', request_id: 'r' });

/** A client whose service answers with these, one after the other. */
function scripted(answers: readonly (() => Answer)[], options: Partial<ClientOptions> = {}) {
  const asked: RequestInit[] = [];
  const client = createClient({
    url: 'http://okng',
    fetch: async (_, init) => {
      const answer = (answers[asked.length] ?? (answers.at(-1) as () => Answer))();
      asked.push(init);
      if (answer instanceof Error) throw answer;
      return answer;
    },
    ...options,
  });
  return { client, asked };
}

/** Lets all the waiting pass. */
async function outcomeOf(asked: Promise<unknown>): Promise<unknown> {
  const outcome = asked.catch((error: unknown) => error);
  await vi.runAllTimersAsync();
  return await outcome;
}

const model = { role_id: 'r', roi_id: 'o' };
const picture = { name: 'a.png', bytes: new Uint8Array([1]) };
const inferFields = { ...model, mm_per_px: 1, image: picture };
const scores = { ...model, ok_scores: [1] };

describe('asks again', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each([
    ['nobody listens', refused],
    ['the connection is lost', lost],
    ['the queue is full', () => problem(429, 'queue_full')],
    ['the service is not ready', () => problem(503, 'not_ready')],
    ['a proxy finds no service', () => new Response('<h1>Bad Gateway</h1>', { status: 502 })],
  ])('what only reads, when %s, three times at most', async (_, failure) => {
    const passing = scripted([failure, failure, failure, health]);
    expect(await outcomeOf(passing.client.health())).toMatchObject({ status: 'ok' });
    const lasting = scripted([failure]);
    expect(await outcomeOf(lasting.client.health())).toBeInstanceOf(OkngError);
    expect(lasting.asked).toHaveLength(4);
    const impatient = scripted([failure], { retries: 0 });
    await outcomeOf(impatient.client.health());
    expect(impatient.asked).toHaveLength(1);
  });

  it.each([
    ['the connection is lost', lost],
    ['a proxy finds no service', () => new Response('', { status: 502 })],
  ])('nothing that would be done twice, when %s', async (_, failure) => {
    for (const method of ['infer', 'calibrateNg', 'uploadOk', 'remove', 'correct'] as const) {
      const { client, asked } = scripted([failure, health]);
      const work = {
        infer: () => client.infer(inferFields),
        calibrateNg: () => client.calibrateNg(scores),
        uploadOk: () => client.datasets.uploadOk({ ...model, images: [picture] }),
        remove: () => client.datasets.remove({ ...model, label: 'ok', filename: 'a.png' }),
        correct: () => client.recipes.correct('line1', { mm_per_px: 1 }),
      }[method];
      expect(await outcomeOf(work()), method).toBeInstanceOf(OkngError);
      expect(asked, method).toHaveLength(1);
    }
  });

  it.each([
    ['nobody listens', refused],
    ['the queue is full', () => problem(429, 'queue_full')],
  ])('what was not begun, when %s', async (_, failure) => {
    const { client, asked } = scripted([failure, health]);
    expect(await outcomeOf(client.infer(inferFields))).toMatchObject({ status: 'ok' });
    expect(asked).toHaveLength(2);
  });

  it('long work under the key it had, so that it is done once', async () => {
    const busy = () => problem(409, 'request_in_progress', { 'Retry-After': '1' });
    const { client, asked } = scripted([lost, busy, () => Response.json({ id: 'job', request_id: 'r' })]);
    await outcomeOf(client.jobs.fit({ ...model, mm_per_px: 1, images: [picture] }));
    const keys = asked.map(({ headers }) => new Headers(headers).get('idempotency-key'));
    expect(keys).toEqual([keys[0], keys[0], keys[0]]);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    const others = scripted([health]);
    await outcomeOf(others.client.fit({ ...model, mm_per_px: 1 }));
    expect(new Headers(others.asked[0]?.headers).get('idempotency-key')).not.toBe(keys[0]);
  });

  it('not what is refused for good', async () => {
    for (const [status, code] of [
      [400, 'memory_not_fitted'],
      [409, 'mm_per_px_conflict'],
      [500, 'internal_error'],
      [503, 'damaged_file'],
    ] as const) {
      const { client, asked } = scripted([() => problem(status, code, { 'Retry-After': '1' })]);
      expect(await outcomeOf(client.health())).toMatchObject({ code, status, requestId: 'r', retryAfterMs: 1000 });
      expect(asked).toHaveLength(1);
    }
  });

  it('after the time that the service names, at most half a minute; else after ever longer ones', async () => {
    const start = Date.now();
    const times: number[] = [];
    const answers = [
      () => problem(429, 'queue_full', { 'Retry-After': '7' }),
      () => problem(429, 'queue_full', { 'Retry-After': '86400' }),
      refused,
      health,
    ];
    const { client } = scripted(
      answers.map((answer) => () => {
        times.push(Date.now() - start);
        return answer();
      }),
    );
    await outcomeOf(client.health());
    expect(times).toEqual([0, 7000, 37_000, 38_000]);
  });

  it('not when the caller has left meanwhile, and throws the reason of the leaving', async () => {
    const leave = new AbortController();
    const { client, asked } = scripted([refused]);
    const answer = client.health({ signal: leave.signal }).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(100);
    leave.abort(new Error('end of shift'));
    expect(await answer).toMatchObject({ message: 'end of shift' });
    expect(asked).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('not after a whole timeout: the next try would take as long', async () => {
    let tries = 0;
    const client = createClient({
      url: 'http://okng/base',
      fetch: (_, { signal }) => {
        tries++;
        return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('aborted'))));
      },
    });
    expect(await outcomeOf(client.health({ timeoutMs: 1500 }))).toMatchObject({
      code: 'timeout',
      status: null,
      message: expect.stringMatching(
        /^GET http:\/\/okng\/base\/health was not answered within 1.5 s; give it more time/,
      ),
    });
    const start = Date.now();
    await outcomeOf(client.infer(inferFields));
    expect(Date.now() - start).toBe(120_000);
    await outcomeOf(client.inferDataset(model));
    expect(Date.now() - start).toBe(420_000);
    expect(tries).toBe(3);
  });
});

describe('says what is wrong', () => {
  it.each([
    [
      'a page',
      () => new Response('<html>', { headers: { 'Content-Type': 'text/html' } }),
      /answered by <html> \(text\/html\)/,
    ],
    ['an empty answer', () => new Response(''), /answered by nothing/],
    ["another service's JSON", () => Response.json({ hello: 1 }), /answered by \{"hello":1\}/],
    [
      "another service's refusal",
      () => Response.json({ message: 'no' }, { status: 404 }),
      /answered by the status 404/,
    ],
  ])('with %s in place of an answer', async (_, answer, sentence) => {
    const { client } = scripted([answer]);
    await expect(client.health()).rejects.toMatchObject({
      code: 'not_okng',
      requestId: null,
      message: expect.stringMatching(sentence),
    });
    await expect(client.health()).rejects.toThrow('GET http://okng/health');
    await expect(client.health()).rejects.toThrow('is this the address of an okng service?');
  });

  it('with a picture that is none', async () => {
    const { client } = scripted([() => Response.json({ request_id: 'r' })]);
    const asked = client.datasets.file({ ...model, label: 'ok', filename: 'a.png' });
    await expect(asked).rejects.toMatchObject({ code: 'not_okng' });
  });

  it.each(['localhost:8000', '127.0.0.1', 'ftp://okng', ''])('with the address %j', (url) => {
    expect(() => createClient({ url })).toThrow(
      expect.objectContaining({ code: 'invalid_url', message: expect.stringContaining('like http://127.0.0.1:8000') }),
    );
  });
});

it('sends its recipe and its key with every request', async () => {
  const { client, asked } = scripted([health], { recipe: 'line1', apiKey: 'secret' });
  await client.health();
  await client.infer(inferFields);
  for (const { headers } of asked) {
    expect(Object.fromEntries(new Headers(headers))).toMatchObject({
      'x-recipe-id': 'line1',
      authorization: 'Bearer secret',
    });
  }
});

describe('over a real socket', () => {
  async function withServer(listener: RequestListener, work: (url: string) => Promise<void>) {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  it('names the address where nobody listens', async () => {
    let address = '';
    await withServer(
      () => undefined,
      async (url) => {
        address = url;
      },
    );
    const { message, code } = (await createClient({ url: address, retries: 0 })
      .health()
      .catch((error: unknown) => error)) as OkngError;
    expect(code).toBe('unreachable');
    expect(message).toBe(
      `${address} does not answer (connection refused); is okng running there (okng serve), and is the address right?`,
    );
  });

  it('takes an answer that breaks off for a lost one, and asks again', async () => {
    let requests = 0;
    await withServer(
      (_, response) => {
        requests++;
        const body = JSON.stringify({ status: 'ok', request_id: 'r' });
        response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
        if (requests > 1) response.end(body);
        else response.write(body.slice(0, 5), () => response.destroy());
      },
      async (url) => {
        expect(await createClient({ url }).health()).toMatchObject({ status: 'ok' });
        expect(requests).toBe(2);
      },
    );
  });

  it('hangs up when the caller leaves', async () => {
    const leave = new AbortController();
    let hungUp: Promise<void> = Promise.reject(new Error('not asked'));
    hungUp.catch(() => undefined);
    await withServer(
      (request) => {
        hungUp = new Promise((resolve) => request.socket.once('close', () => resolve()));
        leave.abort();
      },
      async (url) => {
        const asked = createClient({ url, signal: leave.signal }).health();
        await expect(asked).rejects.toMatchObject({ name: 'AbortError' });
        await hungUp;
      },
    );
  });
});
