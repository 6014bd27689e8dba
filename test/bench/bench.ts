/**
 * `npm run bench`: what one picture, one fit and one start cost on this machine. Needs nothing but the repository; with
 * `--onnx-card FILE` (a model card) the same for that extractor. `--rounds N` (default 15), `--json FILE`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readVitWeights } from '../../src/extractors/vit/read_vit_weights.ts';
import { writeVitGraph } from '../../src/extractors/vit/vit_graph.ts';
import { addModel } from '../../src/model_library.ts';
import { faissAddon } from '../../src/neighbors/faiss_addon.ts';
import { neighborsEngine } from '../../src/neighbors/neighbors_engine.ts';
import { openSession } from '../../src/onnx/onnx_session.ts';
import { percentile } from '../../src/patchcore/image_score.ts';
import { createMatrix, normalizeRows } from '../../src/patchcore/matrix.ts';
import { get, postForm } from '../e2e/client.ts';
import { startOkng } from '../e2e/process.ts';
import { plainVitGraph } from '../golden/reference_vit.ts';
import { readSafetensors } from '../golden/safetensors.ts';
import { partPictures, partsMmPerPx } from '../parts.ts';
import { interleaved, machine, printTable, type Sample } from './measure.ts';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    json: { type: 'string', default: 'bench.json' },
    'onnx-card': { type: 'string' },
    weights: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(
    'npm run bench -- [--rounds N] [--onnx-card card.json] [--weights model.safetensors] [--json bench.json]',
  );
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

/** What a line on the disk adds to a verdict: two services that differ in BDI_AUDIT only, asked in turn. */
async function benchAudit(): Promise<void> {
  const folders = ['0', '1'].map((audit) => ({ audit, modelsDir: mkdtempSync(join(tmpdir(), 'okng-bench-')) }));
  const services = await Promise.all(
    folders.map(({ audit, modelsDir }) =>
      startOkng({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', BDI_AUDIT: audit }),
    ),
  );
  try {
    const [picture] = partPictures('test/good');
    const fields = { role_id: 'audit', roi_id: 'top', mm_per_px: String(partsMmPerPx), include_heatmap: 'false' };
    const send = async (url: string, files: Parameters<typeof postForm>[2]) => {
      const { status, body } = await postForm(url, fields, files);
      if (status !== 200) throw new Error(JSON.stringify(body));
    };
    const good = partPictures('train/good').map((one) => ({ ...one, field: 'images' }));
    for (const { url } of services) await send(`${url}/fit_ok`, good);
    const [without, audited] = services.map(({ url }) => url) as [string, string];
    const infer = (url: string) => send(`${url}/infer`, [{ ...(picture as (typeof good)[0]), field: 'image' }]);
    const eight = (url: string) => () => Promise.all(Array.from({ length: 8 }, () => infer(url)));
    const single = await interleaved(
      { '/infer without audit': () => infer(without), '/infer with BDI_AUDIT=1': () => infer(audited) },
      4 * rounds,
      3,
    );
    const many = await interleaved(
      { 'eight at once without audit': eight(without), 'eight at once with BDI_AUDIT=1': eight(audited) },
      rounds,
      1,
    );
    const ratio = ([plain, other]: readonly Sample[]) => (middle(other) / middle(plain)).toFixed(3);
    report(`Audit: /infer takes ${ratio(single)} × as long with it, eight at once ${ratio(many)} ×`, [
      ...single,
      ...many,
    ]);
  } finally {
    for (const okng of services) await okng.kill('SIGTERM');
    for (const { modelsDir } of folders) rmSync(modelsDir, { recursive: true });
  }
}

const vitSide = 448;
const vitInput = { dims: [1, 3, vitSide, vitSide], data: new Float32Array(3 * vitSide ** 2).fill(0.1) };

/** One graph's session of a given number of threads. */
async function bareRun(graph: Uint8Array | string, threads: number) {
  const session = await openSession(graph, { threads });
  return { run: () => session.run({ input: vitInput }), dispose: () => session.dispose() };
}

/** The same picture through a plain graph, ours in fp32 and ours in int8, on one thread and on all. */
async function benchVitGraphs(path: string): Promise<void> {
  const { weights } = await readVitWeights(path);
  const size = { height: vitSide, width: vitSide, blocks: [9, 10, 11] };
  const grid = { rows: vitSide / 14, cols: vitSide / 14 };
  const graphs = {
    plain: plainVitGraph(readSafetensors(path), grid),
    fp32: writeVitGraph(weights, { ...size, precision: 'fp32' }),
    int8: writeVitGraph(weights, { ...size, precision: 'int8' }),
  };
  for (const threads of new Set([1, availableParallelism()])) {
    const sessions = await Promise.all(
      Object.entries(graphs).map(async ([name, graph]) => [name, await bareRun(graph, threads)] as const),
    );
    const samples = await interleaved(Object.fromEntries(sessions.map(([name, { run }]) => [name, run])), rounds);
    const plain = middle(samples[0]);
    report(
      `ViT-S/14, 448 × 448, ${threads} thread${threads === 1 ? '' : 's'}, times plain: ${samples
        .map((sample) => `${sample.name} ${(middle(sample) / plain).toFixed(2)}`)
        .join(', ')}`,
      samples,
    );
    for (const [, session] of sessions) await session.dispose();
  }
}

/** What the service adds to a bare run of the same graph, and how much four callers at once get through. */
async function benchVitService(path: string, precision: 'fp32' | 'int8'): Promise<void> {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-bench-'));
  const order = { path, source: 'bench', name: null, height: vitSide, width: vitSide, blocks: null, replace: false };
  const { card } = await addModel(modelsDir, { ...order, precision, threads: availableParallelism() });
  const started = performance.now();
  const okng = await startOkng({ BDI_MODELS_DIR: modelsDir });
  const startMs = performance.now() - started;
  const bare = await bareRun(join(modelsDir, 'extractors', card.name, card.file), availableParallelism());
  try {
    const good = partPictures('train/good').slice(0, 10);
    const [picture] = partPictures('test/good');
    const fields = { role_id: 'vit', roi_id: 'top', mm_per_px: String(partsMmPerPx) };
    const send = async (path: string, files: Parameters<typeof postForm>[2]) => {
      const { status, body } = await postForm(`${okng.url}${path}`, fields, files);
      if (status !== 200) throw new Error(JSON.stringify(body));
    };
    const fitted = performance.now();
    await send(
      '/fit_ok',
      good.map((one) => ({ ...one, field: 'images' })),
    );
    const fitMs = performance.now() - fitted;
    const infer = () => send('/infer', [{ ...(picture as (typeof good)[0]), field: 'image' }]);
    const single = await interleaved({ 'bare run': bare.run, '/infer, one caller': infer }, rounds, 3);
    const four = async () => {
      await Promise.all(Array.from({ length: 4 }, infer));
    };
    const fourBare = async () => {
      for (let i = 0; i < 4; i++) await bare.run();
    };
    const many = await interleaved(
      { 'four bare runs in turn': fourBare, '/infer, four callers at once': four },
      rounds,
      1,
    );
    const [run, request, fourRuns, fourRequests] = [...single, ...many];
    report(
      `ViT-S/14 ${precision} served: /infer ${(middle(request) / middle(run)).toFixed(2)} × a bare run; four callers get ${(middle(fourRuns) / middle(fourRequests)).toFixed(2)} of bare throughput`,
      [
        ...single,
        ...many,
        { name: 'process start to ready', unit: 'ms', values: [startMs] },
        { name: '/fit_ok, 10 pictures', unit: 'ms', values: [fitMs] },
        { name: 'resident memory afterwards', unit: 'MiB', values: [residentMib(okng.child.pid)] },
      ],
    );
  } finally {
    await bare.dispose();
    await okng.kill('SIGTERM');
    rmSync(modelsDir, { recursive: true });
  }
}

function middle(sample: Sample | undefined): number {
  return percentile(Float64Array.from(sample?.values ?? []), 50);
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
  const built = faissAddon() !== null;
  if (!built) console.log('\nfaiss-node: not measured; npm run faiss:build builds it.');
  const engines = (['onnx', ...(built ? (['faiss'] as const) : [])] as const).map(
    (name) => [name, neighborsEngine(name, { threads: 1 })] as const,
  );
  const works: Record<string, () => Promise<unknown>> = {};
  for (const [rows, cols] of [
    [205, 74],
    [700, 384],
    [5000, 1152],
  ] as const) {
    const queries = randomRows(1024, cols, 2);
    for (const [name, engine] of engines) {
      const neighbors = await engine.open(randomRows(rows, cols, 1));
      works[`1024 patches × ${rows} rows × ${cols}, ${name}`] = () => neighbors.search(queries, 1);
    }
  }
  report('Nearest neighbours, one thread', await interleaved(works, rounds));
  for (const [, engine] of engines) await engine.dispose();
}

console.log(machine());
await benchStart();
await benchService('Embedded extractor', { EXTRACTOR: 'embedded' });
await benchAudit();
const card = options['onnx-card'];
if (card === undefined) console.log('\nONNX extractor: not measured; give --onnx-card card.json.');
else await benchService(`ONNX extractor ${card}`, { EXTRACTOR: card });
const { weights: weightsPath } = options;
if (weightsPath === undefined) console.log('\nViT-S/14: not measured; give --weights model.safetensors.');
else {
  await benchVitGraphs(weightsPath);
  await benchVitService(weightsPath, 'fp32');
  await benchVitService(weightsPath, 'int8');
}
await benchSearch();
writeFileSync(options.json, `${JSON.stringify({ machine: machine(), rounds, groups }, null, 2)}\n`);
console.log(`\nWritten to ${options.json}.`);
process.exit(0);
