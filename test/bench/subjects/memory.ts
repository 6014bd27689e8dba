import type { BenchContext } from '../bench_context.ts';
import { benchPicture } from './bench_pictures.ts';
import { residentMib } from './process_memory.ts';
import { type Ask, type Served, withService } from './served.ts';

interface Amount {
  readonly models: number;
  readonly inspections: number;
}

const amounts = {
  small: { models: 2, inspections: 20 },
  usual: { models: 20, inspections: 1000 },
  full: { models: 100, inspections: 10_000 },
} as const;

/** Pictures of a model: with every patch kept, 4096 × 74 numbers, somewhat more than 700 × 384. */
const picturesEach = 4;

const callers = 4;

/** What many models take, each asked once, and whether memory grows with the pictures that are inspected. */
export async function benchMemory(context: BenchContext): Promise<void> {
  const environment = { EXTRACTOR: 'embedded', CORESET_RATE: '1' };
  await withService(context, { environment }, (served) => benchServed(context, served, amounts[context.sizes]));
}

async function benchServed(context: BenchContext, served: Served, { models, inspections }: Amount): Promise<void> {
  const resident = () => residentMib(served.okng.child.pid);
  const picture = await benchPicture(448, 'png');
  const roles = Array.from({ length: models }, (_, i) => `model-${i}`);
  const asks: Ask[] = [];
  const alone: number[] = [];
  context.tell(`${models} models`);
  for (const role of roles) {
    context.signal.throwIfAborted();
    await served.fit(role, picturesEach);
    const ask = await served.asking(role, picture);
    await ask();
    asks.push(ask);
    if (asks.length === 1) alone.push(resident());
  }
  for (const ask of asks) await ask();
  const all = resident();

  const asked = async (count: number) => {
    let left = count;
    const caller = async () => {
      while (left-- > 0) {
        context.signal.throwIfAborted();
        await (asks[left % asks.length] as Ask)();
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
  };
  const before = inspections / 5;
  context.tell(`${before} inspections, and ${inspections} more`);
  await asked(before);
  const settled = resident();
  await asked(inspections);
  context.report('Memory, embedded', [
    { name: 'one model: resident memory', unit: 'MiB', values: alone, reference: null },
    {
      name: `${models} models: resident memory`,
      unit: 'MiB',
      values: [all],
      reference: { name: 'one model', values: alone },
    },
    { name: `after ${before} inspections: resident memory`, unit: 'MiB', values: [settled], reference: null },
    {
      name: `after ${inspections} more: resident memory`,
      unit: 'MiB',
      values: [resident()],
      reference: { name: `after ${before}`, values: [settled] },
    },
  ]);
}
