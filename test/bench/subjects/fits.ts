import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { p95 } from '../statistics.ts';
import { type BareRun, type BenchExtractor, benchExtractors } from './bench_extractors.ts';
import { benchLargeFit } from './large_fits.ts';
import { residentMib } from './process_memory.ts';
import { type Served, withService } from './served.ts';

/** Where the coreset is a good part of the work: five times the default. */
const coresetRate = '0.10';

const bareRuns = 3;
const healthAsked = 20;

/** `POST /fit_ok`, against as many bare runs of the network, and what others notice of it. */
export async function benchFits(context: BenchContext): Promise<void> {
  for (const extractor of benchExtractors(context)) {
    const environment = { ...extractor.environment, CORESET_RATE: coresetRate };
    await withService(context, { ...extractor, environment }, async (served) => {
      const bare = await extractor.openBare(context.threads);
      const figures = await benchExtractor(context, extractor, served, bare);
      await bare.dispose();
      context.report(`Fits at coreset rate ${coresetRate}, ${extractor.name}`, figures);
    });
  }
  await benchLargeFit(context);
}

async function benchExtractor(
  context: BenchContext,
  { name, isSlow }: BenchExtractor,
  served: Served,
  bare: BareRun,
): Promise<readonly Measured[]> {
  const counts = context.sizes === 'small' ? [2, 3] : isSlow ? [10, 50] : [5, 10, 20, 50];
  const ready = residentMib(served.okng.child.pid);
  const fits: Measured[] = [];
  let rounds: readonly Round[] = [];
  for (const count of counts) {
    context.tell(`${name}, ${count} pictures`);
    const turns = await interleaved(
      {
        bare: timed(async () => {
          for (let i = 0; i < bareRuns; i++) await bare.run();
        }),
        idle: () => healthP95(served, (asked) => asked < healthAsked),
        fit: () => fitWhileAsked(served, count),
      },
      { repetitions: context.fewRepetitions, signal: context.signal },
    );
    rounds = turns.fit.map((fit, i) => ({ ...fit, idle: turns.idle[i] as number, bareMs: turns.bare[i] as number }));
    fits.push({
      name: `${name}: ${count} pictures`,
      unit: 'ms',
      values: turns.fit.map(({ ms }) => ms),
      reference: { name: `${count} bare runs`, values: turns.bare.map((ms) => (ms * count) / bareRuns) },
      at: { curve: 'pictures of a fit', series: name, x: count },
    });
  }
  return [
    { name: `${name}: bare run`, unit: 'ms', values: rounds.map(({ bareMs }) => bareMs / bareRuns), reference: null },
    ...fits,
    {
      name: `${name}: p95 of /health meanwhile`,
      unit: 'ms',
      values: rounds.map(({ health }) => health),
      reference: { name: 'of an idle service', values: rounds.map(({ idle }) => idle) },
    },
    {
      name: `${name}: resident memory afterwards`,
      unit: 'MiB',
      values: rounds.map(({ mib }) => mib),
      reference: { name: 'when ready', values: rounds.map(() => ready) },
    },
  ];
}

interface Fit {
  readonly ms: number;
  /** p95 of /health meanwhile. */
  readonly health: number;
  /** Resident when it was done. */
  readonly mib: number;
}

/** Of the largest fit, with what was measured in the same turn. */
interface Round extends Fit {
  readonly idle: number;
  readonly bareMs: number;
}

async function fitWhileAsked(served: Served, count: number): Promise<Fit> {
  let isFitting = true;
  const asking = healthP95(served, () => isFitting);
  const fitting = served.fit('fits', count).finally(() => {
    isFitting = false;
  });
  const ms = await timed(() => fitting)();
  return { ms, health: await asking, mib: residentMib(served.okng.child.pid) };
}

/** Asks every five milliseconds for as long as `goesOn` says, at least once. */
async function healthP95(served: Served, goesOn: (asked: number) => boolean): Promise<number> {
  const times: number[] = [];
  do {
    times.push(await timed(served.health)());
    await sleep(5);
  } while (goesOn(times.length));
  return p95(times);
}
