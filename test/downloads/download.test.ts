import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Download, type DownloadTiming, downloadFile } from '../../src/downloads/download.ts';
import { redirectTarget } from '../../src/downloads/http_get.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { file, listen, plain, serve } from './file_server.ts';

const content = bytesOf(200_000, 1);
const other = bytesOf(200_000, 2);
const etag = '"v1"';
const page = '<!doctype html><html><body>Please log in</body></html>';

let folder: string;
let target: string;
let waits: number[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-download-'));
  target = join(folder, 'model.safetensors');
  waits = [];
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** Bytes without a pattern that a shift could hide. */
function bytesOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function download(url: string, options: Omit<Partial<Download>, 'timing'> & { timing?: Partial<DownloadTiming> } = {}) {
  const { timing, ...rest } = options;
  return downloadFile({
    url,
    target,
    ...rest,
    timing: {
      wait: async (ms) => {
        waits.push(ms);
      },
      ...timing,
    },
  });
}

/** The target holds exactly `bytes`, and nothing else is left in the folder. */
async function expectDone(bytes: Uint8Array): Promise<void> {
  expect(sha256(await readFile(target))).toBe(sha256(bytes));
  expect(await readdir(folder)).toEqual(['model.safetensors']);
}

/** The download fails with this code and words, and nothing lies under the target's name, nor a lock. */
async function expectFailure(attempt: Promise<unknown>, code: ErrorCode, words: string | RegExp): Promise<void> {
  await expect(attempt).rejects.toMatchObject({
    name: 'InspectionError',
    code,
    message: expect.stringMatching(words),
  });
  await expectNoTarget();
}

async function expectNoTarget(): Promise<void> {
  const names = await readdir(folder);
  expect(names).not.toContain('model.safetensors');
  expect(names).not.toContain('model.safetensors.part.lock');
}

/** Leaves a part of `bytes` bytes behind, by a caller who gives up. */
async function interruptedAfter(bytes: number, url: string): Promise<void> {
  const stop = new AbortController();
  const attempt = download(url, {
    signal: stop.signal,
    onProgress: (done) => {
      if (done >= bytes) stop.abort();
    },
  });
  await expectFailure(attempt, 'request_aborted', `${bytes} bytes are kept`);
  expect((await readFile(`${target}.part`)).length).toBe(bytes);
}

describe('downloadFile', () => {
  it('puts the whole file under its name and tells its hash', async () => {
    const { origin, seen } = await serve(file(content));
    const progress: [number, number | null][] = [];
    const result = await download(`${origin}/f`, { onProgress: (...step) => progress.push(step) });
    expect(result).toEqual({ bytes: content.length, sha256: sha256(content), resumed: 0 });
    await expectDone(content);
    expect(seen).toHaveLength(1);
    expect(seen[0]?.headers).toMatchObject({ 'accept-encoding': 'identity' });
    expect(seen[0]?.headers.range).toBeUndefined();
    expect(progress.at(-1)).toEqual([content.length, content.length]);
    const dones = progress.map(([done]) => done);
    expect(dones).toEqual(dones.toSorted((a, b) => a - b));
  });

  it('makes the folder and replaces an older file', async () => {
    const { origin } = await serve(file(content));
    target = join(folder, 'a', 'b', 'model.safetensors');
    await mkdir(join(folder, 'a', 'b'), { recursive: true });
    await writeFile(target, 'old');
    await download(`${origin}/f`);
    expect(sha256(await readFile(target))).toBe(sha256(content));
    await rm(join(folder, 'a'), { recursive: true });
    await download(`${origin}/f`);
    expect(sha256(await readFile(target))).toBe(sha256(content));
  });

  it.each([0, 1, 511, 512, 513])('takes a file of %i bytes', async (length) => {
    const { origin } = await serve(file(content.subarray(0, length)));
    expect(await download(`${origin}/f`, { refuseHtml: true })).toMatchObject({ bytes: length });
    await expectDone(content.subarray(0, length));
  });

  it('takes a body in chunks, whose length nobody says', async () => {
    const { origin } = await serve((_request, response) => {
      response.write(content.subarray(0, 100));
      response.end(content.subarray(100));
    });
    const totals = new Set<number | null>();
    await download(`${origin}/f`, { onProgress: (_done, total) => totals.add(total) });
    expect([...totals]).toEqual([null]);
    await expectDone(content);
  });

  it('refuses an address that is no http address, without telling its password', async () => {
    await expect(download('ftp://user:secret@host/f')).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.not.stringContaining('secret'),
    });
  });
});

