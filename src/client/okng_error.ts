import type { ProblemCode } from '../http/problem.ts';

/** What can go wrong before okng has answered. */
export type ConnectionCode =
  /** Nobody answers there, or the connection was lost. */
  | 'unreachable'
  /** No answer in `timeoutMs`. */
  | 'timeout'
  /** Somebody answered, but not okng: a proxy, or another service. */
  | 'not_okng'
  /** The address is no `http:` or `https:` one. */
  | 'invalid_url';

export interface ErrorOrigin {
  readonly status?: number | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** A request that came to nothing. The message is a sentence for people that says what to do; `code` is for programs. */
export class OkngError extends Error {
  readonly code: ProblemCode | ConnectionCode;
  /** Of the answer; null where there was none. */
  readonly status: number | null;
  /** The service's log tells of the request under it; null where okng did not answer. */
  readonly requestId: string | null;
  /** How long the service asks to wait before the next try; null where it does not say. */
  readonly retryAfterMs: number | null;

  constructor(code: ProblemCode | ConnectionCode, message: string, origin: ErrorOrigin = {}) {
    super(message, { cause: origin.cause });
    this.name = 'OkngError';
    this.code = code;
    this.status = origin.status ?? null;
    this.requestId = origin.requestId ?? null;
    this.retryAfterMs = origin.retryAfterMs ?? null;
  }
}
