import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { faissAddon, requireFaissAddon } from '../../src/neighbors/faiss_addon.ts';
import { createFaissNeighbors } from '../../src/neighbors/faiss_neighbors.ts';
import {
  type FaissProcess,
  type FaissProcessOptions,
  fallLimit,
  fallWindowMs,
  startFaissProcess,
} from '../../src/neighbors/faiss_process.ts';
import { createMatrix, type Matrix } from '../../src/patchcore/matrix.ts';
import { nearestNeighbors } from '../../src/patchcore/nearest_neighbors.ts';
import { matrixOf } from '../matrices.ts';
import { writeFakeFaiss } from './fake_faiss.ts';

let folder = '';
let addon = '';
let clock = 0;
let warnings: string[] = [];
const started: FaissProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-fake-faiss-'));
  addon = writeFakeFaiss(folder);
  clock = 0;
  warnings = [];
});
afterEach(async () => {
  for (const faiss of started.splice(0)) await faiss.dispose();
  rmSync(folder, { recursive: true });
});

function start(options: Partial<FaissProcessOptions> = {}): FaissProcess {
  const warn = (sentence: string) => {
    warnings.push(sentence);
  };
  const faiss = startFaissProcess({ addon, threads: 1, warn, now: () => clock, ...options });
  started.push(faiss);
  return faiss;
}

/** What the next searches are to do. */
function order(...orders: readonly string[]): void {
  writeFileSync(join(folder, 'orders'), orders.join('\n'));
}

/** What was called in the children so far, and in which. */
function calls(name: string): readonly { readonly pid: number; readonly words: string }[] {
  const lines = readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n');
  return lines
    .map((line) => /^(\d+) (\S+) ?(.*)$/.exec(line) as RegExpExecArray)
    .filter(([, , called]) => called === name)
    .map(([, pid, , words]) => ({ pid: Number(pid), words: words as string }));
}

const pids = () => calls('environment').map(({ pid }) => pid);

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const bank = matrixOf([
  [0, 0],
  [3, 4],
  [0, 1],
]);
const queries = matrixOf([[0, 0.75]]);

async function expectRight(faiss: FaissProcess): Promise<void> {
  const table = await createFaissNeighbors(bank, faiss).search(queries, 2);
  expect([...table.indices]).toEqual([2, 0]);
  expect([...table.distances]).toEqual([0.25, 0.75]);
}

