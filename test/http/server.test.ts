import { Agent, get as httpGet, request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { InspectionError } from '../../src/errors.ts';
import { problemBody } from '../../src/http/responses.ts';
import { listen, type RunningServer, type ServerTimeouts } from '../../src/http/server.ts';
import type { FitHooks } from '../../src/inspection/fit_model.ts';
import type { Service } from '../../src/service.ts';

/** What only a real connection shows. The service behind it is a stand-in whose fits end when a test says so. */

const crlf = '\r\n';

interface Started {
  readonly server: RunningServer;
  readonly log: Record<string, unknown>[];
  /** The hooks of the fits so far. */
  readonly fits: FitHooks[];
  /** The signals of the inspections so far. */
  readonly inspections: AbortSignal[];
  /** Lets the oldest fit that still runs fail with `not_ready`, which is an answer like any other. */
  finishFit(): void;
}

let started: Started | undefined;

afterEach(() => started?.server.cut());

const unhurried = { graceMs: 60_000, bytesPerS: 1 };
const patient: ServerTimeouts = { requestMs: 60_000, headersMs: 20_000, body: unhurried, lookMs: 5_000 };

async function start(timeouts: ServerTimeouts = patient): Promise<Started> {
  const fits: FitHooks[] = [];
  const finish: (() => void)[] = [];
  const inspections: AbortSignal[] = [];
  const service: Pick<Service, 'version' | 'health' | 'fit' | 'inspectAll'> = {
    version: '0.0.0',
    health: () => ({ device: 'cpu', model: 'toy', neighbors: 'onnx', reason: null }),
    fit: (_, hooks = {}) =>
      new Promise((_resolve, reject) => {
        fits.push(hooks);
        finish.push(() => reject(new InspectionError('not_ready', 'The stand-in has ended the fit.')));
        hooks.signal?.addEventListener('abort', () =>
          reject(new InspectionError('request_aborted', 'The caller is gone.')),
        );
      }),
    // As if it waited for a thread for ever.
    inspectAll: (_, signal) =>
      new Promise((_resolve, reject) => {
        if (signal === undefined) throw new Error('An inspection came without a signal.');
        inspections.push(signal);
        signal.addEventListener('abort', () => reject(new InspectionError('request_aborted', 'The caller is gone.')));
      }),
  };
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const config = { host: '127.0.0.1', port: 0, maxBodyBytes: 1024 * 1024, queueLimit: 8, corsOrigins: [], apiKeys: [] };
  const server = await listen(config, service as Service, logger, timeouts);
  started = { server, log, fits, inspections, finishFit: () => finish.shift()?.() };
  return started;
}

const open = ({ server }: Started): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ port: server.port, host: server.host, allowHalfOpen: true }, () => resolve(socket));
    socket.setEncoding('latin1');
    socket.on('error', reject);
  });

/** All that comes until the server closes its half. */
const rest = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    let text = '';
    socket.on('data', (piece) => {
      text += piece;
    });
    socket.on('end', () => resolve(text));
    socket.on('close', () => resolve(text));
  });

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 300 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(condition()).toBe(true);
}

const field = (name: string, value: string) =>
  `--b${crlf}Content-Disposition: form-data; name="${name}"${crlf}${crlf}${value}${crlf}`;
const fitBody = `${field('role_id', 'r')}${field('roi_id', 'o')}${field('mm_per_px', '1')}--b${crlf}Content-Disposition: form-data; name="images"; filename="a.png"${crlf}${crlf}x${crlf}--b--${crlf}`;
const fitHead = `POST /fit_ok HTTP/1.1${crlf}Host: okng${crlf}Content-Type: multipart/form-data; boundary=b${crlf}Content-Length: ${fitBody.length}${crlf}${crlf}`;

/** Splits a raw answer and checks that its body is the contract's. */
function problemOf(text: string) {
  const [head = '', body = ''] = text.split(crlf + crlf);
  const header = (name: string) => new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1];
  expect(header('content-type')).toContain('application/problem+json');
  expect(Number(header('content-length'))).toBe(body.length);
  const problem = problemBody.parse(JSON.parse(body));
  expect(header('x-request-id')).toBe(problem.request_id);
  expect(Number(head.split(' ')[1])).toBe(problem.status);
  expect(problem.detail).toBe(problem.error);
  return problem;
}