describe('a download that is cut', () => {
  it('goes on from what has arrived, inside one call', async () => {
    const { origin, seen, cut } = await serve([file(content, { etag, stallAfter: 70_000 }), file(content, { etag })]);
    const result = await download(`${origin}/f`, { onProgress: (done) => done === 70_000 && cut() });
    expect(result).toEqual({ bytes: content.length, sha256: sha256(content), resumed: 0 });
    await expectDone(content);
    expect(seen.map(({ headers }) => [headers.range, headers['if-range']])).toEqual([
      [undefined, undefined],
      ['bytes=70000-', etag],
    ]);
    expect(waits).toEqual([1000]);
  });

  it('is kept when the caller gives up, and the next call asks for the rest only', async () => {
    const { origin, seen } = await serve([file(content, { etag, stallAfter: 50_000 }), file(content, { etag })]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 50_000, sha256: sha256(content) });
    await expectDone(content);
    expect(seen[1]?.headers.range).toBe('bytes=50000-');
  });

  it('is kept when the process is killed, its lock with it', async () => {
    const { origin, seen } = await serve([file(content, { etag, stallAfter: 50_000 }), file(content, { etag })]);
    await interruptedAfter(50_000, `${origin}/f`);
    // No process has the highest number there is.
    await writeFile(`${target}.part.lock`, String(2 ** 31 - 1));
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 50_000 });
    await expectDone(content);
    expect(seen).toHaveLength(2);
  });

  it('needs no server when only the last rename is missing', async () => {
    const { origin, seen } = await serve([file(content, { etag, stallAfter: 50_000 }), file(content, { etag })]);
    await interruptedAfter(50_000, `${origin}/f`);
    await writeFile(`${target}.part`, content);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: content.length, sha256: sha256(content) });
    await expectDone(content);
    expect(seen).toHaveLength(1);
  });

  it.each([
    ['ignores ranges', { etag, ignoreRange: true }, content],
    ['has another file now', { etag: '"v2"' }, other],
    ['has another file now and ignores If-Range', { etag: '"v2"', ignoreIfRange: true }, other],
    ['has a longer file now and ignores If-Range', { ignoreIfRange: true }, bytesOf(250_000, 3)],
    ['has a shorter file now and ignores If-Range', { ignoreIfRange: true }, bytesOf(60_000, 4)],
    ['has an empty file now', { etag: '"v2"' }, new Uint8Array(0)],
    ['has a file now that ends before our bytes', { ignoreIfRange: true }, bytesOf(20_000, 5)],
  ])('starts anew when the server %s', async (_what, serving, now) => {
    const { origin } = await serve([file(content, { etag, stallAfter: 50_000 }), file(now, serving)]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toEqual({ bytes: now.length, sha256: sha256(now), resumed: 0 });
    await expectDone(now);
  });

  it('starts anew when a proxy on the way refuses ranges', async () => {
    const { origin, seen } = await serve([
      file(content, { etag, stallAfter: 50_000 }),
      plain(403),
      file(content, { etag }),
    ]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 0 });
    await expectDone(content);
    expect(seen[2]?.headers.range).toBeUndefined();
  });

  it.each([
    ['another place', 'bytes 49999-199999/200000'],
    ['another total', 'bytes 50000-199999/200001'],
    ['no place at all', 'none'],
  ])('starts anew when the rest comes from %s', async (_what, range) => {
    const { origin } = await serve([
      file(content, { etag, stallAfter: 50_000 }),
      plain(206, { 'content-range': range }, 'x'.repeat(150_000)),
      file(content, { etag }),
    ]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 0 });
    await expectDone(content);
  });

  it('starts anew when the rest is longer than it can be', async () => {
    const { origin } = await serve([
      file(content, { etag, stallAfter: 50_000 }),
      plain(206, { 'content-range': 'bytes 50000-199999/200000' }, 'x'.repeat(150_001)),
      file(content, { etag }),
    ]);
    await interruptedAfter(50_000, `${origin}/f`);
    await download(`${origin}/f`);
    await expectDone(content);
  });

  const now = 'Sat, 21 Nov 2026 10:00:00 GMT';
  it.each([
    ['nothing', {}, false],
    ['a weak tag', { etag: 'W/"v1"' }, false],
    ['a weak tag and an old date', { etag: 'W/"v1"', lastModified: 'Sat, 21 Nov 2026 09:00:00 GMT' }, false],
    ['a date of this very minute', { lastModified: 'Sat, 21 Nov 2026 09:59:30 GMT' }, false],
    ['an old date', { lastModified: 'Sat, 21 Nov 2026 09:00:00 GMT' }, true],
  ])('is the same file by %s: %s', async (_what, validators, resumes) => {
    const serving = { ...validators, headers: { date: now } };
    const { origin, seen } = await serve([file(content, { ...serving, stallAfter: 50_000 }), file(content, serving)]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: resumes ? 50_000 : 0 });
    await expectDone(content);
    expect(seen[1]?.headers.range).toBe(resumes ? 'bytes=50000-' : undefined);
  });

  it('is held to the length that the server tells at last', async () => {
    const { origin } = await serve([
      (_request, response) => {
        response.writeHead(200, { etag });
        response.write(content.subarray(0, 50_000));
      },
      (_request, response) => {
        const headers = { etag, 'content-range': 'bytes 50000-99999/200000', 'content-length': 50_000 };
        response.writeHead(206, headers).end(content.subarray(50_000, 100_000));
      },
      file(content, { etag }),
    ]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 50_000 });
    await expectDone(content);
    expect(waits).toEqual([1000]);
  });

  it('belongs to its own address', async () => {
    const { origin, seen } = await serve([file(content, { etag, stallAfter: 50_000 }), file(other, { etag })]);
    await interruptedAfter(50_000, `${origin}/f`);
    await download(`${origin}/g`);
    await expectDone(other);
    expect(seen[1]?.headers.range).toBeUndefined();
  });

  it('belongs to its own address, whole or not', async () => {
    const { origin } = await serve([file(content, { etag, stallAfter: 50_000 }), file(other, { etag })]);
    await interruptedAfter(50_000, `${origin}/f`);
    await writeFile(`${target}.part`, content);
    expect(await download(`${origin}/g`)).toMatchObject({ resumed: 0 });
    await expectDone(other);
  });

  it('goes on when the connection is reset', async () => {
    const { origin } = await serve([
      (request, response) => {
        response.writeHead(200, { 'content-length': content.length, etag });
        response.write(content.subarray(0, 50_000), () => setTimeout(() => request.socket.resetAndDestroy(), 20));
      },
      file(content, { etag }),
    ]);
    await download(`${origin}/f`);
    await expectDone(content);
  });

  it.each([
    '',
    '{"url": ',
    'null',
    '[]',
    '{"url": 1}',
    '{"url": "u", "validator": null, "publishedSha256": null, "length": "9"}',
  ])('counts for nothing beside a note that says %j', async (note) => {
    const { origin, seen } = await serve(file(content, { etag }));
    await writeFile(`${target}.part`, other);
    await writeFile(`${target}.part.json`, note);
    await download(`${origin}/f`);
    await expectDone(content);
    expect(seen[0]?.headers.range).toBeUndefined();
  });

  it('ends as the same file wherever it is cut', async () => {
    const short = content.subarray(0, 5000);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 5000 }), { maxLength: 4 }), fc.boolean(), async (cuts, resumable) => {
        const serving = resumable ? { etag } : {};
        const faulty = cuts.map((cutAfter) => file(short, { ...serving, cutAfter }));
        const { origin } = await serve([...faulty, file(short, serving)] as [ReturnType<typeof file>]);
        expect(await download(`${origin}/f`)).toMatchObject({ bytes: 5000, resumed: 0 });
        await expectDone(short);
      }),
      { numRuns: 15 },
    );
  });
});

