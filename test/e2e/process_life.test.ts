import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tokenCard, writeCard } from '../extractors/model_card_file.ts';
import { type PartPicture, partPictures, partsMmPerPx } from '../parts.ts';
import { type FitAnswer, get, type InferAnswer, postForm } from './client.ts';
import { type OkngProcess, okngOfEachTest } from './process.ts';

/** What a real process does at its beginning, at its end, with broken files and with bodies that are too large. */

const model = { role_id: 'flange', roi_id: 'top', mm_per_px: String(partsMmPerPx) };
const good = partPictures('train/good');
const [part] = partPictures('test/good') as [PartPicture];

const { start, modelsDir } = okngOfEachTest();

const postFit = (okng: OkngProcess, fields: Readonly<Record<string, string>>, pictures: readonly PartPicture[]) =>
  postForm<FitAnswer>(
    `${okng.url}/fit_ok`,
    { ...model, ...fields },
    pictures.map((picture) => ({ ...picture, field: 'images' })),
  );

const infer = (okng: OkngProcess, fields: Readonly<Record<string, string>> = {}) =>
  postForm<InferAnswer>(`${okng.url}/infer`, { ...model, ...fields }, [{ ...part, field: 'image' }]);

const modelFile = (suffix: string) =>
  join(modelsDir(), readdirSync(modelsDir()).find((name) => name.endsWith(suffix)) ?? `no file ${suffix}`);

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 50));
}

describe('light import', () => {
  const loaded = (okng: OkngProcess) => readFileSync(`/proc/${okng.child.pid}/maps`, 'utf8');

  it.skipIf(!existsSync('/proc/self/maps'))('answers /health with no heavy library in memory', async () => {
    const okng = await start({ BDI_LIGHT_IMPORT: '1' });
    expect((await get<{ status: string }>(`${okng.url}/health`)).body.status).toBe('ok');
    expect(loaded(okng)).not.toMatch(/onnxruntime|vips|sharp|faiss|opencv/);
    // They come with the first picture, and then the same look does find them.
    expect((await postFit(okng, {}, good.slice(0, 2))).status).toBe(200);
    expect(loaded(okng)).toMatch(/onnxruntime[\s\S]*vips|vips[\s\S]*onnxruntime/);
  });
});

describe.each([
  ['light', { BDI_LIGHT_IMPORT: '1' }],
  ['whole', {}],
])('temp files of killed processes', (mode, environment) => {
  it(`are removed at a ${mode} start, those of a fit beside it are not`, async () => {
    const folder = join(modelsDir(), 'recipes', 'line1', 'k');
    mkdirSync(folder, { recursive: true });
    const elevenMinutesAgo = new Date(Date.now() - 11 * 60_000);
    for (const place of [modelsDir(), folder]) {
      for (const name of ['.tmp-old', '.tmp-young']) writeFileSync(join(place, name), 'half a memory');
      utimesSync(join(place, '.tmp-old'), elevenMinutesAgo, elevenMinutesAgo);
    }
    const okng = await start(environment);
    await until(() => okng.log.some(({ removed }) => removed === 2));
    expect(readdirSync(modelsDir())).toEqual(['.tmp-young', 'recipes']);
    expect(readdirSync(folder)).toEqual(['.tmp-young']);
  });
});

describe('a start that cannot be', () => {
  it('ends with 78 and the whole list of settings that are wrong', async () => {
    const starting = start({ BDI_BACKEND_PORT: 'x', BDI_MODEL_DIR: '/tmp', CORESET_RATE: '0' });
    await expect(starting).rejects.toThrow(/ended with 78[\s\S]*BDI_MODEL_DIR[\s\S]*/);
    await expect(starting).rejects.toThrow(/BDI_BACKEND_PORT/);
    await expect(starting).rejects.toThrow(/CORESET_RATE/);
  });

  it('ends with 1 when the address is taken', async () => {
    const first = await start({ BDI_LIGHT_IMPORT: '1' });
    const port = new URL(first.url).port;
    await expect(start({ BDI_LIGHT_IMPORT: '1', BDI_BACKEND_PORT: port })).rejects.toThrow(/ended with 1.*EADDRINUSE/s);
  });
});

