import { InspectionError } from '../errors.ts';

/** Proxies as the environment names them (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), each for the scheme of the address asked. */
export interface Proxies {
  readonly https?: string;
  readonly http?: string;
  /** Hosts to reach directly, separated by commas or blanks: `host`, `.domain`, `host:port`; `*` for all. */
  readonly none?: string;
}

/**
 * The proxy that `url` goes through, or null for the direct way. A proxy's address without a scheme is taken for `http://`.
 * As in curl, an exception `example.com` (or `.example.com`, `*.example.com`) holds for that host and all below it.
 *
 * @throws InspectionError `invalid_config` when the proxy's address cannot be used
 */
export function proxyFor(url: URL, proxies: Proxies): URL | null {
  const address = (url.protocol === 'https:' ? proxies.https : proxies.http)?.trim() ?? '';
  if (address === '' || isException(url, proxies.none ?? '')) return null;
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(address) ? address : `http://${address}`;
  const proxy = URL.canParse(full) ? new URL(full) : undefined;
  if (proxy?.protocol === 'http:' || proxy?.protocol === 'https:') return proxy;
  throw new InspectionError(
    'invalid_config',
    // Without what stands before an @: it may be a password.
    `The proxy address '${address.replace(/^.*@/, '')}' cannot be used; it must look like http://host:port or https://host:port.`,
  );
}

function isException(url: URL, exceptions: string): boolean {
  const host = url.hostname.toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return exceptions
    .toLowerCase()
    .split(/[\s,]+/)
    .some((exception) => {
      if (exception === '*') return true;
      // An IPv6 address has colons of its own: its port stands after the bracket.
      const [, name = '', onlyPort] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(exception) ?? [];
      const domain = name.replace(/^\*?\./, '');
      if (domain === '' || (onlyPort !== undefined && onlyPort !== port)) return false;
      return host === domain || host.endsWith(`.${domain}`);
    });
}

/** `Basic` credentials of an address that carries a name and a password, as a header's value. */
export function loginOf(url: URL): string | undefined {
  if (url.username === '') return undefined;
  const login = `${decoded(url.username)}:${decoded(url.password)}`;
  return `Basic ${Buffer.from(login).toString('base64')}`;
}

/** A password with a bare % is no escaped text; people write it so all the same. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
