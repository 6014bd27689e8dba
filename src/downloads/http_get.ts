import { type ClientRequest, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { InspectionError } from '../errors.ts';
import { networkFailure, type Peer, proxyRefusal } from './failures.ts';
import { loginOf, type Proxies, proxyFor } from './proxies.ts';

/*
 * Node's own http, one connection per request. undici was the other choice: its ProxyAgent (6.29) asks a proxy that drops
 * CONNECT again and again without ever leaving the event loop free, so that not even an abort gets through.
 */

const MAX_REDIRECTS = 10;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** How to get out of here. */
export interface Network {
  readonly proxies: Proxies;
  /** Ends lookup, connection, wait and body. */
  readonly signal: AbortSignal;
  /** Longest wait for a connection. */
  readonly connectMs: number;
}

/** The last hop's response; its body is not read yet and must be read or destroyed. */
export interface Answer extends Peer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
  /** Whether a part of the file was asked for. */
  readonly ranged: boolean;
  /** What the publisher says the file is: see {@link get}. */
  readonly published: Published;
}

/** Size and hash of a file in the publisher's own words; null where it does not say. */
export interface Published {
  /** Lower-case hex. */
  readonly sha256: string | null;
  readonly bytes: number | null;
}

/**
 * GET, following up to 10 redirects, never from https to http. A name and password inside `url` are sent to its own
 * origin only.
 *
 * Hugging Face answers with a redirect to storage that has neither ETag nor date of its own, and says in the redirect's
 * `X-Linked-Etag` and `X-Linked-Size` what will come: the SHA-256 and the length of the file.
 *
 * @param headersFor the headers of one hop, given what the publisher has said before it
 * @throws InspectionError `download_failed`, an `Interruption` when it may pass; after the signal any error
 */
export async function get(
  start: URL,
  headersFor: (published: Published) => Readonly<Record<string, string>>,
  network: Network,
): Promise<Answer> {
  const login = loginOf(start);
  let published: Published = { sha256: null, bytes: null };
  let url = start;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const peer = { url, proxy: proxyFor(url, network.proxies) };
    const asked = headersFor(published);
    const body = await send(peer, network, {
      'accept-encoding': 'identity',
      'user-agent': 'okng',
      ...(login !== undefined && url.origin === start.origin && { authorization: login }),
      ...asked,
    });
    const { statusCode: status = 0, headers } = body;
    published = { sha256: published.sha256 ?? linkedHash(headers), bytes: published.bytes ?? linkedSize(headers) };
    if (!redirects.has(status)) return { ...peer, status, headers, body, ranged: 'range' in asked, published };
    body.destroy();
    url = redirectTarget(url, headers.location);
  }
  throw new InspectionError(
    'download_failed',
    `${start.host} redirected more than ${MAX_REDIRECTS} times. Check the mirror's address if one is set.`,
  );
}

/**
 * Where a redirect leads.
 *
 * @throws InspectionError `download_failed` when it leads nowhere, from https to http, or to another scheme
 */
export function redirectTarget(from: URL, location: string | undefined): URL {
  const to = location !== undefined && URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (to?.protocol === 'https:' || (to?.protocol === 'http:' && from.protocol === 'http:')) return to;
  throw new InspectionError(
    'download_failed',
    to?.protocol === 'http:'
      ? `${from.host} redirects from https to http://${to.host}, where anybody on the way could change the file: refused. Check the mirror's address if one is set.`
      : `${from.host} redirects to an address that cannot be used. Check the mirror's address if one is set.`,
  );
}

function linkedHash(headers: IncomingHttpHeaders): string | null {
  const etag = headers['x-linked-etag'];
  return typeof etag === 'string' ? (/^"?([0-9a-f]{64})"?$/i.exec(etag)?.[1]?.toLowerCase() ?? null) : null;
}