describe('the log', () => {
  it('has one line for every request, with its id and the time of each step', async () => {
    const okng = await start();
    await postForm(`${okng.url}/fit_ok`, model, [{ ...part, field: 'images' }], { 'X-Request-Id': 'fit 1' });
    await postForm(`${okng.url}/infer`, model, [{ ...part, field: 'image' }], { 'X-Request-Id': 'shot 1' });
    const lineOf = (id: string) => okng.log.filter((line) => line.msg === 'request' && line.request_id === id);
    await until(() => lineOf('shot 1').length > 0);
    const [fit] = lineOf('fit 1') as [Record<string, object>];
    const [shot] = lineOf('shot 1') as [Record<string, object>];
    expect(fit).toMatchObject({ method: 'POST', path: '/fit_ok', status: 200, recipe_id: 'default' });
    expect(Object.keys(fit.steps as object).join(' ')).toBe('decode prepare extract coreset write');
    expect(Object.keys(shot.steps as object).join(' ')).toBe('decode prepare extract search map regions encode');
    for (const ms of Object.values({ ...fit.steps, ...shot.steps })) expect(ms).toBeGreaterThanOrEqual(0);
    expect([...lineOf('fit 1'), ...lineOf('shot 1')]).toHaveLength(2);
  });
});

describe('a model of another extractor', () => {
  it('is refused, told what to do, and left as it is', async () => {
    const first = await start();
    await postFit(first, {}, good.slice(0, 2));
    const before = await infer(first);
    await first.kill('SIGTERM');
    const files = () => readdirSync(modelsDir()).map((name) => [name, statSync(join(modelsDir(), name)).mtimeMs]);
    const untouched = files();

    const folder = mkdtempSync(join(tmpdir(), 'okng-card-'));
    const card = await writeCard(join(folder, 'card.json'), tokenCard());
    const other = await start({ EXTRACTOR: card });
    expect((await get<{ model: string }>(`${other.url}/health`)).body.model).toBe('tiny_tokens');
    expect(await infer(other)).toMatchObject({
      status: 409,
      body: {
        code: 'extractor_mismatch',
        error: expect.stringMatching(
          /made with the extractor embedded_filter_bank .* runs tiny_tokens .*fit this role and ROI again, or start the service with EXTRACTOR/,
        ),
      },
    });
    await other.kill('SIGTERM');
    rmSync(folder, { recursive: true });
    expect(files()).toEqual(untouched);

    const again = await infer(await start());
    expect(again.body.score).toBe(before.body.score);
  });
});

describe('broken files', () => {
  it('a damaged model is reported by name, 503; the others are served, and a new fit mends it', async () => {
    const okng = await start();
    await postFit(okng, {}, good.slice(0, 3));
    const damaged = modelFile('.npz');
    const bytes = readFileSync(damaged);
    await postFit(okng, { roi_id: 'other' }, good.slice(0, 3));
    writeFileSync(damaged, bytes.subarray(0, bytes.length / 2));

    const refused = await infer(okng);
    expect(refused.status).toBe(503);
    expect(refused.body).toMatchObject({
      code: 'damaged_file',
      error: expect.stringContaining(damaged.slice(modelsDir().length + 1)),
    });
    expect(JSON.stringify(refused.body)).not.toContain(modelsDir());
    expect((await infer(okng, { roi_id: 'other' })).status).toBe(200);

    expect((await postFit(okng, {}, good.slice(0, 3))).status).toBe(200);
    expect((await infer(okng)).status).toBe(200);
  });

  it('a fit whose scale cannot be stored is refused and stores no memory', async () => {
    const okng = await start();
    writeFileSync(join(modelsDir(), 'recipes'), 'a file where a folder must be');
    const refused = await postFit(okng, {}, good.slice(0, 2));
    expect(refused.status).toBe(503);
    expect(refused.body).toMatchObject({ code: 'damaged_file' });
    expect(readdirSync(modelsDir())).toEqual(['recipes']);

    rmSync(join(modelsDir(), 'recipes'));
    expect((await postFit(okng, {}, good.slice(0, 2))).status).toBe(200);
  });

  it('a missing FAISS index is written again from the memory', async () => {
    const okng = await start();
    await postFit(okng, {}, good.slice(0, 3));
    const index = modelFile('_index.faiss');
    const bytes = readFileSync(index);
    rmSync(index);
    expect((await infer(okng)).status).toBe(200);
    await until(() => existsSync(index));
    expect(readFileSync(index)).toEqual(bytes);
    await until(() => okng.log.some(({ msg }) => String(msg).includes('FAISS index')));
    expect(okng.log.find(({ msg }) => String(msg).includes('FAISS index'))).toMatchObject({ state: 'was_missing' });
  });
});

