import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import type { Context } from 'hono';
import type { Logger } from 'pino';
import { bodyTooLarge } from './multipart.ts';

/** What every request carries through its handler. */
export interface RequestVariables {
  requestId: string;
  /** `default` until the request has named its recipe. */
  recipeId: string;
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

/**
 * The caller's `X-Request-Id` when it can be echoed in a header (1 to 200 printable ASCII characters), else a new UUID.
 */
export function requestIdOf(header: string | undefined): string {
  return header !== undefined && /^[\x20-\x7e]{1,200}$/.test(header.trim()) ? header.trim() : randomUUID();
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
 * @throws InspectionError `body_too_large`
 */
export async function readBody(c: RequestContext, maxBodyBytes: number): Promise<Uint8Array> {
  const source = bodyStream(c);
  if (source === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
