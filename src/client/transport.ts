import { type ErrorOrigin, OkngError } from './okng_error.ts';
import type { Problem } from './wire.ts';

export interface ClientOptions {
  /** Where okng listens, such as `http://127.0.0.1:8000`; a path before its own (a proxy's) may follow. */
  readonly url: string;
  /** For requests that name no recipe themselves; default: `default`. */
  readonly recipe?: string | undefined;
  /** Sent as `Authorization: Bearer`, for a service or a proxy that asks for it. */
  readonly apiKey?: string | undefined;
  /** For one try of one request, the whole answer included; default two minutes, for long work five. */
  readonly timeoutMs?: number | undefined;
  /** Tries after the first, where asking again is safe; default 3. */
  readonly retries?: number | undefined;
  /** For requests that bring none of their own: ends them. */
  readonly signal?: AbortSignal | undefined;
  /** In place of the platform's, for a proxy or a test. */
  readonly fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** What a caller may add to any request. */
export interface CallOptions {
  /** Ends the request; it then throws the signal's reason, as `fetch` does. */
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  /** To find the request in the service's log; default: the service makes one. */
  readonly requestId?: string | undefined;
}

export interface Order<T> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Encoded, with its query. */
  readonly path: string;
  readonly body?: FormData | string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses beside 200 that bring what `read` expects. */
  readonly accept?: readonly number[];
  /** The service may be asked again although it may have done the work: it changes nothing, or an Idempotency-Key is with it. */
  readonly repeatable?: boolean;
  /** Takes minutes. */
  readonly long?: boolean;
  /** In place of the client's. */
  readonly retries?: number;
  /** @throws {@link NotOkng} when the answer is none of okng's */
  readonly read: (response: Response) => Promise<T>;
}

export interface Transport {
  /** Asks, again where that is safe and of use, and reads the answer. @throws OkngError; the signal's reason */
  ask<T>(order: Order<T>, call?: CallOptions): Promise<T>;
  /** The signal that ends a call. */
  signalOf(call: CallOptions): AbortSignal | undefined;
}

/** What `read` throws at an answer that is none of okng's. */
export class NotOkng extends Error {}

const usualTimeoutMs = 120_000;
/** Node's fetch waits no longer for an answer to begin. What takes longer is work for a job. */
const longTimeoutMs = 300_000;
const usualRetries = 3;
const firstPauseMs = 250;
const longestPauseMs = 30_000;

/** @throws OkngError `invalid_url` */
export function createTransport(options: ClientOptions): Transport {
  const base = baseUrl(options.url);
  const request = options.fetch ?? fetch;
  const signalOf = (call: CallOptions) => call.signal ?? options.signal;

  /** One try. */
  const once = async <T>(order: Order<T>, call: CallOptions): Promise<T> => {
    const { method, path, body } = order;
    const signal = signalOf(call);
    signal?.throwIfAborted();
    const stop = new AbortController();
    const hangUp = () => stop.abort();
    signal?.addEventListener('abort', hangUp);
    const timeoutMs = call.timeoutMs ?? options.timeoutMs ?? (order.long === true ? longTimeoutMs : usualTimeoutMs);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      hangUp();
    }, timeoutMs);
    try {
      const headers = {
        ...(options.recipe !== undefined && { 'X-Recipe-Id': options.recipe }),
        ...(options.apiKey !== undefined && { Authorization: `Bearer ${options.apiKey}` }),
        ...(call.requestId !== undefined && { 'X-Request-Id': call.requestId }),
        ...(typeof body === 'string' && { 'Content-Type': 'application/json' }),
        ...order.headers,
      };
      const init = { method, headers, signal: stop.signal, ...(body !== undefined && { body }) };
      const response = await request(base + path, init);
      if (response.status !== 200 && order.accept?.includes(response.status) !== true)
        throw await refusal(response, `${method} ${base + path}`);
      return await order.read(response);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof OkngError) throw error;
      if (error instanceof NotOkng) throw notOkng(`${method} ${base + path}`, error.message);
      if (timedOut || codeOf(error) === 'UND_ERR_HEADERS_TIMEOUT') {
        const sentence = `${method} ${base + path} was not answered within ${timeoutMs / 1000} s; give it more time (timeoutMs), or send long work as a job.`;
        throw new OkngError('timeout', sentence, { cause: error });
      }
      throw unreachable(base, error);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', hangUp);
    }
  };

  return {
    signalOf,
    ask: async (order, call = {}) => {
      const retries = order.retries ?? options.retries ?? usualRetries;
      for (let tries = 0; ; tries++) {
        try {
          return await once(order, call);
        } catch (error) {
          const again = tries < retries && error instanceof OkngError && mayAskAgain(error, order.repeatable === true);
          if (!again) throw error;
          await pause(Math.min(error.retryAfterMs ?? firstPauseMs * 2 ** tries, longestPauseMs), signalOf(call));
        }
      }
    },
  };
}