describe('shutdown', () => {
  /** Long enough to be running when the signal comes. */
  const many = Array.from({ length: 3 }, () => good).flat();

  it('finishes the fit in progress, takes nothing new, and ends with 0', async () => {
    const okng = await start();
    const begun = postFit(okng, {}, many);
    await new Promise((resolve) => setTimeout(resolve, 700));
    okng.child.kill('SIGTERM');
    await until(() => okng.log.some(({ msg }) => msg === 'shutting down'));
    await expect(get(`${okng.url}/health`)).rejects.toThrow();
    const answered = await begun;
    expect(answered.status).toBe(200);
    expect(await okng.ended).toBe(0);
    expect(okng.log.at(-1)).toMatchObject({ msg: 'stopped', clean: true });
    const after = await start();
    expect((await infer(after)).status).toBe(200);
  });

  it('abandons a fit that takes too long: 503, the old model as it was, no temp files', async () => {
    const okng = await start({ BDI_SHUTDOWN_TIMEOUT_S: '0' });
    await postFit(okng, {}, good.slice(0, 3));
    const files = () =>
      readdirSync(modelsDir()).map((name) => [
        name,
        name.includes('.') && readFileSync(join(modelsDir(), name), 'base64'),
      ]);
    const before = files();
    const answer = postFit(okng, {}, many);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await okng.kill('SIGTERM')).toBe(0);
    expect(await answer).toMatchObject({ status: 503, body: { code: 'shutting_down' } });
    expect(okng.log.at(-1)).toMatchObject({ msg: 'stopped', clean: false });
    expect(files()).toEqual(before);
  });
});

