import type { BenchContext } from '../bench_context.ts';
import { answerOf } from './forked.ts';
import type { LargeFit } from './large_fit.ts';

const patchesEach = 1024;

/** A fit that holds less than half of its patches; minutes of work, so once. */
export async function benchLargeFit(context: BenchContext): Promise<void> {
  if (context.sizes === 'usual') return;
  const [pictures, cols, held] = context.sizes === 'full' ? [977, 384, 400_000] : [20, 32, 8192];
  const name = `${pictures * patchesEach} × ${cols}, of which ${held} are held`;
  context.tell(name);
  const order = [pictures, cols, held, context.threads];
  const { collectMs, fitMs, peakMib } = await answerOf<LargeFit>('./large_fit.ts', order, context.signal);
  const allMib = (4 * pictures * patchesEach * cols) / 2 ** 20;
  context.report('Fit of more patches than are held at once, coreset rate 0.02', [
    { name: `${name}: collected and thinned`, unit: 'ms', values: [collectMs], reference: null },
    { name: `${name}: fitted`, unit: 'ms', values: [fitMs], reference: null },
    {
      name: `${name}: peak memory of the process`,
      unit: 'MiB',
      values: [peakMib],
      reference: { name: 'all patches', values: [allMib] },
    },
  ]);
}