describe('redirects', () => {
  it('are followed, within a server and to another, as the publisher uses them', async () => {
    const storage = await serve(file(content));
    const { origin, seen } = await serve([
      plain(307, { location: '/cache/f?x=1' }),
      plain(302, { location: `${storage.origin}/blob` }),
    ]);
    await download(`${origin}/f`);
    await expectDone(content);
    expect(seen.map(({ url }) => url)).toEqual(['/f', '/cache/f?x=1']);
    expect(storage.seen.map(({ url }) => url)).toEqual(['/blob']);
  });

  it('ten are enough, eleven too many', async () => {
    const hops = (count: number) =>
      Array.from({ length: count }, (_, hop) => plain(301, { location: `/${hop}` })) as [ReturnType<typeof plain>];
    const ten = await serve([...hops(10), file(content)]);
    await download(`${ten.origin}/f`);
    await expectDone(content);
    await rm(target);
    const eleven = await serve([...hops(11), file(content)]);
    await expectFailure(download(`${eleven.origin}/f`), 'download_failed', 'redirected more than 10 times');
    expect(eleven.seen).toHaveLength(11);
  });

  it('never lead from https to http, nor elsewhere', () => {
    const from = new URL('https://host/a/b');
    expect(redirectTarget(from, 'c').href).toBe('https://host/a/c');
    expect(redirectTarget(from, '//cdn/c').href).toBe('https://cdn/c');
    expect(() => redirectTarget(from, 'http://host/c')).toThrow(/from https to http/);
    expect(() => redirectTarget(from, 'file:///etc/passwd')).toThrow(/cannot be used/);
    expect(() => redirectTarget(from, undefined)).toThrow(/cannot be used/);
    expect(redirectTarget(new URL('http://host/a'), 'https://host/c').href).toBe('https://host/c');
  });

  it('do not carry the login to another server, nor onto the disk', async () => {
    const storage = await serve(file(content, { etag, stallAfter: 50_000 }));
    const { port, seen } = await serve(plain(302, { location: `${storage.origin}/blob` }));
    await interruptedAfter(50_000, `http://me:se%40cret@127.0.0.1:${port}/f`);
    expect(seen[0]?.headers.authorization).toBe(`Basic ${Buffer.from('me:se@cret').toString('base64')}`);
    expect(storage.seen[0]?.headers.authorization).toBeUndefined();
    const note = await readFile(`${target}.part.json`, 'utf8');
    expect(JSON.parse(note)).toMatchObject({ url: `http://127.0.0.1:${port}/f`, validator: etag });
    expect(note).not.toContain('cret');
  });
});

