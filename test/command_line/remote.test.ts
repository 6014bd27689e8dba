import { type ChildProcess, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, createClient } from '../../src/client/client.ts';
import { type OkngProcess, startOkng } from '../e2e/process.ts';
import { partsFolder, partsMmPerPx } from '../parts.ts';
import { cliFile, runCli } from './run_cli.ts';

/** The same commands in this process and on a running service: same words, same exit codes. */

const folder = mkdtempSync(join(tmpdir(), 'okng-remote-'));
const parts = (name: string) => join(partsFolder, name);
const names = ['--role', 'flange', '--roi', 'top'];
const here = [...names, '--models-dir', join(folder, 'here')];
let there: readonly string[];
let okng: OkngProcess;
let client: Client;
let fitted: Awaited<ReturnType<typeof both>>;

beforeAll(async () => {
  okng = await startOkng({ BDI_MODELS_DIR: join(folder, 'there'), EXTRACTOR: 'embedded' });
  client = createClient({ url: okng.url });
  there = [...names, '--url', okng.url];
  fitted = await both('fit', ['--mm-per-px', String(partsMmPerPx), parts('train/good')]);
});
afterAll(async () => {
  await okng.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** One command in both places. */
async function both(command: string, args: readonly string[]) {
  const run = (place: readonly string[]) => runCli([command, ...place, ...args], { EXTRACTOR: 'embedded' });
  return { local: await run(here), remote: await run(there) };
}

/** Told by the service they have no folders, which stay on this machine. */
const withoutFolders = (text: string) => text.replaceAll(/[^\s"]*[\\/](\d+\.jpg)/g, '$1');

it('fits, with progress, in the same words', async () => {
  const { local, remote } = fitted;
  expect(remote).toMatchObject({ code: 0, stdout: local.stdout });
  expect(remote.stdout).toMatch(/^Fitted flange \/ top with embedded_filter_bank: 14 pictures/);
  expect(remote.stderr).toMatch(/^coreset 287\/287$/m);
  const { jobs } = await client.jobs.list();
  expect(jobs.at(-1)).toMatchObject({ kind: 'fit_ok', state: 'succeeded', role_id: 'flange' });
});

it('reports a fit alike, suspects by the path they were given as', async () => {
  const mixed = join(folder, 'mixed');
  mkdirSync(mixed);
  copyFileSync(join(parts('test/missing_hole'), '01.jpg'), join(mixed, '01.jpg'));
  const { local, remote } = await both('fit', [
    ...['--roi', 'mixed', '--mm-per-px', '0.1', '--json', '--score-mode', 'top_share', '--no-positions'],
    ...['--shape', '{"kind":"circle","cx":192,"cy":192,"r":180}', parts('train/good'), mixed],
  ]);
  expect(JSON.parse(remote.stdout)).toEqual(JSON.parse(local.stdout));
  expect(JSON.parse(remote.stdout)).toMatchObject({
    pictures: 15,
    scoreMode: 'top_share',
    positionWeight: 0,
    suspects: [{ name: join(mixed, '01.jpg') }],
  });
});

describe('calibrate --from-dir', () => {
  it('does the whole job: scores, threshold, warnings', async () => {
    const { local, remote } = await both('calibrate', [
      ...['--from-dir', parts('calibration/good'), '--ng-dir', parts('calibration/dent'), parts('calibration/stain')],
    ]);
    expect(remote).toMatchObject({ code: 0, stdout: local.stdout });
    expect(remote.stdout).toMatch(/^Threshold 0\.\d{4} from 8 OK \(.*\) and 2 NG scores/);
    expect(remote.stdout).toContain('Warning: 8 OK scores are few');
    expect(remote.stderr).toContain('pictures 10/10\n');
    expect((await client.state({ role_id: 'flange', roi_id: 'top' })).calib_present).toBe(true);
  });

  it('comes to the threshold of the scores that infer gives', async () => {
    const { stdout } = await runCli(['infer', ...there, '--json', parts('calibration/good')]);
    writeFileSync(join(folder, 'ok.jsonl'), stdout);
    const thresholdFrom = async (...source: readonly string[]) => {
      const result = await runCli(['calibrate', ...there, ...source, '--score-percentile', '90', '--json']);
      return (JSON.parse(result.stdout) as { threshold: number }).threshold;
    };
    const shape = ['--shape', '{"kind":"circle","cx":192,"cy":192,"r":150}'];
    const whole = await thresholdFrom('--from-dir', parts('calibration/good'));
    expect(whole).toBe(await thresholdFrom('--ok', join(folder, 'ok.jsonl')));
    expect(await thresholdFrom('--from-dir', parts('calibration/good'), ...shape)).not.toBe(whole);
  });

  it('leaves out pictures of the memory, whatever they are called, and says so', async () => {
    const some = join(folder, 'some');
    mkdirSync(some);
    for (const name of readdirSync(parts('calibration/good')))
      copyFileSync(join(parts('calibration/good'), name), join(some, name));
    const args = ['--from-dir', some, '--json'];
    const without = await both('calibrate', args);
    copyFileSync(join(parts('train/good'), '03.jpg'), join(some, 'renamed.jpg'));
    const { local, remote } = await both('calibrate', args);
    for (const [before, after] of [
      [without.local, local],
      [without.remote, remote],
    ] as const) {
      const thresholds = [before, after].map(({ stdout }) => (JSON.parse(stdout) as { threshold: number }).threshold);
      expect(thresholds[1]).toBe(thresholds[0]);
      expect(JSON.parse(after.stdout)).toMatchObject({ n_ok: 8 });
      expect(after.stderr).toContain('okng: left out, because they are in the memory');
      expect(after.stderr).toContain(join(some, 'renamed.jpg'));
    }
  });

  it('refuses when every good part is in the memory, and leaves the calibration as it is', async () => {
    const before = await client.manifest({ role_id: 'flange', roi_id: 'top' });
    const { local, remote } = await both('calibrate', ['--from-dir', parts('train/good')]);
    for (const { code, stdout, stderr } of [local, remote]) {
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/14 pictures are in the memory\. Give pictures of other good parts, or --leave-one-out/);
    }
    expect((await client.manifest({ role_id: 'flange', roi_id: 'top' })).calib).toEqual(before.calib);
  });

  it('refuses when a picture cannot be scored, by name, unless told to skip it', async () => {
    const some = join(folder, 'broken');
    mkdirSync(some);
    for (const name of ['01.jpg', '02.jpg']) copyFileSync(join(parts('calibration/good'), name), join(some, name));
    writeFileSync(join(some, 'cut.jpg'), readFileSync(join(some, '01.jpg')).subarray(0, 5000));
    const { local, remote } = await both('calibrate', ['--from-dir', some]);
    for (const { code, stdout, stderr } of [local, remote]) {
      expect([code, stdout]).toEqual([1, '']);
      expect(stderr).toMatch(/okng: .*cut\.jpg.*\n/);
      expect(stderr).toContain('Pictures that could not be scored: 1. Nothing was calibrated');
    }
    const skipped = await both('calibrate', ['--from-dir', some, '--skip-unreadable', '--json']);
    for (const { code, stdout, stderr } of [skipped.local, skipped.remote]) {
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ n_ok: 2, n_ng: 0 });
      expect(stderr).toMatch(/okng: .*cut\.jpg/);
    }
  });

  it.each([
    [[], /give either --ok <file> or --leave-one-out or --from-dir/],
    [['--from-dir', 'x', '--leave-one-out'], /give either --ok <file> or --leave-one-out or --from-dir/],
    [
      ['--from-dir', 'x', '--ng', 'y', '--ng-dir', 'z'],
      /'--ng-dir <dirs...>' cannot be used with option '--ng <file>'/,
    ],
  ])('ends with 2 when it is not told one source: %j', async (args, sentence) => {
    const { code, stderr } = await runCli(['calibrate', ...there, ...args]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(sentence)]);
  });

  it('takes bad parts beside the leave-one-out scores, and the same options', async () => {
    const { local, remote } = await both('calibrate', [
      ...[
        '--leave-one-out',
        '--ng-dir',
        parts('calibration/dent'),
        '--area-mm2-thr',
        '2',
        '--review-threshold',
        '0.01',
        '--json',
      ],
    ]);
    const plain = ({ stdout }: { stdout: string }) => {
      const { calibrated_at_utc: _, ...calibration } = JSON.parse(stdout) as Record<string, unknown>;
      return calibration;
    };
    expect(Object.entries(plain(remote))).toEqual(Object.entries(plain(local)));
    expect(plain(remote)).toMatchObject({
      n_ng: 1,
      ok_scores_from: 'leave_one_out',
      area_mm2_thr: 2,
      review_threshold: 0.01,
    });
  });
});