function linkedSize(headers: IncomingHttpHeaders): number | null {
  const size = headers['x-linked-size'];
  return typeof size === 'string' && /^\d{1,15}$/.test(size) ? Number(size) : null;
}

/** One request, one response; every failure of the network in words. */
async function send(peer: Peer, network: Network, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
  try {
    return await responseTo(await prepare(peer, network, headers), network.connectMs);
  } catch (error) {
    throw networkFailure(error, peer);
  }
}

async function prepare(
  peer: Peer,
  network: Network,
  headers: Readonly<Record<string, string>>,
): Promise<ClientRequest> {
  const { url, proxy } = peer;
  const options: RequestOptions = { headers, signal: network.signal, agent: false };
  if (url.protocol === 'https:') {
    if (proxy === null) return httpsRequest(withoutLogin(url), options);
    const tunnel = await openTunnel(peer, proxy, network);
    return httpsRequest(withoutLogin(url), {
      headers,
      signal: network.signal,
      createConnection: () => tlsInside(tunnel, url),
    });
  }
  if (proxy === null) return httpRequest(withoutLogin(url), options);
  return requestOf(proxy)(withoutLogin(proxy), {
    ...options,
    path: withoutLogin(url).href,
    headers: { ...headers, host: url.host, ...proxyLogin(proxy) },
  });
}

/** A way through the proxy to an https host, by CONNECT. */
async function openTunnel(peer: Peer, proxy: URL, { signal, connectMs }: Network): Promise<Duplex> {
  const authority = `${peer.url.hostname}:${peer.url.port === '' ? 443 : peer.url.port}`;
  const request = requestOf(proxy)(withoutLogin(proxy), {
    method: 'CONNECT',
    path: authority,
    headers: { host: authority, 'user-agent': 'okng', ...proxyLogin(proxy) },
    signal,
    agent: false,
  });
  limitConnecting(request, connectMs);
  return new Promise((resolve, reject) => {
    request.on('error', reject);
    request.once('connect', ({ statusCode: status = 0 }, socket) => {
      if (status >= 200 && status < 300) {
        resolve(socket);
      } else {
        socket.destroy();
        reject(proxyRefusal(status, peer));
      }
    });
    request.end();
  });
}

function tlsInside(tunnel: Duplex, url: URL): Duplex {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  // The name of an address is no server name for TLS; the certificate is checked against `host` either way.
  const socket = tlsConnect({ socket: tunnel, host, servername: isIP(host) === 0 ? host : '' });
  tunnel.on('error', (error) => socket.destroy(error));
  return socket;
}

function responseTo(request: ClientRequest, connectMs: number): Promise<IncomingMessage> {
  limitConnecting(request, connectMs);
  return new Promise((resolve, reject) => {
    // Also after the response, when the socket fails: an error without a listener would end the process.
    request.on('error', reject);
    request.once('response', resolve);
    request.end();
  });
}

/** Node waits for a connection as long as the system does, which is minutes. */
function limitConnecting(request: ClientRequest, connectMs: number): void {
  const timer = setTimeout(() => {
    request.destroy(Object.assign(new Error('no connection'), { code: 'ETIMEDOUT' }));
  }, connectMs);
  const stop = () => clearTimeout(timer);
  request.once('socket', (socket) => (socket.connecting ? socket.once('connect', stop) : stop()));
  request.once('close', stop);
}

function requestOf(proxy: URL): typeof httpRequest | typeof httpsRequest {
  return proxy.protocol === 'https:' ? httpsRequest : httpRequest;
}

function proxyLogin(proxy: URL): Readonly<Record<string, string>> {
  const login = loginOf(proxy);
  return login === undefined ? {} : { 'proxy-authorization': login };
}

/** Node would send an address's login by itself, and a proxy would see it in the request line. */
export function withoutLogin(url: URL): URL {
  const bare = new URL(url);
  bare.username = '';
  bare.password = '';
  bare.hash = '';
  return bare;
}
