/**
 * `npm run bench`: what one picture, one fit and one start cost on this machine. Needs nothing but the repository; with
 * `--onnx-card FILE` (a model card) the same for that extractor. `--rounds N` (default 15), `--json FILE`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createOnnxNeighbors } from '../../src/neighbors/onnx_neighbors.ts';
import { createMatrix, normalizeRows } from '../../src/patchcore/matrix.ts';
import { get, postForm } from '../e2e/client.ts';
import { startOkng } from '../e2e/process.ts';
import { partPictures, partsMmPerPx } from '../parts.ts';
import { interleaved, machine, printTable, type Sample } from './measure.ts';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    json: { type: 'string', default: 'bench.json' },
    'onnx-card': { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log('npm run bench -- [--rounds N] [--onnx-card card.json] [--json bench.json]');
  process.exit(0);
}
const rounds = Number(options.rounds);
const groups: { readonly title: string; readonly samples: readonly Sample[] }[] = [];

function report(title: string, samples: readonly Sample[]): void {
  groups.push({ title, samples });
  printTable(title, samples);
}

/** Resident memory of a process in MiB, where the system tells. */
function residentMib(pid: number | undefined): number {
  const path = `/proc/${pid}/status`;
  if (!existsSync(path)) return Number.NaN;
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(path, 'utf8'))?.[1]) / 1024;
}

async function benchStart(): Promise<void> {
  const milliseconds: number[] = [];
  const memory: number[] = [];
  for (let round = 0; round < 5; round++) {
    const modelsDir = mkdtempSync(join(tmpdir(), 'okng-bench-'));
    const started = performance.now();
    const okng = await startOkng({ BDI_MODELS_DIR: modelsDir, BDI_LIGHT_IMPORT: '1' });
    await get(`${okng.url}/health`);
    milliseconds.push(performance.now() - started);
    memory.push(residentMib(okng.child.pid));
    await okng.kill('SIGTERM');
    rmSync(modelsDir, { recursive: true });
  }
  report('Light import (BDI_LIGHT_IMPORT=1)', [
    { name: 'process start to first /health', unit: 'ms', values: milliseconds },
    { name: 'resident memory', unit: 'MiB', values: memory },
  ]);
}

async function benchService(title: string, environment: Readonly<Record<string, string>>): Promise<void> {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-bench-'));
  const okng = await startOkng({ BDI_MODELS_DIR: modelsDir, ...environment });
  try {
    const good = partPictures('train/good');
    const [picture] = partPictures('test/good');
    const base = { roi_id: 'top', mm_per_px: String(partsMmPerPx) };
    const fitRole = async (role: string, count: number) => {
      const pictures = Array.from({ length: count }, (_, i) => ({
        ...(good[i % good.length] as (typeof good)[0]),
        field: 'images',
      }));
      const { status, body } = await postForm(`${okng.url}/fit_ok`, { ...base, role_id: role }, pictures);
      if (status !== 200) throw new Error(JSON.stringify(body));
    };
    let fitting = false;
    const health: number[] = [];
    const askHealth = async () => {
      while (fitting) {
        const started = performance.now();
        await get(`${okng.url}/health`);
        health.push(performance.now() - started);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const fitFifty = async () => {
      fitting = true;
      const asking = askHealth();
      await fitRole('fifty', 50).finally(() => {
        fitting = false;
      });
      await asking;
    };
    const fits = await interleaved(
      { '/fit_ok, 10 pictures': () => fitRole('ten', 10), '/fit_ok, 50 pictures': fitFifty },
      3,
      0,
    );
    const infer = async (fields: Readonly<Record<string, string>>) => {
      const { status, body } = await postForm(`${okng.url}/infer`, { ...base, role_id: 'ten', ...fields }, [
        { ...(picture as (typeof good)[0]), field: 'image' },
      ]);
      if (status !== 200) throw new Error(JSON.stringify(body));
    };
    const requests = await interleaved(
      { '/infer': () => infer({}), '/infer without heatmap': () => infer({ include_heatmap: 'false' }) },
      rounds,
      3,
    );
    const counted = okng.log.filter(({ path, status }) => path === '/infer' && status === 200).slice(-2 * rounds);
    const steps = ['decode', 'prepare', 'extract', 'search', 'map', 'regions', 'encode'].map(
      (step): Sample => ({
        name: `  ${step}`,
        unit: 'ms',
        values: counted.map((entry) => (entry.steps as Record<string, number>)[step] as number),
      }),
    );
    report(title, [
      ...requests,
      ...steps,
      ...fits,
      { name: '/health while 50 pictures are fitted', unit: 'ms', values: health },
      { name: 'resident memory afterwards', unit: 'MiB', values: [residentMib(okng.child.pid)] },
    ]);
  } finally {
    await okng.kill('SIGTERM');
    rmSync(modelsDir, { recursive: true });
  }
}

/** Unit rows of a fixed pseudo-random sequence. */
function randomRows(rows: number, cols: number, seed: number) {
  let state = seed;
  const data = Float32Array.from({ length: rows * cols }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
  return normalizeRows(createMatrix(rows, cols, data));
}

async function benchSearch(): Promise<void> {
  const works: Record<string, () => Promise<unknown>> = {};
  for (const [rows, cols] of [
    [205, 74],
    [700, 384],
    [5000, 1152],
  ] as const) {
    const neighbors = await createOnnxNeighbors(randomRows(rows, cols, 1), { threads: 1 });
    const queries = randomRows(1024, cols, 2);
    works[`1024 patches × ${rows} rows × ${cols}`] = () => neighbors.search(queries, 1);
  }
  report('Nearest neighbours, one thread', await interleaved(works, rounds));
}

console.log(machine());
await benchStart();
await benchService('Embedded extractor', { EXTRACTOR: 'embedded' });
const card = options['onnx-card'];
if (card === undefined) console.log('\nONNX extractor: not measured; give --onnx-card card.json.');
else await benchService(`ONNX extractor ${card}`, { EXTRACTOR: card });
await benchSearch();
writeFileSync(options.json, `${JSON.stringify({ machine: machine(), rounds, groups }, null, 2)}\n`);
console.log(`\nWritten to ${options.json}.`);
process.exit(0);