describe('callers who leave', () => {
  const waiting = 24;

  it('while their pictures wait cost no thread and hold no place in the queue', async () => {
    const okng = await start({ BDI_WORKERS: '1', BDI_THREADS: '1', BDI_QUEUE_LIMIT: String(waiting) });
    await postFit(okng, {}, good.slice(0, 3));
    const form = new FormData();
    for (const [name, value] of Object.entries(model)) form.append(name, value);
    form.append('image', new File([part.bytes as Uint8Array<ArrayBuffer>], part.name));
    const request = new Request(`${okng.url}/infer`, { method: 'POST', body: form });
    const body = Buffer.from(await request.arrayBuffer());
    const head = [
      'POST /infer HTTP/1.1',
      'Host: okng',
      `Content-Type: ${request.headers.get('content-type')}`,
      `Content-Length: ${body.length}`,
    ].join('\r\n');
    const { hostname, port } = new URL(okng.url);
    const sockets = Array.from({ length: waiting }, () => connect(Number(port), hostname));
    const firstAnswer = Promise.race(sockets.map((socket) => new Promise((resolve) => socket.once('data', resolve))));
    const send = (socket: Socket) =>
      new Promise((sent) => {
        socket.on('error', () => undefined);
        socket.write(`${head}\r\n\r\n`);
        socket.write(body, sent);
      });
    await Promise.all(sockets.map(send));
    // One thread: with the first answer nearly all of the others are still waiting for it.
    await firstAnswer;
    for (const socket of sockets) socket.destroy();
    const requests = () => okng.log.filter(({ msg, path }) => msg === 'request' && path === '/infer');
    await until(() => requests().length === waiting);
    const dropped = okng.log.filter(({ code }) => code === 'request_aborted');
    const worked = requests().filter(({ steps }) => steps !== undefined);
    expect(dropped.length + worked.length).toBe(waiting);
    expect(dropped.length).toBeGreaterThan(waiting / 2);
    expect(okng.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
    const together = await Promise.all(Array.from({ length: waiting }, () => infer(okng)));
    expect(together.map(({ status }) => status)).toEqual(together.map(() => 200));
  });
});

describe('a body over the limit', () => {
  /** Sends by hand, so that nothing but the service decides when to stop; resolves with all it answers. */
  function send(okng: OkngProcess, head: string, body: Iterable<Uint8Array | string>): Promise<string> {
    const { hostname, port } = new URL(okng.url);
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      let answer = '';
      socket.setEncoding('utf8');
      socket.on('data', (chunk) => {
        answer += chunk;
        if (answer.includes('\r\n\r\n') && answer.trimEnd().endsWith('}')) socket.end();
      });
      socket.on('close', () => resolve(answer));
      socket.on('error', (error) => (answer === '' ? reject(error) : resolve(answer)));
      socket.on('connect', async () => {
        socket.write(head);
        for (const piece of body) {
          if (socket.destroyed || !socket.writable) return;
          if (!socket.write(piece)) await new Promise((drained) => socket.once('drain', drained));
        }
      });
    });
  }

  const mib = new Uint8Array(1024 * 1024);
  const head = (more: string) =>
    `POST /infer HTTP/1.1\r\nHost: okng\r\nContent-Type: multipart/form-data; boundary=b\r\n${more}\r\n\r\n`;
  const partHead = '--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n';

  it('of 65 MiB is answered 413 with a readable sentence, declared or chunked', async () => {
    const okng = await start();
    const declared = await send(
      okng,
      head(`Content-Length: ${65 * mib.length}`),
      (function* () {
        for (let i = 0; i < 65; i++) yield mib;
      })(),
    );
    expect(declared).toMatch(/^HTTP\/1\.1 413 /);
    expect(declared).toMatch(/64 MiB/);

    const chunk = (bytes: Uint8Array | string) =>
      Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), Buffer.from(bytes), Buffer.from('\r\n')]);
    const chunked = await send(
      okng,
      head('Transfer-Encoding: chunked'),
      (function* () {
        yield chunk(partHead);
        for (let i = 0; i < 65; i++) yield chunk(mib);
        yield '0\r\n\r\n';
      })(),
    );
    expect(chunked).toMatch(/^HTTP\/1\.1 413 /);
    expect(chunked).toMatch(/"code":"body_too_large"/);
    expect((await get(`${okng.url}/health`)).status).toBe(200);
    expect(readdirSync(modelsDir())).toEqual([]);
  });
});

describe("the first generation's client", () => {
  it('is understood as .NET frames it: unquoted part names, numbers like 1E-01', async () => {
    const okng = await start();
    await postFit(okng, {}, good.slice(0, 3));
    const crlf = '\r\n';
    const field = (name: string, value: string, type = 'text/plain; charset=utf-8') =>
      `--x${crlf}Content-Type: ${type}${crlf}Content-Disposition: form-data; name=${name}${crlf}${crlf}${value}${crlf}`;
    const body = Buffer.concat([
      Buffer.from(
        field('role_id', model.role_id) +
          field('roi_id', model.roi_id) +
          field('mm_per_px', '1E-01') +
          field('shape', '{"kind":"CIRCLE","cx":100,"cy":100,"r":40}', 'application/json; charset=utf-8') +
          `--x${crlf}Content-Disposition: form-data; name=image; filename=x.jpg; filename*=utf-8''x.jpg${crlf}Content-Type: image/jpeg${crlf}${crlf}`,
      ),
      Buffer.from(part.bytes),
      Buffer.from(`${crlf}--x--${crlf}`),
    ]);
    const answer = await new Promise<string>((resolve, reject) => {
      const { hostname, port } = new URL(okng.url);
      let text = '';
      const socket = connect(Number(port), hostname, () => {
        socket.write(
          `POST /infer HTTP/1.1${crlf}Host: ${hostname}:${port}${crlf}Connection: close${crlf}Content-Type: multipart/form-data; boundary="x"${crlf}Content-Length: ${body.length}${crlf}${crlf}`,
        );
        socket.write(body);
      });
      socket.setEncoding('utf8');
      socket.on('data', (piece) => {
        text += piece;
      });
      socket.on('end', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(answer).toMatch(/"mm_per_px":0\.1\b/);
  });
});