describe("the publisher's own hash", () => {
  const linked = (bytes: Uint8Array) => ({ 'x-linked-etag': `"${sha256(bytes)}"`, 'x-linked-size': `${bytes.length}` });

  it('lets a download go on where the storage names no version', async () => {
    const storage = await serve([file(content, { stallAfter: 50_000 }), file(content)]);
    const { origin } = await serve(plain(302, { location: `${storage.origin}/blob`, ...linked(content) }));
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 50_000 });
    await expectDone(content);
    expect(storage.seen[1]?.headers).toMatchObject({ range: 'bytes=50000-' });
    expect(storage.seen[1]?.headers['if-range']).toBeUndefined();
  });

  it('lets a download go on where every server of the storage has tags of its own', async () => {
    const storage = await serve([file(content, { etag: '"a"', stallAfter: 50_000 }), file(content, { etag: '"b"' })]);
    const { origin } = await serve(plain(302, { location: storage.origin, ...linked(content) }));
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 50_000 });
    await expectDone(content);
  });

  it('tells that the file has changed', async () => {
    const storage = await serve([file(content, { stallAfter: 50_000 }), file(other)]);
    const location = `${storage.origin}/blob`;
    const { origin } = await serve([
      plain(302, { location, ...linked(content) }),
      plain(302, { location, ...linked(other) }),
    ]);
    await interruptedAfter(50_000, `${origin}/f`);
    expect(await download(`${origin}/f`)).toMatchObject({ resumed: 0 });
    await expectDone(other);
  });

  it('throws away what was damaged on the way', async () => {
    const { origin } = await serve(file(other, { headers: linked(content) }));
    await expectFailure(download(`${origin}/f`), 'download_failed', 'damaged on the way');
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses an unexpected file before its first byte', async () => {
    const { origin } = await serve(file(other, { headers: linked(other) }));
    const onProgress = vi.fn();
    const attempt = download(`${origin}/f`, { expectedSha256: sha256(content), onProgress });
    await expectFailure(attempt, 'download_changed', sha256(other));
    expect(onProgress).not.toHaveBeenCalled();
    expect(await readdir(folder)).toEqual([]);
  });

  it('gives the length where the server sends chunks', async () => {
    const { origin } = await serve((_request, response) => {
      response.writeHead(200, linked(content));
      response.write(content.subarray(0, 100_000));
      response.end();
    });
    await expectFailure(download(`${origin}/f`), 'download_failed', '100000 of the 200000 bytes');
  });
});

