import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { problem } from '../../src/http/problem.ts';
import { runCli } from './run_cli.ts';

const key = 'a-key-of-the-command-line';
let sent: (string | undefined)[] = [];

/** Asks everybody for another key. */
const service = createServer((request, response) => {
  sent.push(request.headers.authorization);
  const body = problem('unauthorized', 'The API key of this request is not known here.', 'shot 9', 'default');
  response.writeHead(body.status, { 'Content-Type': 'application/problem+json' }).end(JSON.stringify(body));
});
let url: string;

beforeAll(async () => {
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
});
afterAll(() => service.close());

const infer = (args: readonly string[], environment: Readonly<Record<string, string>>) => {
  sent = [];
  return runCli(['infer', '--role', 'r', '--roi', 'o', '--url', url, ...args, 'x.png'], environment);
};

it.each([
  ['from the environment', [], { OKNG_API_KEY: key }],
  ['from the command line, before the environment', ['--api-key', key], { OKNG_API_KEY: 'another-key-0123456' }],
])('the key goes along with every request, %s, and is not told', async (_, args, environment) => {
  const { code, stdout, stderr } = await infer(args, environment);
  expect(sent.length).toBeGreaterThan(0);
  expect(new Set(sent)).toEqual(new Set([`Bearer ${key}`]));
  expect(code).toBe(1);
  expect(stderr).toContain('The API key of this request is not known here.');
  expect(stdout + stderr).not.toContain(key);
});

it('without a key none is sent', async () => {
  await infer([], {});
  expect(new Set(sent)).toEqual(new Set([undefined]));
});

it('the help names the variable and does not show what it holds', async () => {
  const { stdout } = await runCli(['infer', '--help'], { OKNG_API_KEY: key });
  expect(stdout).toContain('OKNG_API_KEY');
  expect(stdout).not.toContain(key);
});
