import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, request as forward } from 'node:http';
import { connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { downloadFile } from '../../src/downloads/download.ts';
import { loginOf, proxyFor } from '../../src/downloads/proxies.ts';
import { file, listen, plain, serve } from './file_server.ts';
import { selfSigned } from './self_signed_certificate.ts';

const content = Buffer.from('the content of a file');
const login = `Basic ${Buffer.from('me:se@cret').toString('base64')}`;

let folder: string;
let target: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-proxy-'));
  target = join(folder, 'f.bin');
});

afterEach(() => rm(folder, { recursive: true, force: true }));

function download(url: string, proxies: Parameters<typeof downloadFile>[0]['proxies']) {
  return downloadFile({
    url,
    target,
    ...(proxies && { proxies }),
    timing: { wait: async () => undefined, stallMs: 5000 },
  });
}

/** A proxy that forwards http and opens tunnels, if the login is right. */
async function startProxy(wanted?: string): Promise<{ readonly port: number; readonly log: readonly string[] }> {
  const log: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    log.push(`${request.method} ${request.url}`);
    if (wanted !== undefined && request.headers['proxy-authorization'] !== wanted) {
      response.writeHead(407).end();
      return;
    }
    const { 'proxy-authorization': _, ...headers } = request.headers;
    request.pipe(
      forward(request.url as string, { headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 0, answer.headers);
        answer.on('error', () => response.destroy()).pipe(response);
      }),
    );
  });
  server.on('connect', (request, socket: Socket) => {
    log.push(`CONNECT ${request.url}`);
    if (wanted !== undefined && request.headers['proxy-authorization'] !== wanted) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const [host = '', port] = (request.url as string).split(':');
    const way = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      way.pipe(socket).pipe(way);
    });
    for (const end of [way, socket]) {
      sockets.add(end);
      end.on('error', () => [way, socket].map((each) => each.destroy()));
    }
  });
  const port = await listen(server);
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  return { port, log };
}

/** A proxy that answers the first bytes of every connection with `text`, or with nothing. */
async function startRudeProxy(text: string): Promise<{ readonly port: number; count(): number }> {
  let connections = 0;
  const server = createTcpServer((socket) => {
    connections++;
    socket.on('error', () => socket.destroy());
    socket.once('data', () => (text === '' ? socket.destroy() : socket.end(text)));
  });
  const port = await listen(server);
  onTestFinished(() => {
    server.close();
  });
  return { port, count: () => connections };
}

describe('proxyFor', () => {
  const via = (url: string, proxies: Parameters<typeof proxyFor>[1]) => proxyFor(new URL(url), proxies)?.href ?? null;

  it('takes the proxy of the scheme', () => {
    const proxies = { https: 'http://secure:1', http: 'http://plain:2' };
    expect(via('https://host/f', proxies)).toBe('http://secure:1/');
    expect(via('http://host/f', proxies)).toBe('http://plain:2/');
    expect(via('https://host/f', { http: 'http://plain:2' })).toBeNull();
    expect(via('https://host/f', {})).toBeNull();
    expect(via('https://host/f', { https: '  ' })).toBeNull();
  });

  it.each([
    ['proxy:3128', 'http://proxy:3128/'],
    ['10.0.0.1:8080', 'http://10.0.0.1:8080/'],
    ['https://proxy', 'https://proxy/'],
    [' HTTP://me:pw@proxy:1 ', 'http://me:pw@proxy:1/'],
  ])('understands %j', (address, href) => {
    expect(via('https://host/f', { https: address })).toBe(href);
  });

  it.each(['socks5://me:secret@proxy:1', 'http://', 'http://me:secret@:80:80', 'ftp://proxy'])(
    'refuses %j',
    (address) => {
      const choose = () => via('https://host/f', { https: address });
      expect(choose).toThrow(expect.objectContaining({ code: 'invalid_config' }));
      expect(choose).not.toThrow(/secret/);
    },
  );

  it.each([
    ['*', 'https://host/f', true],
    ['host', 'https://host/f', true],
    ['HOST', 'https://host/f', true],
    ['host', 'https://ghost/f', false],
    ['example.com', 'https://a.example.com/f', true],
    ['.example.com', 'https://a.example.com/f', true],
    ['*.example.com', 'https://a.example.com/f', true],
    ['example.com', 'https://badexample.com/f', false],
    ['host:443', 'https://host/f', true],
    ['host:80', 'https://host/f', false],
    ['host:8443', 'https://host:8443/f', true],
    ['a, b  host,', 'https://host/f', true],
    ['', 'https://host/f', false],
    [',', 'https://host/f', false],
    ['.', 'https://host/f', false],
    ['127.0.0.1', 'https://127.0.0.1:99/f', true],
    ['[::1]', 'https://[::1]:99/f', true],
    ['[::1]:99', 'https://[::1]:99/f', true],
    ['[::1]:98', 'https://[::1]:99/f', false],
  ])('an exception %j for %s: %s', (none, url, direct) => {
    expect(via(url, { https: 'http://proxy:1', none })).toBe(direct ? null : 'http://proxy:1/');
  });
});

describe('loginOf', () => {
  it('decodes what the address escapes, and bears what it should have escaped', () => {
    expect(loginOf(new URL('http://me:se%40cret@h'))).toBe(login);
    expect(loginOf(new URL('http://me:100%@h'))).toBe(`Basic ${Buffer.from('me:100%').toString('base64')}`);
    expect(loginOf(new URL('http://me@h'))).toBe(`Basic ${Buffer.from('me:').toString('base64')}`);
    expect(loginOf(new URL('http://h'))).toBeUndefined();
  });
});

