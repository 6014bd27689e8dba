import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved } from '../interleaved.ts';
import { benchExtractors } from './bench_extractors.ts';
import { residentMib } from './process_memory.ts';
import { type ServedOptions, withService } from './served.ts';

interface Start {
  readonly ms: number;
  readonly mib: number;
}

/** From the start of a process to its first answer, against a Node.js that serves one sentence. */
export async function benchStarts(context: BenchContext): Promise<void> {
  context.tell('a bare server, light import and full starts in turns');
  const extractors = benchExtractors(context);
  const { node, light, full } = await interleaved(
    {
      node: startNode,
      light: () => startService(context, { environment: { BDI_LIGHT_IMPORT: '1' } }),
      full: async () => {
        const starts: Start[] = [];
        for (const extractor of extractors) starts.push(await startService(context, extractor));
        return starts;
      },
    },
    { repetitions: context.fewRepetitions, signal: context.signal },
  );
  const ms = (starts: readonly Start[]) => starts.map((start) => start.ms);
  const mib = (starts: readonly Start[]) => starts.map((start) => start.mib);
  const time = { unit: 'ms', reference: { name: 'bare Node.js server', values: ms(node) } } as const;
  const memory = { unit: 'MiB', reference: { name: 'bare Node.js server', values: mib(node) } } as const;
  context.report('Start', [
    { name: 'bare Node.js server: first answer', unit: 'ms', values: ms(node), reference: null },
    { name: 'bare Node.js server: resident memory', unit: 'MiB', values: mib(node), reference: null },
    { name: 'light import: first /health', values: ms(light), ...time },
    { name: 'light import: resident memory', values: mib(light), ...memory },
    ...extractors.flatMap(({ name }, i): readonly Measured[] => {
      const starts = full.map((round) => round[i] as Start);
      return [
        { name: `full start, ${name}: ready`, values: ms(starts), ...time },
        { name: `full start, ${name}: resident memory`, values: mib(starts), ...memory },
      ];
    }),
  ]);
}

/** Light or not, it answers /health when it counts as started. */
async function startService(context: BenchContext, { environment, prepare }: ServedOptions): Promise<Start> {
  let started = performance.now();
  const preparing = async (modelsDir: string) => {
    await prepare?.(modelsDir);
    started = performance.now();
  };
  return await withService(context, { environment, prepare: preparing }, async ({ okng, health }) => {
    await health();
    return { ms: performance.now() - started, mib: residentMib(okng.child.pid) };
  });
}

const server = `require('node:http')
  .createServer((_, answer) => answer.end('well'))
  .listen(0, '127.0.0.1', function () { console.log(this.address().port); });`;

async function startNode(): Promise<Start> {
  const started = performance.now();
  const child = spawn(process.execPath, ['-e', server], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [port] = (await once(child.stdout, 'data')) as [Buffer];
    await (await fetch(`http://127.0.0.1:${String(port).trim()}`)).text();
    return { ms: performance.now() - started, mib: residentMib(child.pid) };
  } finally {
    child.kill();
    await once(child, 'exit');
  }
}
