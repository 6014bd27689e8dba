import type { IncomingMessage, Server } from 'node:http';

/** How slowly a body may come. */
export interface BodyPace {
  /** For a body that brings nothing at all. */
  readonly graceMs: number;
  /** Each of these buys a body another second: a slow line comes through, one byte a minute does not. */
  readonly bytesPerS: number;
}

/**
 * Ends requests whose bodies trickle, as Node ends those that take too long as a whole: by a `clientError` with
 * `ERR_HTTP_REQUEST_TIMEOUT`. A few of them would otherwise hold all the places for requests with pictures.
 *
 * @param lookMs between two looks
 */
export function endSlowBodies(server: Server, { graceMs, bytesPerS }: BodyPace, lookMs: number): void {
  const coming = new Map<IncomingMessage, { readonly sinceMs: number; readonly bytesBefore: number }>();
  server.on('request', (request) => {
    coming.set(request, { sinceMs: performance.now(), bytesBefore: request.socket.bytesRead });
    request.once('close', () => coming.delete(request));
  });
  const look = setInterval(() => {
    const nowMs = performance.now();
    for (const [request, { sinceMs, bytesBefore }] of coming) {
      const allowedMs = graceMs + ((request.socket.bytesRead - bytesBefore) / bytesPerS) * 1000;
      if (request.complete) coming.delete(request);
      else if (nowMs - sinceMs > allowedMs) {
        coming.delete(request);
        const slow = Object.assign(new Error('The body came too slowly.'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' });
        server.emit('clientError', slow, request.socket);
      }
    }
  }, lookMs).unref();
  server.once('close', () => clearInterval(look));
}