describe('a download through a proxy', () => {
  it('asks the proxy for an http address, with the login for the proxy alone', async () => {
    const { origin, seen } = await serve(file(content));
    const proxy = await startProxy(login);
    await download(`${origin}/f?q=1#x`, { http: `me:se%40cret@127.0.0.1:${proxy.port}` });
    expect(await readFile(target)).toEqual(content);
    expect(proxy.log).toEqual([`GET ${origin}/f?q=1`]);
    expect(seen[0]?.url).toBe('/f?q=1');
    expect(seen[0]?.headers.host).toBe(new URL(origin).host);
    expect(seen[0]?.headers['proxy-authorization']).toBeUndefined();
  });

  it('goes on from the middle as well', async () => {
    const { origin, seen } = await serve([
      file(content, { etag: '"v1"', cutAfter: 5 }),
      file(content, { etag: '"v1"' }),
    ]);
    const proxy = await startProxy();
    await download(`${origin}/f`, { http: `127.0.0.1:${proxy.port}` });
    expect(await readFile(target)).toEqual(content);
    expect(seen).toHaveLength(2);
  });

  it('goes around it where that is said', async () => {
    const { origin } = await serve(file(content));
    const proxy = await startProxy();
    await download(`${origin}/f`, { http: `127.0.0.1:${proxy.port}`, none: '127.0.0.1' });
    expect(proxy.log).toEqual([]);
  });

  it.each(['http', 'https'] as const)('says when the proxy wants a login, for %s', async (scheme) => {
    const proxy = await startProxy(login);
    const attempt = download(`${scheme}://127.0.0.1:1/f`, { [scheme]: `me:wrong@127.0.0.1:${proxy.port}` });
    await expect(attempt).rejects.toMatchObject({
      code: 'download_failed',
      message: expect.stringMatching(/proxy 127\.0\.0\.1:\d+ wants a login \(407\).*http:\/\/name:password@host:port/),
    });
    expect(proxy.log).toHaveLength(1);
    expect(await readdir(folder)).not.toContain('f.bin');
  });

  it('says when the proxy does not let us through', async () => {
    const proxy = await startRudeProxy('HTTP/1.1 403 Forbidden\r\n\r\n');
    await expect(download('https://host.test/f', { https: `127.0.0.1:${proxy.port}` })).rejects.toMatchObject({
      code: 'download_failed',
      message: expect.stringContaining('does not let us through to host.test (403)'),
    });
    expect(proxy.count()).toBe(1);
  });

  it.each([
    ['', 'broke'],
    ['HTTP/1.1 503 Service Unavailable\r\n\r\n', 'does not let us through to host.test (503)'],
  ])('tries again, but not for ever, when the proxy answers CONNECT with %j', async (text, words) => {
    const proxy = await startRudeProxy(text);
    await expect(download('https://host.test/f', { https: `127.0.0.1:${proxy.port}` })).rejects.toMatchObject({
      code: 'download_failed',
      message: expect.stringContaining(words),
    });
    expect(proxy.count()).toBe(5);
  });

  it('says when no proxy is there', async () => {
    await expect(download('https://host.test/f', { https: '127.0.0.1:1' })).rejects.toMatchObject({
      code: 'download_failed',
      message: expect.stringContaining('host.test through the proxy 127.0.0.1:1 cannot be reached (ECONNREFUSED)'),
    });
  });

  it('says when a certificate is not trusted', async () => {
    const { port } = await serve(file(content), selfSigned('localhost'));
    const proxy = await startProxy();
    await expect(download(`https://localhost:${port}/f`, { https: `127.0.0.1:${proxy.port}` })).rejects.toMatchObject({
      code: 'download_failed',
      message: expect.stringMatching(/certificate of localhost.* not trusted \(DEPTH_ZERO.*NODE_EXTRA_CA_CERTS/),
    });
    expect(proxy.log).toEqual([`CONNECT localhost:${port}`]);
  });

  // Node reads NODE_EXTRA_CA_CERTS once, when it starts: hence a process of its own.
  it.each([
    ['localhost', true],
    ['127.0.0.1', true],
    ['localhost', false],
  ])('reaches https://%s, tunnel: %s, with the certificate that people add', async (host, tunnel) => {
    const tls = selfSigned(host);
    const { port, seen } = await serve([plain(302, { location: '/g' }), file(content)], tls);
    const proxy = await startProxy(login);
    const certificate = join(folder, 'ca.pem');
    await writeFile(certificate, tls.certificate);
    const wish = {
      url: `https://${host}:${port}/f`,
      target,
      proxies: tunnel ? { https: `me:se%40cret@127.0.0.1:${proxy.port}` } : {},
    };
    const module = new URL('../../src/downloads/download.ts', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then((m) => m.downloadFile(${JSON.stringify(wish)})).catch((e) => console.log(e.message))`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '-e', script], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: certificate },
    });
    expect(stdout).toBe('');
    expect(await readFile(target)).toEqual(content);
    // An address is no name that a server could be asked for.
    expect(seen.map(({ serverName }) => serverName)).toEqual(Array(2).fill(host === 'localhost' && host));
    expect(proxy.log).toEqual(tunnel ? Array(2).fill(`CONNECT ${host}:${port}`) : []);
  });
});