describe('a caller who leaves', () => {
  it.each([
    ['closes the connection', (socket: Socket) => socket.end()],
    ['vanishes', (socket: Socket) => socket.resetAndDestroy()],
  ])('during a fit and %s ends it, which is no failure of ours', async (_, leave) => {
    const okng = await start();
    const socket = await open(okng);
    socket.write(fitHead + fitBody);
    await until(() => okng.fits.length === 1);
    expect(okng.fits[0]?.signal?.aborted).toBe(false);
    leave(socket);
    await until(() => okng.fits[0]?.signal?.aborted === true);
    await until(() => okng.log.some(({ msg }) => msg === 'request'));
    expect(okng.log.find(({ code }) => code === 'request_aborted')).toMatchObject({ level: 30 });
    expect(okng.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  it('while its picture waits leaves the queue, and makes room in it', async () => {
    const okng = await start();
    const body = fitBody.replace('name="images"', 'name="image"');
    const head = fitHead.replace('/fit_ok', '/infer').replace(String(fitBody.length), String(body.length));
    const ask = async () => {
      const socket = await open(okng);
      socket.write(head + body);
      return socket;
    };
    const sockets = await Promise.all(Array.from({ length: 8 }, ask));
    await until(() => okng.inspections.length === 8);
    const refused = await ask();
    await until(() => okng.log.some(({ status }) => status === 429));
    refused.destroy();
    for (const socket of sockets.slice(0, 3)) socket.resetAndDestroy();
    for (const socket of sockets.slice(3, 5)) socket.end();
    await until(() => okng.log.filter(({ code }) => code === 'request_aborted').length === 5);
    expect(okng.inspections.filter(({ aborted }) => aborted)).toHaveLength(5);
    for (let i = 0; i < 5; i++) await ask();
    await until(() => okng.inspections.length === 13);
    expect(okng.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  it('during /calibrate_ng is no failure of ours', async () => {
    const okng = await start();
    const socket = await open(okng);
    const head = `POST /calibrate_ng HTTP/1.1${crlf}Host: okng${crlf}Content-Type: application/json${crlf}`;
    socket.write(`${head}Content-Length: 1000${crlf}${crlf}{"role_id":`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await until(() => okng.log.some(({ msg }) => msg === 'request'));
    expect(okng.log.find(({ code }) => code === 'invalid_json')).toMatchObject({
      msg: 'request refused',
      detail: expect.stringContaining('cut short'),
    });
    expect(okng.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });
});

it('a connection that is kept, or closed after the answer, aborts no fit', async () => {
  const okng = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const post = () =>
    new Promise<number | undefined>((resolve, reject) => {
      const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
      const options = { agent, port: okng.server.port, method: 'POST', path: '/fit_ok', headers };
      const request = httpRequest(options, (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      });
      request.on('error', reject).end(fitBody);
    });
  for (let round = 1; round <= 2; round++) {
    const answer = post();
    await until(() => okng.fits.length === round);
    okng.finishFit();
    expect(await answer).toBe(503);
  }
  agent.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(okng.fits.map(({ signal }) => signal?.aborted)).toEqual([false, false]);
});

describe('a shutdown', () => {
  it.each([
    ['has sent nothing yet', ''],
    ['waits for its next request', `GET /health HTTP/1.1${crlf}Host: okng${crlf}${crlf}`],
  ])('does not wait for a connection that %s', async (_, text) => {
    const okng = await start();
    const socket = await open(okng);
    if (text !== '') {
      const answered = new Promise((resolve) => socket.once('data', resolve));
      socket.write(text);
      await answered;
    }
    const closed = new Promise((resolve) => socket.resume().once('close', resolve));
    expect(await okng.server.drain(5_000)).toBe(true);
    socket.end();
    await closed;
  });

  it('waits for the headers of a request that has begun', async () => {
    const okng = await start();
    const socket = await open(okng);
    socket.write(`GET /health HTTP/1.1${crlf}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const drained = okng.server.drain(5_000);
    await new Promise((resolve) => setTimeout(resolve, 150));
    const answered = rest(socket);
    socket.write(`Host: okng${crlf}${crlf}`);
    expect(await answered).toMatch(/^HTTP\/1.1 200 /);
    socket.end();
    expect(await drained).toBe(true);
  });
});

describe('what is no request', () => {
  it.each([
    ['text that is no HTTP', `hello${crlf}${crlf}`, 400, 'malformed_request'],
    [
      'headers over 16 KiB',
      `GET / HTTP/1.1${crlf}Host: a${crlf}X: ${'x'.repeat(20_000)}${crlf}${crlf}`,
      431,
      'headers_too_large',
    ],
    [
      'a broken chunk',
      `POST /calibrate_ng HTTP/1.1${crlf}Host: a${crlf}Transfer-Encoding: chunked${crlf}${crlf}zz${crlf}`,
      400,
      'malformed_request',
    ],
    ['no Host', `GET /health HTTP/1.1${crlf}Connection: close${crlf}${crlf}`, 400, 'malformed_request'],
    [
      'a Host that is none',
      `GET /health HTTP/1.1${crlf}Host: a b${crlf}Connection: close${crlf}${crlf}`,
      400,
      'malformed_request',
    ],
  ])('is answered with the problem body: %s', async (_, text, status, code) => {
    const okng = await start();
    const socket = await open(okng);
    socket.write(text);
    expect(problemOf(await rest(socket))).toMatchObject({ status, code, recipe_id: 'default' });
    await until(() => okng.log.some(({ msg, code: logged }) => msg === 'request refused' && logged === code));
    await new Promise<void>((resolve, reject) => {
      httpGet({ port: okng.server.port, path: '/health' }, (response) => {
        response.resume();
        expect(response.statusCode).toBe(200);
        resolve();
      }).on('error', reject);
    });
  });

  it('is answered with the id of the request whose body breaks off', async () => {
    const okng = await start();
    const socket = await open(okng);
    const head = `POST /calibrate_ng HTTP/1.1${crlf}Host: a${crlf}X-Request-Id: shot 9${crlf}`;
    socket.write(`${head}Transfer-Encoding: chunked${crlf}${crlf}1${crlf}{${crlf}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.write(`zz${crlf}`);
    expect(problemOf(await rest(socket)).request_id).toBe('shot 9');
  });
});

describe('a request that does not come to its end', () => {
  const hasty: ServerTimeouts = { requestMs: 300, headersMs: 200, body: unhurried, lookMs: 50 };

  it.each([
    ['its headers', `POST /fit_ok HTTP/1.1${crlf}Host: a${crlf}`],
    ['its body', fitHead + fitBody.slice(0, 100)],
  ])('is answered 408 with the problem body: %s', async (_, text) => {
    const okng = await start(hasty);
    const socket = await open(okng);
    socket.write(text);
    expect(problemOf(await rest(socket))).toMatchObject({ status: 408, code: 'request_timeout' });
  });

  it('is no fit that takes long after the body has come', async () => {
    const okng = await start(hasty);
    const socket = await open(okng);
    const answered = rest(socket);
    socket.write((fitHead + fitBody).replace('Host', `Connection: close${crlf}Host`));
    await new Promise((resolve) => setTimeout(resolve, 700));
    okng.finishFit();
    expect(await answered).toMatch(/^HTTP\/1.1 503 /);
    expect(okng.fits[0]?.signal?.aborted).toBe(false);
  });
});

describe('what is odd but a request', () => {
  it.each([
    ['HTTP/1.0 without a Host', `GET /health HTTP/1.0${crlf}${crlf}`, 200],
    [
      'an expectation',
      `GET /health HTTP/1.1${crlf}Host: a${crlf}Expect: 200-ok${crlf}Connection: close${crlf}${crlf}`,
      200,
    ],
    ['a Host that is no host', `GET /jobs HTTP/1.1${crlf}Host: 127.0.0.0.1${crlf}Connection: close${crlf}${crlf}`, 403],
  ])('is answered: %s', async (_, text, status) => {
    const okng = await start();
    const socket = await open(okng);
    socket.write(text);
    expect(await rest(socket)).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*"request_id":`));
  });

  it('a form with a file behind its end holds no place in the queue', async () => {
    const okng = await start();
    const body = `--b--${crlf}${field('a', 'b')}--b${crlf}Content-Disposition: form-data; name="images"; filename="a"${crlf}${crlf}x`;
    const head = fitHead
      .replace(String(fitBody.length), String(body.length))
      .replace('Host', `Connection: close${crlf}Host`);
    for (let i = 0; i < 10; i++) {
      const socket = await open(okng);
      socket.write(head + body);
      expect(problemOf(await rest(socket)).code).toBe('invalid_multipart');
    }
  });
});
