import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createClient, type Job } from '../../src/client/client.ts';

/** Following a job where connections are cut and where somebody on the way does not let the events through. */

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const job = (state: Job['state'], done: number) => ({
  id: 'j1',
  state,
  step: 'pictures',
  done,
  total: 9,
  request_id: 'r',
});
const progress = (version: number, done: number) =>
  `event: progress\nid: ${version}\ndata: ${JSON.stringify(job('running', done))}\n\n`;
const end = `event: end\nid: end\ndata: ${JSON.stringify(job('succeeded', 9))}\n\n`;

interface Stream {
  readonly response: Response;
  cancelled: boolean;
}

/** Events as they come over the network, in pieces that know nothing of events; then it is cut, stays open, or ends. */
function streamOf(pieces: readonly string[], then: 'ends' | 'is cut' | 'stays open' = 'ends'): Stream {
  const encoder = new TextEncoder();
  const left = [...pieces];
  const stream: { cancelled: boolean; response: Response } = {
    cancelled: false,
    response: new Response(
      new ReadableStream({
        pull: (controller) => {
          const piece = left.shift();
          if (piece !== undefined) controller.enqueue(encoder.encode(piece));
          else if (then === 'ends') controller.close();
          else if (then === 'is cut') controller.error(new TypeError('terminated'));
          else return new Promise(() => undefined);
        },
        cancel: () => {
          stream.cancelled = true;
        },
      }),
      { headers: { 'Content-Type': 'text/event-stream; charset=utf-8' } },
    ),
  };
  return stream;
}

function following(answers: readonly (() => Response)[], signal?: AbortSignal) {
  const asked: { readonly path: string; readonly lastEventId: string | null; readonly atMs: number }[] = [];
  const start = Date.now();
  const client = createClient({
    url: 'http://okng',
    fetch: async (url, { headers }) => {
      const lastEventId = new Headers(headers).get('last-event-id');
      asked.push({ path: new URL(url).pathname, lastEventId, atMs: Date.now() - start });
      return (answers[asked.length - 1] as () => Response)();
    },
  });
  return { asked, jobs: client.jobs.follow('j1', { ...(signal && { signal }) }) };
}

async function doneOf(jobs: AsyncIterable<Job>): Promise<unknown[]> {
  const seen: unknown[] = [];
  const reading = (async () => {
    for await (const { state, done } of jobs) seen.push([state, done]);
  })().catch((error: unknown) => seen.push(error));
  await vi.runAllTimersAsync();
  await reading;
  return seen;
}

it('gives every change and the end, however the network cuts the text', async () => {
  const text = `retry: 2000\n\n${progress(1, 2)}: nothing new\n\n${progress(2, 5)}${end}`;
  for (const size of [1, 7, 1000]) {
    const pieces = text.match(new RegExp(`[^]{1,${size}}`, 'g')) as string[];
    const { response } = streamOf(pieces);
    expect(await doneOf(following([() => response]).jobs)).toEqual([
      ['running', 2],
      ['running', 5],
      ['succeeded', 9],
    ]);
  }
});

it.each(['ends', 'is cut'] as const)(
  'takes a stream that %s up where it was left, after the named time',
  async (how) => {
    const first = streamOf([`retry: 700\n\n${progress(41, 2)}`], how);
    const { asked, jobs } = following([() => first.response, () => streamOf([progress(42, 5), end]).response]);
    expect(await doneOf(jobs)).toEqual([
      ['running', 2],
      ['running', 5],
      ['succeeded', 9],
    ]);
    expect(asked).toEqual([
      { path: '/jobs/j1/events', lastEventId: null, atMs: 0 },
      { path: '/jobs/j1/events', lastEventId: '41', atMs: 700 },
    ]);
  },
);

it('ends without a word when the end was read before', async () => {
  expect(await doneOf(following([() => new Response(null, { status: 204 })]).jobs)).toEqual([]);
});

const looks = [job('running', 1), job('running', 1), job('running', 3), job('succeeded', 9)].map(
  (now) => () => Response.json({ ...now, result: {} }),
);
const looked = [
  ['running', 1],
  ['running', 3],
  ['succeeded', 9],
];

it.each([
  ['a page', () => new Response('<html>', { headers: { 'Content-Type': 'text/html' } })],
  ['an empty stream', () => streamOf([]).response],
  ['keep-alives only', () => streamOf([': nothing new\n\n']).response],
])('looks once a second where %s comes instead of events, and tells changes only', async (_, answer) => {
  const { asked, jobs } = following([answer, ...looks]);
  expect(await doneOf(jobs)).toEqual(looked);
  expect(asked.slice(1).map(({ path, atMs }) => [path, atMs])).toEqual(
    [0, 1000, 2000, 3000].map((ms) => ['/jobs/j1', ms]),
  );
});

it('hangs up and looks for itself when a stream is silent for three keep-alives', async () => {
  const silent = streamOf([], 'stays open');
  const { asked, jobs } = following([() => silent.response, ...looks]);
  expect(await doneOf(jobs)).toEqual(looked);
  expect(silent.cancelled).toBe(true);
  expect(asked[1]?.atMs).toBe(45_000);
});

it('waits half a minute for a service that starts again', async () => {
  const refused = () => {
    throw new TypeError('fetch failed', { cause: Object.assign(new Error(), { code: 'ECONNREFUSED' }) });
  };
  const patient = following([...Array.from({ length: 7 }, () => refused), () => streamOf([end]).response]);
  expect(await doneOf(patient.jobs)).toEqual([['succeeded', 9]]);
  expect(patient.asked.at(-1)?.atMs).toBeGreaterThan(30_000);
  const over = following(Array.from({ length: 9 }, () => refused));
  expect(await doneOf(over.jobs)).toMatchObject([{ code: 'unreachable' }]);
});

it('ends with the refusal when the job is not known', async () => {
  const answer = () => Response.json({ code: 'not_found', error: 'No job.', request_id: 'r' }, { status: 404 });
  expect(await doneOf(following([answer]).jobs)).toMatchObject([{ code: 'not_found', message: 'No job.' }]);
});

it('lets go of the stream when the reader has seen enough', async () => {
  const stream = streamOf([progress(1, 2)], 'stays open');
  for await (const { done } of following([() => stream.response]).jobs) {
    expect(done).toBe(2);
    break;
  }
  expect(stream.cancelled).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});

it('ends at once with the reason of the signal', async () => {
  const leave = new AbortController();
  const stream = streamOf([progress(1, 2)], 'stays open');
  const reading = (async () => {
    for await (const _ of following([() => stream.response], leave.signal).jobs) leave.abort(new Error('end of shift'));
  })();
  await expect(reading).rejects.toThrow('end of shift');
  expect(stream.cancelled).toBe(true);
});
