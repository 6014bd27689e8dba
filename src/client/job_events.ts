import { type CallOptions, pause, readJson, type Transport } from './transport.ts';
import type { Job, JobWithResult } from './wire.ts';

/** The service says something every 15 s: silence beyond this means that somebody on the way keeps the words back. */
const silenceMs = 45_000;
/** Before a cut stream is taken up again, where the service has not said. */
const comeBackMs = 2000;
/** Between two looks at a job whose events do not get through. */
const pollMs = 1000;
/** Half a minute in all: a service that starts again still knows the job. */
const retries = 7;

const ended: ReadonlySet<Job['state']> = new Set(['succeeded', 'failed', 'cancelled', 'interrupted']);

export const jobPath = (id: string) => `/jobs/${encodeURIComponent(id)}`;

/**
 * A job as it is, and again whenever it has changed; the last one given has ended. Follows the service's events, takes a cut
 * stream up where it was left, and looks once a second where no events get through.
 *
 * @throws OkngError `unreachable` when the service is away for half a minute, `not_found` when it does not know the job
 */
export async function* followJob(transport: Transport, id: string, call: CallOptions): AsyncGenerator<Job> {
  const signal = transport.signalOf(call);
  let lastEventId = '';
  let waitMs = comeBackMs;
  for (;;) {
    const stream = await openEvents(transport, id, lastEventId, call);
    if (stream === 'over') return;
    let told = false;
    if (stream !== 'none') {
      for await (const { event, id: eventId, data, retry } of eventsIn(stream, signal)) {
        if (retry !== undefined) waitMs = Number(retry);
        if (eventId !== undefined) lastEventId = eventId;
        if (data === undefined) continue;
        told = true;
        yield JSON.parse(data) as Job;
        if (event === 'end') return;
      }
      signal?.throwIfAborted();
    }
    if (!told) return yield* pollJob(transport, id, call);
    await pause(waitMs, signal);
  }
}

/** The stream; `over` when its end was read before, `none` when somebody on the way has made something else of it. */
async function openEvents(transport: Transport, id: string, lastEventId: string, call: CallOptions) {
  return await transport.ask<ReadableStream<Uint8Array> | 'over' | 'none'>(
    {
      method: 'GET',
      path: `${jobPath(id)}/events`,
      headers: lastEventId === '' ? {} : { 'Last-Event-ID': lastEventId },
      accept: [204],
      repeatable: true,
      retries,
      read: async (response) => {
        if (response.status === 204) return 'over';
        const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
        return isStream ? (response.body ?? 'none') : 'none';
      },
    },
    call,
  );
}

async function* pollJob(transport: Transport, id: string, call: CallOptions): AsyncGenerator<Job> {
  const order = { method: 'GET', path: jobPath(id), repeatable: true, retries, read: readJson<JobWithResult> } as const;
  let told = '';
  for (;;) {
    const { result: _, ...job } = await transport.ask(order, call);
    const now = JSON.stringify([job.state, job.step, job.done]);
    if (now !== told) yield job;
    if (ended.has(job.state)) return;
    told = now;
    await pause(pollMs, transport.signalOf(call));
  }
}

type EventField = 'event' | 'id' | 'data' | 'retry';

/** The events of a stream until it ends, is cut, or falls silent: whoever reads comes back in every case. */
async function* eventsIn(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Readonly<Partial<Record<EventField, string>>>> {
  const reader = stream.getReader();
  const hangUp = () => void reader.cancel().catch(() => undefined);
  signal?.addEventListener('abort', hangUp);
  const decoder = new TextDecoder();
  let text = '';
  try {
    for (;;) {
      const silence = setTimeout(hangUp, silenceMs);
      const { done, value } = await reader
        .read()
        .catch(() => ({ done: true, value: undefined }) as const)
        .finally(() => clearTimeout(silence));
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop() as string;
      for (const block of blocks) {
        yield Object.fromEntries(
          [...block.matchAll(/^(event|id|data|retry): ?(.*)$/gm)].map(([, name, of]) => [name, of]),
        );
      }
    }
  } finally {
    signal?.removeEventListener('abort', hangUp);
    // Also when whoever reads has seen enough: the service need not go on.
    hangUp();
  }
}
