import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { problemBody } from '../../src/http/responses.ts';
import { listen, type RunningServer } from '../../src/http/server.ts';
import type { Service } from '../../src/service.ts';

/** Bodies that trickle over a real connection. */

let server: RunningServer | undefined;
let socket: Socket | undefined;
let trickle: NodeJS.Timeout | undefined;

afterEach(() => {
  clearInterval(trickle);
  socket?.destroy();
  server?.cut();
});

async function start(): Promise<Socket> {
  const config = { host: '127.0.0.1', port: 0, maxBodyBytes: 1024, queueLimit: 1, corsOrigins: [], apiKeys: [] };
  const body = { graceMs: 300, bytesPerS: 100 };
  const timeouts = { requestMs: 60_000, headersMs: 400, body, lookMs: 20 };
  server = await listen(config, {} as Service, pino({ level: 'silent' }), timeouts);
  const { port } = server;
  socket = await new Promise<Socket>((resolve) => {
    const opened = connect({ port, host: '127.0.0.1' }, () => resolve(opened));
  });
  return socket.setEncoding('latin1').on('error', () => undefined);
}

/** Writes the text piece by piece, until all is written or the connection ends. */
function write(text: string, piece: number, everyMs: number): void {
  let at = 0;
  trickle = setInterval(() => {
    if (at >= text.length || socket?.writable !== true) clearInterval(trickle);
    else socket.write(text.slice(at, at + piece));
    at += piece;
  }, everyMs);
}

const answerOn = (open: Socket) =>
  new Promise<string>((resolve) => {
    let text = '';
    open.on('data', (part) => {
      text += part;
    });
    open.on('close', () => resolve(text));
  });

const head = 'POST /calibrate_ng HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 800\r\n\r\n';
const statusIn = (text: string) => Number(text.split(' ')[1]);

it('a body that trickles is ended with 408 and the problem body, long before the whole request would be', async () => {
  const open = await start();
  const answered = answerOn(open);
  open.write(head);
  write('x'.repeat(800), 1, 50);
  const text = await answered;
  expect(statusIn(text)).toBe(408);
  expect(problemBody.parse(JSON.parse(text.split('\r\n\r\n')[1] as string)).code).toBe('request_timeout');
});

it('a body that comes slowly but steadily takes longer than the grace and comes through', async () => {
  const open = await start();
  const answered = answerOn(open);
  open.write(head);
  write('x'.repeat(800), 50, 40);
  const text = await answered;
  expect(statusIn(text)).toBe(400);
  expect(text).toContain('invalid_json');
});

it('headers that trickle are ended with 408', async () => {
  const open = await start();
  const answered = answerOn(open);
  write(head, 1, 50);
  expect(statusIn(await answered)).toBe(408);
});

it('a second request on the connection has its own grace, and what was sent before does not count for it', async () => {
  const open = await start();
  const first = new Promise((resolve) => open.once('data', resolve));
  open.write(`POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(100_000)}`);
  await first;
  await new Promise((resolve) => setTimeout(resolve, 400));
  const answered = answerOn(open);
  open.write(head);
  write('x'.repeat(800), 1, 50);
  expect(statusIn(await answered)).toBe(408);
});

it('a body nobody waits for any more is cut, not read to its end for ever', async () => {
  const open = await start();
  const answered = answerOn(open);
  open.write('POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n');
  write('x'.repeat(100_000), 1, 50);
  expect(statusIn(await answered)).toBe(404);
});
