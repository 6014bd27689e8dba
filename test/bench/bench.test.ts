import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { subjectNames } from './bench_order.ts';
import { readBenchRecord } from './bench_record.ts';

/** `npm run bench` as a process, without the build before it. */

const script = fileURLToPath(new URL('./bench.ts', import.meta.url));

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-bench-test-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

interface Bench {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>;
}

/** Its temporary folders lie in `folder`. */
function bench(...args: readonly string[]): Bench {
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  return { child, ended: once(child, 'close').then(([code]) => ({ code: code as number, ...texts })) };
}

/** What a service or a fit of the benchmark's own would leave behind. */
const leftBehind = () => readdirSync(folder).filter((name) => name.startsWith('okng-'));

describe('the benchmark', () => {
  it('measures every subject, and compares itself with an earlier run', { timeout: 600_000 }, async () => {
    const json = join(folder, 'bench.json');
    const small = ['--sizes', 'small', '--repetitions', '1', '--json', json];
    const first = await bench(...small, '--curves', join(folder, 'curves.svg')).ended;
    expect(first).toMatchObject({ code: 0 });
    const record = readBenchRecord(json);
    expect(new Set(record.figures.map(({ subject }) => subject))).toEqual(
      new Set(subjectNames.filter((name) => name !== 'vit')),
    );
    expect(record.left_out).toContain('ViT-S/14 is left out: --weights model.safetensors gives its weights.');
    for (const { name, values, reference } of record.figures) {
      expect(Math.min(...values), name).toBeGreaterThanOrEqual(0);
      if (reference !== null) expect(reference.values, name).toHaveLength(values.length);
      expect(first.stdout).toContain(name);
    }
    for (const curve of ['bank rows', 'picture side', 'pictures of a fit', 'callers at once']) {
      expect(first.stdout).toContain(`time grows with ${curve}^`);
    }
    expect(first.stderr).toContain('coreset: 600 × 32 → 30');
    expect(first.stdout).not.toContain(' s  coreset: ');
    expect(readdirSync(folder)).toContain('curves.svg');
    expect(leftBehind()).toEqual([]);

    const second = await bench(...small, '--only', 'coreset', '--compare', json).ended;
    expect(second.code).toBe(0);
    expect(second.stdout).toContain(`compared with the run of ${record.measured_at_utc}:`);
    expect(second.stdout).not.toContain('missing');
    expect(second.stdout).toMatch(/0 figures the same within noise; \d+ with too few repetitions to tell/);
  });

  it('ends cleanly on Ctrl-C', { timeout: 120_000 }, async () => {
    const json = join(folder, 'bench.json');
    const { child, ended } = bench('--sizes', 'small', '--only', 'requests', '--json', json);
    child.stderr?.once('data', () => child.kill('SIGINT'));
    expect(await ended).toMatchObject({ code: 130, stderr: expect.stringContaining('Interrupted') });
    expect(readdirSync(folder)).not.toContain('bench.json');
    expect(leftBehind()).toEqual([]);
  });

  it('refuses what it cannot use before it measures', async () => {
    const old = join(folder, 'old.json');
    writeFileSync(old, '{"machine": "2 × P", "rounds": 12, "groups": []}');
    const both = await Promise.all([bench('--compare', old).ended, bench('--only', 'speed').ended]);
    expect(both.map(({ code, stdout }) => [code, stdout])).toEqual([
      [2, ''],
      [2, ''],
    ]);
    expect(both[0]?.stderr).toContain('is not a record of this benchmark');
  });
});