describe('an expected hash', () => {
  it('lets its own file pass', async () => {
    const { origin } = await serve(file(content));
    await download(`${origin}/f`, { expectedSha256: sha256(content) });
    await expectDone(content);
  });

  it('refuses any other and leaves what was there', async () => {
    const { origin } = await serve(file(other));
    await writeFile(target, content);
    await expect(download(`${origin}/f`, { expectedSha256: sha256(content) })).rejects.toMatchObject({
      code: 'download_changed',
      message: expect.stringContaining(`SHA-256 is ${sha256(other)}, expected ${sha256(content)}`),
    });
    await expectDone(content);
  });
});

describe('a server that says no', () => {
  it.each([
    [401, /wants a login \(401\).*https:\/\/name:password@host/],
    [403, /refuses the file \/f \(403\)/],
    [404, /has no file \/f \(404\)/],
    [407, /proxy .* wants a login \(407\)/],
    [418, /answered 418/],
    [204, /answered 204/],
    [206, /answered 206/],
    [416, /answered 416/],
    [511, /web page/],
  ])('with %i is asked once and its answer told', async (status, words) => {
    const { origin, seen } = await serve(plain(status));
    await expectFailure(download(`${origin}/f`), 'download_failed', words);
    expect(await readdir(folder)).toEqual([]);
    expect(seen).toHaveLength(1);
    expect(waits).toEqual([]);
  });

  it.each([500, 502, 503, 504, 408, 425, 429])('with %i for now is asked again', async (status) => {
    const { origin, seen } = await serve([plain(status), file(content)]);
    await download(`${origin}/f`);
    await expectDone(content);
    expect(seen).toHaveLength(2);
    expect(waits).toEqual([1000]);
  });

  it('with 500 for good is asked five times, with growing pauses', async () => {
    const { origin, seen } = await serve(plain(500));
    await expectFailure(download(`${origin}/f`), 'download_failed', 'answered 500');
    expect(seen).toHaveLength(5);
    expect(waits).toEqual([1000, 2000, 4000, 8000]);
  });

  it('is asked again when it wishes, by seconds or date', async () => {
    const { origin } = await serve([
      plain(429, { 'retry-after': '7' }),
      plain(503, { 'retry-after': 'Sat, 21 Nov 2026 10:00:30 GMT' }),
      plain(503, { 'retry-after': 'Sat, 21 Nov 2026 09:00:00 GMT' }),
      plain(503, { 'retry-after': 'soon' }),
      file(content),
    ]);
    await download(`${origin}/f`, { timing: { now: () => Date.parse('2026-11-21T10:00:00Z') } });
    await expectDone(content);
    expect(waits).toEqual([7000, 30_000, 0, 8000]);
  });

  it('is not waited for by the hour', async () => {
    const { origin, seen } = await serve(plain(429, { 'retry-after': '3600' }));
    await expectFailure(
      download(`${origin}/f`),
      'download_failed',
      'asks us to wait (429), for 3600 s'.replace(/[()]/g, '.'),
    );
    expect(seen).toHaveLength(1);
    expect(waits).toEqual([]);
  });

  it('may cut as often as it likes while every try brings a MiB', async () => {
    const mib = 1024 * 1024;
    const long = bytesOf(8 * mib, 6);
    const { origin, seen, cut } = await serve(file(long, { etag, stallAfter: mib }));
    await download(`${origin}/f`, { onProgress: (done) => done % mib === 0 && cut() });
    await expectDone(long);
    expect(seen).toHaveLength(8);
    expect(waits).toEqual(Array(7).fill(1000));
  });

  it('is given up when every try begins at zero again', async () => {
    const long = bytesOf(3 * 1024 * 1024, 6);
    const { origin, seen } = await serve(file(long, { cutAfter: 2 * 1024 * 1024 }));
    await expectFailure(download(`${origin}/f`), 'download_failed', /broke \(ECONNRESET\)/);
    expect(seen).toHaveLength(5);
  });

  it('is given up when it comes no further than before', async () => {
    const long = bytesOf(3 * 1024 * 1024, 6);
    const far = file(long, { cutAfter: 2 * 1024 * 1024 });
    const near = file(long, { cutAfter: 1000 });
    const { origin } = await serve([far, near, far, near, far, near, far, near, file(long)]);
    await expectFailure(download(`${origin}/f`), 'download_failed', /broke \(ECONNRESET\)/);
  });
});

