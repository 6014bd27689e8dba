import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

/** `okng/client` as somebody gets it who installs the package (the build is made by `pretest`). */

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-consumer-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules', 'okng'), 'junction');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('takes nothing of the service but types, and of its platform what browsers have too', () => {
  for (const name of readdirSync(join(root, 'src/client'))) {
    const text = readFileSync(join(root, 'src/client', name), 'utf8');
    for (const [, statement, from] of text.matchAll(/^((?:import|export)[^;]*?) from '([^']+)'/gm)) {
      expect(statement?.includes(' type ') === true || from?.startsWith('./') === true, `${name}: ${from}`).toBe(true);
      if (from?.startsWith('./') !== true) expect(statement, `${name}: ${from}`).toMatch(/^import type /);
    }
    expect(text, name).not.toMatch(/\b(process\.|Buffer\.|require\(|import\()/);
  }
});

it('is found under its name, and runs', () => {
  const script = join(folder, 'script.mjs');
  writeFileSync(
    script,
    `import { createClient, OkngError } from 'okng/client';
    try { createClient({ url: 'okng' }); } catch (error) { console.log(error instanceof OkngError, error.code); }`,
  );
  expect(execFileSync(process.execPath, [script], { encoding: 'utf8' })).toBe('true invalid_url\n');
});

const program = `
import { createClient, type InferAnswer, OkngError } from 'okng/client';
export async function inspect(bytes: Uint8Array) {
  const client = createClient({ url: 'http://127.0.0.1:8000' });
  const model = { role_id: 'flange', roi_id: 'top' };
  const image = { name: '1.png', bytes };
  const answer: InferAnswer = await client.infer({ ...model, mm_per_px: 0.1, image, shape: { kind: 'rect' } });
  const score: number = answer.score;
  const verdict: 'ok' | 'ng' | null = answer.decision;
  const job = await client.jobs.fit({ ...model, mm_per_px: 0.1, images: [image], memory_fit: true });
  for await (const { state } of job.follow()) state satisfies string;
  const size: number = (await job.result()).coreset_size;
  await client.jobs.list({ state: ['queued'], limit: 3 });
  // @ts-expect-error no such key
  answer.nothing;
  // @ts-expect-error a number, not its text
  await client.infer({ ...model, mm_per_px: '0.1', image });
  // @ts-expect-error role_id is missing
  await client.state({ roi_id: 'top' });
  // @ts-expect-error no such state
  await client.jobs.list({ state: ['asleep'] });
  // @ts-expect-error no such label
  await client.datasets.clear({ ...model, label: 'good' });
  // @ts-expect-error no such code
  if (new OkngError('timeout', '').code === 'bad_weather') return null;
  return [score, verdict, size];
}
`;

it.each([
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
])('has types for a page in TypeScript, module %s', (module, resolution) => {
  const file = join(folder, 'page.ts');
  writeFileSync(file, program);
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const options = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2023,dom,dom.iterable', '--types', ''];
  const { stdout } = spawnSync(
    process.execPath,
    [compiler, ...options, '--module', module, '--moduleResolution', resolution, file],
    { encoding: 'utf8', cwd: folder },
  );
  expect(stdout).toBe('');
});
