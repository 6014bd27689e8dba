import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { RequestError } from '@hono/node-server';
import type { Logger } from 'pino';
import { requestIdOf } from './context.ts';
import { type ConnectionErrorCode, problem, problemMediaType } from './problem.ts';

/** Time for a client to read its refusal. */
const lingerMs = 1000;

/**
 * Answers what Node refuses before the app sees it (text that is no HTTP, headers beyond 16 KiB, a request that does not
 * come to its end in time) with the problem body, as everything else is. The connection is closed after it. A client that
 * is gone, or has begun to read an answer, gets nothing more.
 */
export function answerConnectionErrors(server: Server, log: Logger): void {
  const answered = new WeakSet<Duplex>();
  const latest = new WeakMap<Duplex, { readonly request: IncomingMessage; readonly response: ServerResponse }>();
  server.on('request', (request, response) => latest.set(request.socket, { request, response }));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // The rest of what the client was sending; the parser stumbles over every piece of it.
    if (answered.has(socket)) return;
    const last = latest.get(socket);
    const open = last === undefined || (last.request.complete && last.response.writableFinished) ? undefined : last;
    if (error.code === 'ECONNRESET' || !socket.writable || open?.response.headersSent === true) {
      socket.destroy();
      return;
    }
    const [code, sentence] = refusalOf(error.code);
    const header = open?.request.headers['x-request-id'];
    const body = problem(code, sentence, requestIdOf(typeof header === 'string' ? header : undefined), 'default');
    log.info({ request_id: body.request_id, code, reason: error.code }, 'request refused');
    const text = Buffer.from(JSON.stringify(body));
    const head = [
      `HTTP/1.1 ${body.status} ${STATUS_CODES[body.status]}`,
      `Content-Type: ${problemMediaType}`,
      `Content-Length: ${text.byteLength}`,
      `X-Request-Id: ${body.request_id}`,
      'Connection: close',
    ].join('\r\n');
    // A header's bytes beyond ASCII go back as they came.
    socket.end(Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), text]));
    answered.add(socket);
    // Closing at once, with bytes of the client unread, would take the answer back on its way.
    setTimeout(() => socket.destroy(), lingerMs).unref();
  });
}

/**
 * The answer where no request reached the app: 400 for a target or Host header that is no address. Anything else that got
 * past the app's own error handler is our bug; it is logged and answered 500.
 */
export function answerWithoutApp(error: unknown, log: Logger): Response {
  const requestId = requestIdOf(undefined);
  const body =
    error instanceof RequestError
      ? problem(
          'malformed_request',
          `The request's path or Host header cannot be read (${error.message}); send a plain path and host.`,
          requestId,
          'default',
        )
      : problem(
          'internal_error',
          `The service failed on its own account; its log tells why under request ${requestId}.`,
          requestId,
          'default',
        );
  if (body.status === 500) log.error({ request_id: requestId, err: error, code: body.code }, 'request failed');
  else log.info({ request_id: requestId, code: body.code, detail: body.detail }, 'request refused');
  return new Response(JSON.stringify(body), {
    status: body.status,
    headers: { 'Content-Type': problemMediaType, 'X-Request-Id': body.request_id },
  });
}

function refusalOf(code: string | undefined): readonly [ConnectionErrorCode, string] {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return [
      'request_timeout',
      'The request did not come to its end in time, or its body came too slowly; send it again, with fewer pictures if it is large.',
    ];
  if (code === 'HPE_HEADER_OVERFLOW')
    return ['headers_too_large', 'The request headers are larger than 16 KiB; send fewer or shorter ones.'];
  return ['malformed_request', `What came is not HTTP/1.1 that can be read (${code ?? 'unknown reason'}).`];
}