describe('infer', () => {
  it('judges in the same words and lines, with heatmaps and reasons, and ends with 3', async () => {
    const text = await both('infer', ['--explain', parts('test/scratch'), parts('test/good')]);
    expect(text.remote.code).toBe(3);
    expect(text.local.code).toBe(3);
    expect(withoutFolders(text.remote.stdout)).toBe(withoutFolders(text.local.stdout));
    const lines = await both('infer', ['--json', parts('test/scratch')]);
    expect(lines.remote.stdout).toBe(lines.local.stdout);
    const heatmaps = ['here', 'there'].map((place) => join(folder, `heatmaps ${place}`)) as [string, string];
    await runCli(['infer', ...here, '--heatmap-dir', heatmaps[0], parts('test/dent')], { EXTRACTOR: 'embedded' });
    await runCli(['infer', ...there, '--heatmap-dir', heatmaps[1], parts('test/dent')]);
    expect(readdirSync(heatmaps[1])).toHaveLength(3);
    for (const name of readdirSync(heatmaps[0]))
      expect(readFileSync(join(heatmaps[1], name)).equals(readFileSync(join(heatmaps[0], name)))).toBe(true);
  });

  it('goes on after a bad file and ends with 1; without a model it ends with 1 and the advice', async () => {
    writeFileSync(join(folder, 'none.png'), 'no picture');
    const { local, remote } = await both('infer', [join(folder, 'none.png'), join(parts('test/good'), '01.jpg')]);
    for (const { code, stdout, stderr } of [local, remote]) {
      expect(code).toBe(1);
      expect(stderr).toMatch(/^okng: .*none\.png/m);
      expect(stdout).toMatch(/01\.jpg/);
    }
    const missing = await both('infer', ['--role', 'unknown', join(parts('test/good'), '01.jpg')]);
    expect(missing.remote).toEqual(missing.local);
    expect(missing.remote).toMatchObject({ code: 1, stderr: expect.stringContaining('memory not fitted') });
    const unscaled = await both('infer', ['--recipe', 'line9', join(parts('test/good'), '01.jpg')]);
    expect(unscaled.remote).toEqual(unscaled.local);
    expect(unscaled.remote.stderr).toContain('Recipe "line9" has no mm_per_px yet');
  });
});