/** @throws the signal's reason */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
  });
  signal?.throwIfAborted();
}

/** What the service, or somebody before it, refused a request with. */
async function refusal(response: Response, request: string): Promise<OkngError> {
  const { status } = response;
  const retryAfterMs = secondsOf(response.headers.get('retry-after'));
  const problem = problemIn(await response.text());
  if (problem !== null)
    return new OkngError(problem.code, problem.error, { status, requestId: problem.request_id, retryAfterMs });
  const kind = response.headers.get('content-type') ?? 'no content type';
  return notOkng(request, `the status ${status} (${kind})`, { status, retryAfterMs });
}

/** A JSON body of okng, which always says under which request it was answered. */
export async function readJson<T>(response: Response): Promise<T> {
  return (await readBody(response, isAnswer)) as T;
}

/** Several such bodies in a list, or one that stands alone. */
export async function readJsonList<T>(response: Response): Promise<readonly T[]> {
  const body = await readBody(response, (one) => (Array.isArray(one) ? one.every(isAnswer) : isAnswer(one)));
  return (Array.isArray(body) ? body : [body]) as readonly T[];
}

async function readBody(response: Response, isOurs: (body: unknown) => boolean): Promise<unknown> {
  const text = await response.text();
  const body = parsed(text);
  if (isOurs(body)) return body;
  throw new NotOkng(`${text.slice(0, 80).trim() || 'nothing'} (${response.headers.get('content-type')})`);
}

function isAnswer(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'request_id' in body;
}

export async function readPicture(response: Response): Promise<Blob> {
  const blob = await response.blob();
  if (blob.type.startsWith('image/')) return blob;
  throw new NotOkng(`what is no picture (${blob.type})`);
}

/**
 * Whether a request that failed may be sent again, and may then fare better. A try that took its whole time is not repeated:
 * the next would as well.
 */
function mayAskAgain({ code, status, cause }: OkngError, repeatable: boolean): boolean {
  if (code === 'queue_full' || code === 'not_ready' || code === 'shutting_down' || code === 'request_in_progress')
    return true;
  if (code === 'unreachable') return repeatable || codeOf(cause) === 'ECONNREFUSED';
  if (code === 'not_okng') return repeatable && (status === 429 || status === 502 || status === 503 || status === 504);
  return false;
}

function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'http:' || url?.protocol === 'https:')
    return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
  throw new OkngError(
    'invalid_url',
    `${JSON.stringify(text)} is no address of a service; it must look like http://127.0.0.1:8000.`,
  );
}

function problemIn(text: string): (Problem & { readonly code: OkngError['code'] }) | null {
  const body = parsed(text);
  const isProblem = typeof body === 'object' && body !== null && 'code' in body && 'error' in body;
  return isProblem ? (body as Problem & { readonly code: OkngError['code'] }) : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A date, which `Retry-After` may also hold, is nothing that okng sends. */
function secondsOf(retryAfter: string | null): number | undefined {
  return retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined;
}

function notOkng(where: string, what: string, origin: ErrorOrigin = {}): OkngError {
  const sentence = `${where} is answered by ${what}, which is no answer of okng; is this the address of an okng service?`;
  return new OkngError('not_okng', sentence, origin);
}

function unreachable(base: string, error: unknown): OkngError {
  const reason = reasons[codeOf(error) ?? ''] ?? innermost(error).message;
  const sentence = `${base} does not answer (${reason}); is okng running there (okng serve), and is the address right?`;
  return new OkngError('unreachable', sentence, { cause: error });
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name of the host could not be looked up',
  ECONNRESET: 'the connection was lost',
  UND_ERR_SOCKET: 'the connection was lost',
};

/** What Node's fetch hides behind "fetch failed". */
function innermost(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  return error.cause instanceof Error ? innermost(error.cause) : error;
}

function codeOf(error: unknown): string | undefined {
  const inner = innermost(error);
  return 'code' in inner && typeof inner.code === 'string' ? inner.code : undefined;
}
