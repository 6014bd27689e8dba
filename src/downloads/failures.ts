import { InspectionError } from '../errors.ts';
import { errnoOf } from '../store/atomic_write.ts';

/** A failure that may pass by itself: the next try goes on from what has arrived. Thrown on when the tries are used up. */
export class Interruption extends InspectionError {
  /** What the server asked us to wait, in ms. */
  readonly retryAfterMs: number | undefined;
  /** Without any answer so far this is how a machine without internet looks: not worth another try. */
  readonly mayBeOffline: boolean;

  constructor(
    sentence: string,
    options: { readonly cause?: unknown; readonly retryAfterMs?: number | undefined; readonly mayBeOffline?: boolean },
  ) {
    super('download_failed', sentence, { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
    this.mayBeOffline = options.mayBeOffline ?? false;
  }
}

/** The server (or a proxy on the way) does not let us go on from the middle: ask for the whole file. */
export class RangeUnusable extends Error {}

/** Who we talked to when it failed. */
export interface Peer {
  readonly url: URL;
  readonly proxy: URL | null;
}

const byHand = 'or fetch the file on a machine with internet and carry it here by hand';

/** Codes of a lookup or connection that never came about. */
const unreached: ReadonlySet<string> = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ENETUNREACH',
  'ENETDOWN',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ETIMEDOUT',
]);

/** In OpenSSL's and Node's names for a certificate that is not trusted. */
const untrusted = /CERT|SIGNATURE|ISSUER|INVALID_CA|HOSTNAME_MISMATCH/;

/**
 * What a failed connection means for the person at the terminal: an {@link Interruption}, unless trying again cannot help
 * (certificates). What is no failure of the network is returned as it is.
 */
export function networkFailure(cause: unknown, { url, proxy }: Peer): unknown {
  const code = errnoOf(cause);
  if (code === undefined || cause instanceof InspectionError) return cause;
  const host = proxy === null ? url.host : `${url.host} through the proxy ${proxy.host}`;
  if (untrusted.test(code)) {
    return new InspectionError(
      'download_failed',
      `The certificate of ${host} is not trusted (${code}). Where a company proxy reads TLS, name its certificate in NODE_EXTRA_CA_CERTS; check this machine's clock; ${byHand}.`,
      { cause },
    );
  }
  if (unreached.has(code)) {
    return new Interruption(
      `${host} cannot be reached (${code}): is there internet here? Set a proxy or a mirror if this network has one, ${byHand}.`,
      { cause, mayBeOffline: true },
    );
  }
  return new Interruption(`The connection to ${host} broke (${code}). Start again to go on from here, ${byHand}.`, {
    cause,
  });
}

/** No byte for too long. */
export function stalled({ url }: Peer, stallMs: number): Interruption {
  return new Interruption(
    `${url.host} sent nothing for ${stallMs / 1000} s. Check the network and start again to go on from here, ${byHand}.`,
    { mayBeOffline: true },
  );
}

/** The proxy did not open the way. */
export function proxyRefusal(status: number, { url, proxy }: Peer): InspectionError {
  const name = proxy?.host ?? 'in between';
  if (status === 407) {
    return new InspectionError(
      'download_failed',
      `The proxy ${name} wants a login (407). Put it into the proxy's address, http://name:password@host:port, ${byHand}.`,
    );
  }
  const sentence = `The proxy ${name} does not let us through to ${url.host} (${status}). Ask for that host to be allowed, ${byHand}.`;
  return status >= 500 ? new Interruption(sentence, {}) : new InspectionError('download_failed', sentence);
}

/** What a status other than 200 and 206 means. */
export function statusFailure(status: number, retryAfterMs: number | undefined, peer: Peer): InspectionError {
  const { host, pathname } = peer.url;
  const failed = (sentence: string) => new InspectionError('download_failed', `${sentence}, ${byHand}.`);
  switch (status) {
    case 401:
      return failed(
        `${host} wants a login (401). The publisher's file needs none; a mirror's login goes into its address, https://name:password@host`,
      );
    case 403:
      return failed(
        `${host} refuses the file ${pathname} (403). If a company proxy or mirror blocks it, ask for it to be allowed`,
      );
    case 404:
    case 410:
      return failed(`${host} has no file ${pathname} (${status}). Check the mirror's address if one is set`);
    case 407:
      return proxyRefusal(status, peer);
    case 511:
      return webPage(peer);
    case 408:
    case 425:
    case 429:
      return new Interruption(
        `${host} asks us to wait (${status})${waitText(retryAfterMs)}. Start again later, ${byHand}.`,
        { retryAfterMs },
      );
    default: {
      const sentence = `${host} answered ${status} instead of the file${waitText(retryAfterMs)}. Start again later, ${byHand}.`;
      return status >= 500
        ? new Interruption(sentence, { retryAfterMs })
        : new InspectionError('download_failed', sentence);
    }
  }
}

/** A page for people where the file should be. */
export function webPage({ url }: Peer): InspectionError {
  return new InspectionError(
    'download_failed',
    `${url.host} sent a web page instead of the file: most likely the login of a proxy or of a guest network. Log in there with a browser or set the proxy, ${byHand}.`,
  );
}

function waitText(retryAfterMs: number | undefined): string {
  return retryAfterMs === undefined ? '' : `, for ${Math.ceil(retryAfterMs / 1000)} s`;
}
