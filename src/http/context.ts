import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import type { Context } from 'hono';
import type { Logger } from 'pino';
import { InspectionError } from '../errors.ts';
import { bodyTooLarge } from './multipart.ts';

/** What every request carries through its handler. */
export interface RequestVariables {
  requestId: string;
  /** When its headers had come, by `performance.now()`. */
  arrived: number;
  /** What header and query name, until the payload has named its own; `default` where nothing usable is named. */
  recipeId: string;
  /** The name of the API key that came; null where none is asked for, or none came. */
  caller: string | null;
  /** Milliseconds by step, for the log. */
  steps: Record<string, number>;
  log: Logger;
}

export interface OkngEnv {
  Variables: RequestVariables;
  // The Node server hands its own request along; a request made by a test has none.
  Bindings: { incoming?: IncomingMessage };
}

export type RequestContext = Context<OkngEnv>;

const maxRequestIdCharacters = 200;

/**
 * The caller's `X-Request-Id`: its first 200 characters as they came, so that who looks for what was sent finds it, bytes
 * beyond ASCII included (a header's bytes are read as Latin-1, here as in the clients, and go back as the same bytes).
 * What no header may hold is left out. A new UUID where nothing is left.
 */
export function requestIdOf(header: string | undefined): string {
  const id = (header ?? '')
    .replace(/[^\t\x20-\x7e\x80-\xff]/g, '')
    .trim()
    .slice(0, maxRequestIdCharacters)
    .trim();
  return id === '' ? randomUUID() : id;
}

/**
 * Aborts when the client is gone before its answer was sent: its connection was closed, or its half of it (Node then ends
 * the other half too, so no answer can reach it). A connection that is kept for the next request does not count.
 */
export function goneSignal(c: RequestContext): AbortSignal {
  return c.req.raw.signal;
}

export const longestDeadlineMs = 3_600_000;

/**
 * When the answer is of no use any more, by `performance.now()`, after the request's `X-Deadline-Ms`: milliseconds since its
 * headers had come. Null without one.
 *
 * @throws InspectionError `invalid_value`
 */
export function deadlineOf(c: RequestContext): number | null {
  const header = c.req.header('x-deadline-ms');
  if (header === undefined) return null;
  const ms = /^\d{1,7}$/.test(header) ? Number(header) : 0;
  if (ms >= 1 && ms <= longestDeadlineMs) return c.get('arrived') + ms;
  throw new InspectionError(
    'invalid_value',
    `X-Deadline-Ms must be a whole number of milliseconds from 1 to ${longestDeadlineMs}, got ${JSON.stringify(header.slice(0, 20))}.`,
  );
}

/** The request's body as a stream, straight from the socket where there is one. */
export function bodyStream(c: RequestContext): Readable | null {
  const incoming = c.env?.incoming;
  if (incoming !== undefined) return incoming;
  return c.req.raw.body === null ? null : Readable.fromWeb(c.req.raw.body as ReadableStream<Uint8Array>);
}

/**
 * The whole body.
 *
 * @throws InspectionError `body_too_large`, `invalid_json` when it is cut short
 */
export async function readBody(c: RequestContext, maxBodyBytes: number): Promise<Uint8Array> {
  const source = bodyStream(c);
  if (source === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof InspectionError) throw cause;
    throw new InspectionError('invalid_json', `The body was cut short after ${size} bytes; send it again.`, { cause });
  }
  return Buffer.concat(chunks);
}