it.each([
  [['--url', 'localhost:8000'], 2, /"localhost:8000" is no address of a service; it must look like http/],
  [['--url', 'http://127.0.0.1:8000', '--models-dir', 'x'], 2, /cannot be used with option '--models-dir <dir>'/],
])('refuses %j', async (args, exitCode, sentence) => {
  const { code, stderr } = await runCli(['infer', ...names, ...args, 'x.png']);
  expect([code, stderr]).toEqual([exitCode, expect.stringMatching(sentence)]);
});

it('cancels its job at Ctrl-C, and ends with 130', async () => {
  const child = spawnCli([
    ...['fit', ...there, '--roi', 'long', '--mm-per-px', '0.1'],
    ...Array.from({ length: 12 }, () => parts('train/good')),
  ]);
  let pressed = false;
  const { stderr, code } = await outputOf(child, (soFar) => {
    if (pressed || !/^pictures /m.test(soFar)) return;
    pressed = true;
    child.kill('SIGINT');
  });
  expect(stderr).toContain('okng: interrupted; no model was changed.\n');
  expect(code).toBe(130);
  const { jobs } = await client.jobs.list({ limit: 1 });
  expect(jobs).toMatchObject([{ roi_id: 'long', state: 'cancelled' }]);
  expect((await client.state({ role_id: 'flange', roi_id: 'long' })).memory_fitted).toBe(false);
});

it.skipIf(!existsSync('/proc/self/maps'))('loads neither ONNX Runtime nor sharp to ask a service', async () => {
  let loaded = '';
  let child: ChildProcess | null = null;
  const server = createServer((_, response) => {
    loaded = readFileSync(`/proc/${child?.pid}/maps`, 'utf8');
    response.writeHead(400, { 'Content-Type': 'application/problem+json' });
    response.end(JSON.stringify({ code: 'memory_not_fitted', error: 'No memory.', request_id: 'r' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  child = spawnCli(['infer', ...names, '--url', url, '--mm-per-px', '1', join(parts('test/good'), '01.jpg')]);
  expect(await outputOf(child)).toEqual({ code: 1, stderr: 'okng: No memory.\n' });
  expect(loaded).toContain('node');
  expect(loaded.match(/\S*(onnxruntime|vips|sharp)\S*/g)).toBeNull();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function spawnCli(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [cliFile, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

async function outputOf(child: ChildProcess, onStderr: (soFar: string) => void = () => undefined) {
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    onStderr(stderr);
  });
  const code = await new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  return { code, stderr };
}
