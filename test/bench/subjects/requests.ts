import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { type BareRun, type BenchExtractor, benchExtractors } from './bench_extractors.ts';
import { benchPicture } from './bench_pictures.ts';
import { type Ask, type Served, withService } from './served.ts';

interface PictureKind {
  readonly side: number;
  readonly format: 'png' | 'jpeg';
  /** A point on the curve only: no steps. */
  readonly isPoint?: boolean;
}

const small: readonly PictureKind[] = [
  { side: 64, format: 'png' },
  { side: 96, format: 'png', isPoint: true },
];
const usual: readonly PictureKind[] = [
  { side: 224, format: 'png', isPoint: true },
  { side: 448, format: 'png' },
  { side: 1000, format: 'png', isPoint: true },
  { side: 2000, format: 'png' },
  { side: 2000, format: 'jpeg' },
];

/** As the service's log names them, in their order. */
const steps = ['decode', 'prepare', 'extract', 'search', 'map', 'regions', 'encode'] as const;
type Steps = Readonly<Record<(typeof steps)[number], number>>;

/** From here on a request takes a good part of a second. */
const longSide = 1000;

const role = 'requests';

/** `POST /infer` by one caller, whole and in steps, against a bare run of the network. */
export async function benchRequests(context: BenchContext): Promise<void> {
  for (const extractor of benchExtractors(context)) {
    await withService(context, extractor, async (served) => {
      const bare = await extractor.openBare(context.threads);
      await served.fit(role, 10);
      const figures: Measured[] = [];
      for (const kind of context.sizes === 'small' ? small : usual) {
        figures.push(...(await benchPictureKind(context, extractor, served, bare, kind)));
      }
      await bare.dispose();
      context.report(`/infer of one caller, ${extractor.name}`, figures);
    });
  }
}

async function benchPictureKind(
  context: BenchContext,
  { name: extractor }: BenchExtractor,
  served: Served,
  bare: BareRun,
  { side, format, isPoint = false }: PictureKind,
): Promise<readonly Measured[]> {
  const name = `${extractor}, ${side} × ${side} ${format}`;
  context.tell(name);
  const picture = await benchPicture(side, format);
  await served.calibrateBelow(role, (await served.infer(role, picture)).score);
  const ask = await served.asking(role, picture);
  const askPlain = await served.asking(role, picture, { include_heatmap: 'false' });
  const turns = await interleaved(
    {
      bare: timed(bare.run),
      request: () => askedInSteps(served, ask),
      plain: timed(() => askPlain()),
    },
    { repetitions: side < longSide ? context.repetitions : context.fewRepetitions, warmup: 2, signal: context.signal },
  );
  const whole = turns.request.map(({ ms }) => ms);
  const around = turns.request.map(({ ms, steps }) => ms - steps.extract - steps.search);
  const reference = { name: 'bare run', values: turns.bare };
  const point = { curve: 'picture side', series: `${extractor}, all but network and search`, x: side };
  const lines: readonly Measured[] = [
    { name: `${name}: bare run`, unit: 'ms', values: turns.bare, reference: null },
    { name: `${name}: answered`, unit: 'ms', values: whole, reference },
    { name: `${name}: answered without heatmap`, unit: 'ms', values: turns.plain, reference },
    {
      name: `${name}: answered, all but network and search`,
      unit: 'ms',
      values: around,
      reference,
      ...(format === 'png' && { at: point }),
    },
  ];
  if (isPoint) return lines;
  const inSteps = steps.map((step): Measured => {
    const values = turns.request.map((request) => request.steps[step]);
    return { name: `${name}: ${step}`, unit: 'ms', values, reference: { name: 'whole request', values: whole } };
  });
  const rest = turns.request.map(({ ms, steps }) => Object.values(steps).reduce((left, step) => left - step, ms));
  return [
    ...lines,
    ...inSteps,
    {
      name: `${name}: answered, HTTP and waiting`,
      unit: 'ms',
      values: rest,
      reference: { name: 'whole request', values: whole },
    },
  ];
}

/** One request and what the service's log says of it. */
async function askedInSteps({ okng }: Served, ask: Ask): Promise<{ ms: number; steps: Steps }> {
  const requestId = randomUUID();
  const started = performance.now();
  await ask(requestId);
  const ms = performance.now() - started;
  for (;;) {
    const entry = okng.log.findLast(({ request_id: of, steps }) => of === requestId && steps !== undefined);
    if (entry !== undefined) return { ms, steps: entry.steps as Steps };
    // The answer may arrive before its line.
    await sleep(1);
  }
}
