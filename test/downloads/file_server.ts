import { createServer, type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { onTestFinished } from 'vitest';
import type { SelfSigned } from './self_signed_certificate.ts';

/** One request as the server saw it. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** The name asked for in the TLS handshake, false without one, undefined without TLS. */
  readonly serverName?: string | false;
}

export interface RunningServer {
  /** `http://127.0.0.1:port`, without a slash at the end. */
  readonly origin: string;
  readonly port: number;
  readonly seen: readonly Seen[];
  /** Cuts every connection. */
  cut(): void;
}

/** Answers by number of the request: the first listener takes the first, the last one all further ones. */
export type Answers = readonly [RequestListener, ...RequestListener[]];

/** Starts an http server (https with a certificate) that ends with the test. */
export async function serve(answers: RequestListener | Answers, tls?: SelfSigned): Promise<RunningServer> {
  const all = typeof answers === 'function' ? [answers] : answers;
  const seen: Seen[] = [];
  const listener: RequestListener = (request, response) => {
    const answer = all[Math.min(seen.length, all.length - 1)] as RequestListener;
    const { method = '', url = '', headers, socket } = request;
    seen.push({
      method,
      url,
      headers,
      ...('servername' in socket && { serverName: socket.servername as string | false }),
    });
    answer(request, response);
  };
  const server =
    tls === undefined ? createServer(listener) : createTlsServer({ key: tls.key, cert: tls.certificate }, listener);
  const port = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    seen,
    cut: () => server.closeAllConnections(),
  };
}

/** @returns the port */
export async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** How a file is served. */
export interface Serving {
  readonly etag?: string;
  readonly lastModified?: string;
  /** Answer 200 whatever is asked. */
  readonly ignoreRange?: boolean;
  /** Take any range for one of this file. */
  readonly ignoreIfRange?: boolean;
  /** Cut the connection after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Stop after so many bytes and keep the connection. */
  readonly stallAfter?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Serves `content` as a good server does (ranges, If-Range, 416), or badly in the one way that is asked for. */
export function file(content: Uint8Array, serving: Serving = {}): RequestListener {
  const { etag, lastModified } = serving;
  return (request, response) => {
    const common = {
      ...(etag !== undefined && { etag }),
      ...(lastModified !== undefined && { 'last-modified': lastModified }),
      ...serving.headers,
    };
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1]);
    const condition = request.headers['if-range'];
    const same = condition === undefined || condition === etag || condition === lastModified;
    if (Number.isNaN(start) || serving.ignoreRange === true || (!same && serving.ignoreIfRange !== true)) {
      response.writeHead(200, { 'content-length': content.length, ...common });
      send(response, content, serving);
    } else if (start >= content.length) {
      response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
    } else {
      response.writeHead(206, {
        'content-length': content.length - start,
        'content-range': `bytes ${start}-${content.length - 1}/${content.length}`,
        ...common,
      });
      send(response, content.subarray(start), serving);
    }
  };
}

function send(response: ServerResponse, body: Uint8Array, { cutAfter, stallAfter }: Serving): void {
  const bytes = cutAfter ?? stallAfter;
  if (bytes === undefined || bytes >= body.length) {
    response.end(body);
    return;
  }
  if (bytes === 0) response.flushHeaders();
  // The pieces must arrive before the connection ends, or the client would rightly throw them away.
  response.write(body.subarray(0, bytes), () => {
    if (cutAfter !== undefined) setTimeout(() => response.destroy(), 20);
  });
}

/** One status, headers and text. */
export function plain(status: number, headers: Record<string, string> = {}, text = ''): RequestListener {
  return (_request, response) => {
    response.writeHead(status, { 'content-length': Buffer.byteLength(text), ...headers }).end(text);
  };
}
