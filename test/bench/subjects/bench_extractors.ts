import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { filterBankInputSize, writeFilterBankGraph } from '../../../src/extractors/embedded/filter_bank_graph.ts';
import { addModel, type Precision } from '../../../src/model_library.ts';
import { openSession } from '../../../src/onnx/onnx_session.ts';
import type { BenchContext } from '../bench_context.ts';
import type { ServedOptions } from './served.ts';

/** An extractor to serve, and its network alone. */
export interface BenchExtractor extends ServedOptions {
  readonly name: string;
  /** A picture takes a good part of a second. */
  readonly isSlow: boolean;
  /** Its network alone, of a process of its own; to be called when a service was prepared. */
  openBare(threads: number): Promise<BareRun>;
  /** The same in so many processes at once, one thread each. */
  openBareBeside(processes: number, signal: AbortSignal): Promise<BareRuns>;
}

export interface BareRun {
  run(): Promise<unknown>;
  dispose(): Promise<void>;
}

export interface BareRuns {
  /** So many runs in each of the processes. */
  run(each: number): Promise<unknown>;
  dispose(): Promise<void>;
}

export const vitSide = 448;

/** The embedded one, and where weights are given ViT-S/14 in both precisions. */
export function benchExtractors({ weights }: Pick<BenchContext, 'weights'>): readonly BenchExtractor[] {
  const embedded: BenchExtractor = {
    name: 'embedded',
    isSlow: false,
    environment: { EXTRACTOR: 'embedded' },
    openBare: (threads) => openBareRun(writeFilterBankGraph(), filterBankInputSize, threads),
    openBareBeside: (processes, signal) => openBareRuns('', filterBankInputSize, processes, signal),
  };
  return weights === null ? [embedded] : [embedded, servedVit(weights, 'fp32'), servedVit(weights, 'int8')];
}

function servedVit(weights: string, precision: Precision): BenchExtractor {
  let graph = '';
  return {
    name: `ViT-S/14 ${precision}`,
    isSlow: true,
    environment: {},
    prepare: async (modelsDir) => {
      const size = { height: vitSide, width: vitSide, blocks: null };
      const order = { path: weights, source: 'bench', name: null, replace: false, precision, threads: 1 };
      const { card } = await addModel(modelsDir, { ...order, ...size });
      graph = join(modelsDir, 'extractors', card.name, card.file);
    },
    openBare: (threads) => openBareRun(graph, vitSide, threads),
    openBareBeside: (processes, signal) => openBareRuns(graph, vitSide, processes, signal),
  };
}

/** One gray picture of `side` × `side` through a graph. */
export async function openBareRun(graph: Uint8Array | string, side: number, threads: number): Promise<BareRun> {
  const session = await openSession(graph, { threads });
  const input = { dims: [1, 3, side, side], data: new Float32Array(3 * side ** 2).fill(0.1) };
  return { run: () => session.run({ input }), dispose: () => session.dispose() };
}

/** @param graph a file; empty: the embedded network */
async function openBareRuns(graph: string, side: number, processes: number, signal: AbortSignal): Promise<BareRuns> {
  const children = Array.from({ length: processes }, () =>
    fork(new URL('bare_runs.ts', import.meta.url), [graph, String(side)], { signal }),
  );
  const answers = () => Promise.all(children.map((child) => once(child, 'message')));
  await answers();
  return {
    run: async (each) => {
      const answered = answers();
      for (const child of children) child.send(each);
      await answered;
    },
    dispose: async () => {
      const ended = Promise.all(children.map((child) => once(child, 'exit')));
      for (const child of children) child.disconnect();
      await ended;
    },
  };
}