describe('what is not the file', () => {
  it.each([
    ['a page by its type', { 'content-type': 'text/html; charset=utf-8' }, 'hello'],
    ['a page by its first bytes', { 'content-type': 'application/octet-stream' }, page],
    ['a page after a comment', {}, `\n<!-- portal -->\n<HTML>${' '.repeat(600)}</HTML>`],
    ['an xhtml page', {}, `<?xml version="1.0"?>\n${page}`],
  ])('%s is refused', async (_what, headers, text) => {
    const { origin, seen } = await serve(plain(200, headers, text));
    await expectFailure(
      download(`${origin}/f`, { refuseHtml: true }),
      'download_failed',
      'web page instead of the file',
    );
    expect(seen).toHaveLength(1);
  });

  it('a page that comes in drops is refused', async () => {
    const { origin } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': page.length });
      response.write(page.slice(0, 3), () => setTimeout(() => response.end(page.slice(3)), 20));
    });
    await expectFailure(download(`${origin}/f`, { refuseHtml: true }), 'download_failed', 'web page');
  });

  it('is taken where web pages are not refused', async () => {
    const { origin } = await serve(plain(200, { 'content-type': 'text/html' }, page));
    await download(`${origin}/f`);
    await expectDone(Buffer.from(page));
  });

  it('does not cost what has arrived', async () => {
    const { origin } = await serve([
      file(content, { etag, stallAfter: 50_000 }),
      plain(200, {}, page),
      file(content, { etag }),
    ]);
    await interruptedAfter(50_000, `${origin}/f`);
    await expectFailure(download(`${origin}/f`, { refuseHtml: true }), 'download_failed', 'web page');
    expect(await download(`${origin}/f`, { refuseHtml: true })).toMatchObject({ resumed: 50_000 });
    await expectDone(content);
  });

  it('is refused when packed', async () => {
    const { origin } = await serve(plain(200, { 'content-encoding': 'gzip' }, 'x'));
    await expectFailure(download(`${origin}/f`), 'download_failed', 'content-encoding gzip');
  });

  it('is refused when nobody could tell half of it from the whole', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\nhalf a file'));
    });
    const port = await listen(server);
    onTestFinished(() => {
      server.close();
    });
    await expectFailure(download(`http://127.0.0.1:${port}/f`), 'download_failed', 'does not say how long');
  });

  it('is refused when shorter than announced, time after time', async () => {
    const { origin, seen } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('x'.repeat(400), () => setTimeout(() => response.destroy(), 20));
    });
    await expectFailure(download(`${origin}/f`), 'download_failed', /broke/);
    expect(seen).toHaveLength(5);
  });

  it('is refused when longer than the publisher says', async () => {
    const { origin } = await serve((_request, response) => {
      response.writeHead(200, { 'x-linked-size': '10' });
      response.write('x'.repeat(1000));
      response.end();
    });
    await expectFailure(download(`${origin}/f`), 'download_failed', 'more than the 10 bytes');
  });
});