describe('the process of faiss-node', () => {
  it('searches banks that it was given once', async () => {
    const faiss = start();
    const neighbors = createFaissNeighbors(bank, faiss);
    for (let i = 0; i < 3; i++) await neighbors.search(queries, 1);
    expect(calls('add')).toHaveLength(1);
    expect(calls('search')).toHaveLength(3);
    expect(pids()).toHaveLength(1);
    expect(warnings).toEqual([]);
  });

  it('is given a bank again after it was to forget it', async () => {
    const faiss = start();
    const other = createFaissNeighbors(matrixOf([[1, 1]]), faiss);
    const neighbors = createFaissNeighbors(bank, faiss);
    await other.search(queries, 1);
    await neighbors.search(queries, 1);
    await neighbors.dispose();
    await neighbors.dispose();
    await expectRight(faiss);
    await other.search(queries, 1);
    expect(calls('add').map(({ words }) => words)).toEqual(['2', '6', '6']);
    expect(pids()).toHaveLength(1);
  });

  it('takes large banks and many queries in parts', async () => {
    const rows = (count: number, seed: number) =>
      createMatrix(
        count,
        1000,
        Float32Array.from({ length: count * 1000 }, (_, i) => Math.sin(i * 0.37 + seed)),
      );
    const [large, many] = [rows(400, 1), rows(300, 2)];
    const table = await createFaissNeighbors(large, start()).search(many, 1);
    expect(table).toEqual(nearestNeighbors(many, large, 1));
    const words = (name: string) => calls(name).map((call) => call.words);
    expect(words('add')).toEqual(['262000', '138000']);
    expect(words('search').slice(0, 2)).toEqual(['262 8', '38 8']);
  });

  it.each([
    ['dies', 'die', 'ended (SIGKILL)'],
    ['ends', 'exit', 'ended (exit code 3)'],
    ['fails', 'throw', 'says: Error: as ordered'],
  ])('is replaced when it %s, and the search is done there', async (_, order1, reason) => {
    const faiss = start();
    await expectRight(faiss);
    order(order1);
    await expectRight(faiss);
    await expectRight(faiss);
    expect(pids()).toHaveLength(2);
    expect(isAlive(pids()[0] as number)).toBe(false);
    expect(warnings).toEqual([`The process of faiss-node ${reason}; the next search starts another.`]);
  });

  it('is replaced when it hangs for as long as a search may take', async () => {
    const faiss = start({ timeoutMs: 30_000 });
    await expectRight(faiss);
    order('hang');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const searching = expectRight(faiss);
      await vi.waitFor(() => expect(calls('search')).toHaveLength(2), 20_000);
      vi.advanceTimersByTime(30_000);
      await searching;
    } finally {
      vi.useRealTimers();
    }
    expect(isAlive(pids()[0] as number)).toBe(false);
    expect(warnings).toEqual(['The process of faiss-node has not answered for 30 s; the next search starts another.']);
  });

  it('is replaced when it was killed between two searches', async () => {
    const faiss = start();
    await expectRight(faiss);
    process.kill(pids()[0] as number, 'SIGKILL');
    await expect.poll(() => warnings, { timeout: 20_000 }).toHaveLength(1);
    await expectRight(faiss);
    expect(pids()).toHaveLength(2);
  });

  it('fails a search that fails twice by name, and serves the next', async () => {
    const faiss = start();
    order('die', 'throw');
    await expect(expectRight(faiss)).rejects.toMatchObject({
      code: 'not_ready',
      message: expect.stringContaining('BDI_NEIGHBORS=onnx'),
    });
    await expectRight(faiss);
    expect(warnings).toHaveLength(2);
  });

  it('is not started any more after too many failures in a minute, and is again when that is over', async () => {
    const faiss = start();
    order(...Array.from({ length: fallLimit }, () => 'die'));
    for (let i = 0; i < fallLimit / 2; i++) {
      clock += 1000;
      await expect(expectRight(faiss)).rejects.toMatchObject({ message: expect.stringContaining('failed twice') });
    }
    const soFar = pids().length;
    const refused = { code: 'not_ready', message: expect.stringContaining(`failed ${fallLimit} times`) };
    await expect(expectRight(faiss)).rejects.toMatchObject(refused);
    await expect(faiss.warm()).rejects.toMatchObject(refused);
    expect(pids()).toHaveLength(soFar);
    clock += fallWindowMs;
    await expectRight(faiss);
  });

  it('is replaced without a word when it has grown too much', async () => {
    const faiss = start({ growthBytes: 500e6 });
    for (let i = 0; i < 3; i++) await expectRight(faiss);
    expect(pids()).toHaveLength(1);
    order('leak');
    await expectRight(faiss);
    expect(isAlive(pids()[0] as number)).toBe(false);
    await expectRight(faiss);
    expect(pids()).toHaveLength(2);
    expect(warnings).toEqual([]);
  });

  it('may grow by the banks it was given', async () => {
    const faiss = start({ growthBytes: 3000 });
    const large = createFaissNeighbors(matrixOf(Array.from({ length: 1000 }, (_, i) => [i, 0])), faiss);
    await large.search(queries, 1);
    await large.search(queries, 1);
    await expectRight(faiss);
    expect(pids()).toHaveLength(1);
    // The stand-in keeps its bytes.
    await large.dispose();
    await expectRight(faiss);
    await expectRight(faiss);
    expect(pids()).toHaveLength(2);
  });

  it.each([0, 4])('never asks faiss-node for %i of 3 rows, on which it would abort', async (count) => {
    const faiss = start();
    await expect(faiss.search(bank, queries.data, count)).rejects.toMatchObject({ code: 'not_ready' });
    expect(calls('search')).toEqual([]);
  });

  it('says how to build it when it cannot be loaded', async () => {
    writeFileSync(addon, 'process.exit(1);');
    const said = { code: 'not_ready', message: expect.stringContaining('npm run faiss:build') };
    await expect(start().warm()).rejects.toMatchObject(said);
    await expect(expectRight(start({ addon: join(folder, 'absent.cjs') }))).rejects.toMatchObject(said);
  });

  it('knows its threads and nothing of the environment here', async () => {
    process.env.BDI_API_KEYS = 'a-key-that-nobody-is-told';
    try {
      await start().warm();
    } finally {
      delete process.env.BDI_API_KEYS;
    }
    expect(calls('environment')[0]?.words).toBe('OMP_NUM_THREADS OPENBLAS_NUM_THREADS');
  });

  it('outlives a Ctrl-C, which is for the service, and ends when it is told to', async () => {
    const faiss = start();
    await expectRight(faiss);
    const [pid] = pids() as [number];
    process.kill(pid, 'SIGINT');
    process.kill(pid, 'SIGTERM');
    await expectRight(faiss);
    expect(pids()).toEqual([pid]);
    await faiss.dispose();
    await faiss.dispose();
    expect(isAlive(pid)).toBe(false);
    expect(warnings).toEqual([]);
  });
});

describe('what faiss-node names', () => {
  const circle = (count: number, step: number): Matrix =>
    matrixOf(Array.from({ length: count }, (_, i) => [Math.cos(i * step), Math.sin(i * step)]));
  const asked = () => calls('search').map(({ words }) => words);

  it('is enough where distances differ', async () => {
    const points = circle(300, 0.01);
    expect(await createFaissNeighbors(points, start()).search(points, 1)).toEqual(nearestNeighbors(points, points, 1));
    expect(asked()).toEqual(['300 8']);
  });

  it('is asked for again, with more, where they hardly do', async () => {
    const points = circle(300, 1e-4);
    expect(await createFaissNeighbors(points, start()).search(points, 3)).toEqual(nearestNeighbors(points, points, 3));
    expect(asked()).toEqual(['300 10', '300 130']);
  });

  it.each(['nonsense', 'mix up'])('is not believed when it cannot be: %s', async (order1) => {
    order(order1);
    const points = circle(300, 0.01);
    const few = circle(10, 0.1);
    expect(await createFaissNeighbors(points, start()).search(few, 1)).toEqual(nearestNeighbors(few, points, 1));
  });
});

describe('where faiss-node is looked for', () => {
  it('is node_modules, and what is missing there is told in a sentence', () => {
    const from = pathToFileURL(join(folder, 'module.js')).href;
    const home = join(folder, 'node_modules', 'faiss-node');
    expect(faissAddon(from)).toBeNull();
    mkdirSync(join(home, 'build', 'Release'), { recursive: true });
    writeFileSync(join(home, 'package.json'), '{}');
    expect(faissAddon(from)).toBeNull();
    expect(() => requireFaissAddon(from)).toThrow(
      expect.objectContaining({ code: 'invalid_config', message: expect.stringContaining('npm run faiss:build') }),
    );
    const path = join(home, 'build', 'Release', 'faiss-node.node');
    writeFileSync(path, '');
    expect(requireFaissAddon(from)).toBe(path);
  });
});
