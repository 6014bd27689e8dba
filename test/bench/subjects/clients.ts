import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { median, p95 } from '../statistics.ts';
import { type BareRun, type BareRuns, type BenchExtractor, benchExtractors } from './bench_extractors.ts';
import { benchPicture } from './bench_pictures.ts';
import { type Served, withService } from './served.ts';

const role = 'clients';

/** One to sixteen callers, each of whom asks again as soon as it is answered. */
export async function benchClients(context: BenchContext): Promise<void> {
  for (const extractor of benchExtractors(context)) {
    const { environment } = extractor;
    const perCore = { ...extractor, environment: { ...environment, BDI_WORKERS: String(context.threads) } };
    await withService(context, extractor, (served) =>
      withService(context, perCore, async (servedPerCore) => {
        const bare = await extractor.openBare(context.threads);
        const bareBeside = await extractor.openBareBeside(context.threads, context.signal);
        await served.fit(role, 10);
        await servedPerCore.fit(role, 10);
        const figures = await benchExtractor(context, extractor, { served, servedPerCore, bare, bareBeside });
        await bareBeside.dispose();
        await bare.dispose();
        context.report(`Callers at once, ${extractor.name}, 448 × 448 png`, figures);
      }),
    );
  }
}

/** What is asked in turn. */
interface Asked {
  readonly served: Served;
  /** As many runs of the network at once as there are cores. */
  readonly servedPerCore: Served;
  /** All cores for one run. */
  readonly bare: BareRun;
  /** A core for each run. */
  readonly bareBeside: BareRuns;
}

async function benchExtractor(
  context: BenchContext,
  { name, isSlow }: BenchExtractor,
  { served, servedPerCore, bare, bareBeside }: Asked,
): Promise<readonly Measured[]> {
  const isSmall = context.sizes === 'small';
  const counts = isSmall ? [1, 2] : [1, 2, 4, 8, 16];
  const several = isSmall ? 2 : 4;
  const requests = isSmall ? 4 : isSlow ? 16 : 32;
  const bareRuns = requests / 4;
  context.tell(`${name}, ${counts.join(', ')} callers`);
  const picture = await benchPicture(448, 'png');
  const [ask, askPerCore] = [await served.asking(role, picture), await servedPerCore.asking(role, picture)];
  const eachBeside = Math.max(1, Math.round(bareRuns / context.threads));
  const turns = await interleaved(
    {
      bare: timed(async () => {
        for (let i = 0; i < bareRuns; i++) await bare.run();
      }),
      beside: timed(() => bareBeside.run(eachBeside)),
      // All counts in one round: the queue of many is told by what one caller waits.
      callers: async () => {
        const rounds: Round[] = [];
        for (const count of counts) {
          context.signal.throwIfAborted();
          rounds.push(await askedBy(count, requests, ask));
        }
        return rounds;
      },
      perCore: () => askedBy(several, requests, askPerCore),
    },
    { repetitions: context.fewRepetitions, signal: context.signal },
  );
  const perSecond = turns.bare.map((ms) => (1000 * bareRuns) / ms);
  const perSecondBeside = turns.beside.map((ms) => (1000 * eachBeside * context.threads) / ms);
  const most = perSecond.map((rate, i) => Math.max(rate, perSecondBeside[i] as number));
  const alone = turns.callers.map((rounds) => median((rounds[0] as Round).each));
  const answered = (rounds: readonly Round[]): Pick<Measured, 'unit' | 'values' | 'reference'> => ({
    unit: 'pictures/s',
    values: rounds.map(({ ms }) => (1000 * requests) / ms),
    reference: { name: 'the most that bare runs reach', values: most },
  });
  return [
    { name: `${name}: bare runs, all cores each`, unit: 'pictures/s', values: perSecond, reference: null },
    { name: `${name}: bare runs, a core each`, unit: 'pictures/s', values: perSecondBeside, reference: null },
    ...counts.flatMap((count, i): readonly Measured[] => {
      const rounds = turns.callers.map((all) => all[i] as Round);
      const callers = `${name}: ${count} lean caller${count === 1 ? '' : 's'}`;
      return [
        { name: `${callers}, answered`, ...answered(rounds) },
        {
          name: `${callers}, p95`,
          unit: 'ms',
          values: rounds.map(({ each }) => p95(each)),
          reference: { name: `${count} × the median of one caller`, values: alone.map((ms) => ms * count) },
          at: { curve: 'callers at once', series: `${name}, p95`, x: count },
        },
      ];
    }),
    { name: `${name}: ${several} lean callers, BDI_WORKERS = cores, answered`, ...answered(turns.perCore) },
  ];
}

interface Round {
  readonly ms: number;
  /** Of every request. */
  readonly each: readonly number[];
}

/** As many requests, whoever is free asks the next. */
async function askedBy(callers: number, requests: number, ask: () => Promise<unknown>): Promise<Round> {
  let left = requests;
  const each: number[] = [];
  const caller = async () => {
    while (left-- > 0) each.push(await timed(ask)());
  };
  const ms = await timed(() => Promise.all(Array.from({ length: callers }, caller)))();
  return { ms, each };
}