describe('silence', () => {
  it('before any answer is told after one try', async () => {
    const { origin, seen } = await serve(() => undefined);
    const attempt = download(`${origin}/f`, { timing: { stallMs: 50 } });
    await expectFailure(attempt, 'download_failed', 'sent nothing for 0.05 s');
    expect(seen).toHaveLength(1);
  });

  it('in the middle is a cut', async () => {
    const { origin, seen } = await serve([file(content, { etag, stallAfter: 50_000 }), file(content, { etag })]);
    await download(`${origin}/f`, { timing: { stallMs: 200 } });
    await expectDone(content);
    expect(seen[1]?.headers.range).toBe('bytes=50000-');
  });
});

describe('a slow line', () => {
  it('is not silence', async () => {
    const { origin, seen } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1200 });
      let sent = 0;
      const drip = setInterval(() => {
        response.write('x'.repeat(100));
        sent += 100;
        if (sent === 1200) clearInterval(drip);
      }, 50);
    });
    await download(`${origin}/f`, { timing: { stallMs: 400 } });
    await expectDone(Buffer.alloc(1200, 'x'));
    expect(seen).toHaveLength(1);
  });
});

describe('no internet', () => {
  it('is told soon when a firewall swallows every packet', async () => {
    const waiting = Object.assign(new Socket(), { connecting: true });
    const connecting = vi.spyOn(Agent.prototype, 'createConnection').mockReturnValue(waiting);
    onTestFinished(() => connecting.mockRestore());
    const attempt = download('http://127.0.0.1/f', { timing: { connectMs: 50, stallMs: 5000 } });
    await expectFailure(attempt, 'download_failed', '127.0.0.1 cannot be reached (ETIMEDOUT)'.replace(/[()]/g, '.'));
    expect(waits).toEqual([]);
    expect(waiting.destroyed).toBe(true);
  });

  it('is told at once when nobody listens', async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    const attempt = download(`http://127.0.0.1:${port}/f`);
    await expectFailure(attempt, 'download_failed', /ECONNREFUSED.*internet here\?.*carry it here by hand/);
    expect(waits).toEqual([]);
  });

  it('is told at once when the name is unknown', async () => {
    const attempt = download('http://nowhere.invalid/f');
    await expectFailure(attempt, 'download_failed', /nowhere\.invalid cannot be reached \((ENOTFOUND|EAI_AGAIN)\)/);
    expect(waits).toEqual([]);
  });

  it('is told at once when a firewall lets only the publisher through, not its storage', async () => {
    const { origin, seen } = await serve(plain(302, { location: 'http://nowhere.invalid/f' }));
    await expectFailure(download(`${origin}/f`), 'download_failed', 'nowhere.invalid cannot be reached');
    expect(seen).toHaveLength(1);
  });

  it('is waited for when it was there a moment ago', async () => {
    const storage = await serve([file(content, { etag, cutAfter: 50_000 }), file(content, { etag })]);
    const there = plain(302, { location: storage.origin });
    const { origin } = await serve([there, plain(302, { location: 'http://nowhere.invalid/f' }), there]);
    await download(`${origin}/f`);
    await expectDone(content);
    expect(waits).toEqual([1000, 2000]);
  });
});

