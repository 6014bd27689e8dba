import { createHash, timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import type { Config } from '../config.ts';
import { InspectionError } from '../errors.ts';
import type { OkngEnv, RequestContext } from './context.ts';

/**
 * Lets those in who may call: with `apiKeys` whoever brings one of them, without whoever reaches the address, except web
 * pages of others (see {@link refuseForeignPage}).
 *
 * Open to everybody: whether the service is there (`/health`, `/livez`, `/readyz`; CI and the GUI ask before anything else),
 * how it is spoken to (`/docs`, `/openapi.json`; a browser cannot send a key for a page), and OPTIONS, because a browser's
 * preflight brings no key.
 *
 * Errors: `unauthorized`, `foreign_origin`.
 */
export function admitCallers(config: Pick<Config, 'host' | 'corsOrigins' | 'apiKeys'>): MiddlewareHandler<OkngEnv> {
  const callerOf = callersBy(config.apiKeys);
  return async (c, next) => {
    if (config.apiKeys.length > 0) c.set('caller', callerOf(keyIn(c)));
    if (!isOpen(c)) {
      if (config.apiKeys.length === 0) refuseForeignPage(c, config);
      else if (c.get('caller') === null) throw unauthorized(c);
    }
    await next();
  };
}

const openPaths = /^\/(health|livez|readyz|openapi\.json|docs(\/[^/]*)?)$/;

function isOpen(c: RequestContext): boolean {
  return c.req.method === 'OPTIONS' || openPaths.test(c.req.path);
}

/** Hashes are compared, all of them and each to its end: how long it takes tells nothing of a key. */
function callersBy(apiKeys: Config['apiKeys']): (brought: string) => string | null {
  const sha256 = (text: string) => createHash('sha256').update(text).digest();
  const known = apiKeys.map(({ name, key }) => ({ name, digest: sha256(key) }));
  return (brought) => {
    const digest = sha256(brought);
    return known.filter((one) => timingSafeEqual(one.digest, digest))[0]?.name ?? null;
  };
}

/** The key in `Authorization: Bearer`, else in `X-API-Key`: a proxy's own `Basic` login may stand in the former. */
function keyIn(c: RequestContext): string {
  const bearer = /^Bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '')?.[1];
  return bearer ?? c.req.header('x-api-key')?.trim() ?? '';
}

function unauthorized(c: RequestContext): InspectionError {
  c.header('WWW-Authenticate', 'Bearer realm="okng"');
  const found = keyIn(c) === '' ? 'This request brings no API key' : 'The API key of this request is not known here';
  return new InspectionError(
    'unauthorized',
    `${found}; send one of the service's keys (BDI_API_KEYS) as Authorization: Bearer or as X-API-Key.`,
  );
}

/**
 * Where no key is asked for, the browser on a machine of the plant would carry the requests of any web page to the service:
 * forms need no preflight, and what they fit or delete is done although the page cannot read the answer. Refused are
 *
 * - changes whose `Origin` is neither the service itself nor in BDI_CORS_ORIGINS. Browsers send it with every POST, PUT and
 *   DELETE, other clients (the GUI, curl, scripts) do not;
 * - names in dots that the service is called by and cannot know, for a page may have its own name point here (DNS
 *   rebinding) and then is of the same origin: for changes by a page everywhere, and for everything where the service
 *   listens on loopback, which no plant's name leads to.
 *
 * @throws InspectionError `foreign_origin`
 */
function refuseForeignPage(c: RequestContext, { host, corsOrigins }: Pick<Config, 'host' | 'corsOrigins'>): void {
  if (corsOrigins.includes('*')) return;
  // A Host header may be well-formed and yet be no host, such as 127.0.0.0.1.
  const called = URL.canParse(c.req.url) ? new URL(c.req.url) : { host: '(none)', hostname: '(none).' };
  const isKnownName =
    isOwnName(called.hostname) ||
    called.hostname === host.toLowerCase() ||
    corsOrigins.some((origin) => URL.canParse(origin) && new URL(origin).hostname === called.hostname);
  if (!isKnownName && isLoopback(host)) {
    throw new InspectionError(
      'foreign_origin',
      `The service listens on ${host} and was called by the name ${shortened(called.host)}; call it by its address, set BDI_API_KEYS, or list http://${shortened(called.host)} in BDI_CORS_ORIGINS.`,
    );
  }
  const origin = c.req.header('origin');
  if (origin === undefined || readingMethods.has(c.req.method) || corsOrigins.includes(origin)) return;
  if (isKnownName && URL.canParse(origin) && new URL(origin).host === called.host) return;
  throw new InspectionError(
    'foreign_origin',
    `A web page of ${shortened(origin)} may change nothing here; list its origin in BDI_CORS_ORIGINS if it may.`,
  );
}

const readingMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Addresses and names without dots, which nobody outside can make point anywhere. */
function isOwnName(hostname: string): boolean {
  return /^[\d.]+$/.test(hostname) || hostname.startsWith('[') || /^([^.]+\.)?localhost$|^[^.]*$/.test(hostname);
}

/** Whether nobody but this machine reaches an address that a service listens on. */
export function isLoopback(host: string): boolean {
  return host.toLowerCase() === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function shortened(text: string): string {
  return text.slice(0, 100);
}