describe('stopping', () => {
  it('ends a wait between two tries', async () => {
    const { origin } = await serve(plain(500));
    const stop = new AbortController();
    const attempt = downloadFile({
      url: `${origin}/f`,
      target,
      signal: stop.signal,
      timing: { pauseMs: 60_000, now: Date.now },
    });
    setTimeout(() => stop.abort(), 100);
    await expectFailure(attempt, 'request_aborted', 'stopped');
  });

  it('before the start asks nobody', async () => {
    const { origin, seen } = await serve(file(content));
    const attempt = download(`${origin}/f`, { signal: AbortSignal.abort() });
    await expectFailure(attempt, 'request_aborted', 'stopped; 0 bytes');
    expect(seen).toHaveLength(0);
  });

  it('lets a mistake of the caller through as it is', async () => {
    const { origin } = await serve(file(content));
    const attempt = download(`${origin}/f`, {
      onProgress: () => {
        throw new TypeError('mine');
      },
    });
    await expect(attempt).rejects.toThrow(new TypeError('mine'));
    await expectNoTarget();
  });
});

describe('the disk', () => {
  it('that has a file where a folder must be is told before anything is asked', async () => {
    const { origin, seen } = await serve(file(content));
    await writeFile(join(folder, 'extractors'), '');
    target = join(folder, 'extractors', 'model.safetensors');
    await expect(download(`${origin}/f`)).rejects.toMatchObject({ code: 'storage_unavailable' });
    expect(seen).toHaveLength(0);
  });

  it('that has a folder where the file must be is told before anything is asked', async () => {
    const { origin, seen } = await serve(file(content));
    await mkdir(target);
    await expect(download(`${origin}/f`)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining("'model.safetensors' must be a file"),
    });
    expect(seen).toHaveLength(0);
    expect(await readdir(folder)).toEqual(['model.safetensors']);
  });

  it('that does not let us write is told', async ({ skip }) => {
    if (process.getuid?.() === 0 || process.platform === 'win32') skip('rights do not bind this user');
    const { origin } = await serve(file(content));
    await mkdir(join(folder, 'closed'), { mode: 0o500 });
    target = join(folder, 'closed', 'model.safetensors');
    await expect(download(`${origin}/f`)).rejects.toMatchObject({
      code: 'storage_unavailable',
      message: expect.stringContaining('EACCES'),
    });
  });

  it('is written by one download at a time', async () => {
    const { origin } = await serve([file(content, { etag, stallAfter: 50_000 }), file(content, { etag })]);
    const stop = new AbortController();
    let first: Promise<unknown> | undefined;
    await new Promise<void>((resolve) => {
      first = download(`${origin}/f`, { signal: stop.signal, onProgress: () => resolve() });
    });
    await expect(download(`${origin}/f`)).rejects.toMatchObject({
      code: 'download_failed',
      message: expect.stringContaining(`Another download of this file is running (process ${process.pid})`),
    });
    stop.abort();
    await expect(first).rejects.toMatchObject({ code: 'request_aborted' });
    await download(`${origin}/f`);
    await expectDone(content);
  });
});
