import { setImmediate } from 'node:timers/promises';
import { createOnnxProducts } from '../../../src/neighbors/onnx_products.ts';
import { type DotProducts, selectCoreset, selectCoresetPlainly } from '../../../src/patchcore/coreset.ts';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { type BareProduct, openBareProduct } from './bare_product.ts';
import { answerOf } from './forked.ts';
import { patchRows } from './patch_rows.ts';

interface CoresetSize {
  readonly rows: number;
  readonly cols: number;
  readonly picks: number;
}

const small: readonly CoresetSize[] = [{ rows: 600, cols: 32, picks: 30 }];
const usual: readonly CoresetSize[] = [
  { rows: 20_000, cols: 384, picks: 400 },
  { rows: 20_000, cols: 1152, picks: 400 },
];
const full: readonly CoresetSize[] = [
  ...usual,
  { rows: 50_000, cols: 1152, picks: 1000 },
  { rows: 200_000, cols: 384, picks: 4000 },
];

/** The bare product is measured in a part that multiplies at full speed, and scaled to all. */
const part = { rows: 8192, picks: 1024 };
/** The plain loop takes as long for each pick: it is measured for a few, and scaled. */
const plainPicks = 2;

/** Greedy k-center, against as many multiplications at the speed of the bare product. */
export async function benchCoreset(context: BenchContext): Promise<void> {
  const bare = await openBareProduct(context.threads);
  const { products, dispose } = await createOnnxProducts({ threads: context.threads });
  const interruptible: DotProducts = async (a, b) => {
    await setImmediate();
    context.signal.throwIfAborted();
    return await products(a, b);
  };
  const figures: Measured[] = [];
  try {
    for (const size of { small, usual, full }[context.sizes]) {
      figures.push(...(await benchSize(context, size, bare, interruptible)));
    }
    context.report(`Coreset, rows × columns → picks, ${context.threads} threads`, figures);
  } finally {
    await bare.dispose();
    await dispose();
  }
}

async function benchSize(
  context: BenchContext,
  size: CoresetSize,
  bare: BareProduct,
  products: DotProducts,
): Promise<readonly Measured[]> {
  const { rows, cols, picks } = size;
  const { signal, fewRepetitions: repetitions } = context;
  const name = `${rows} × ${cols} → ${picks}`;
  context.tell(name);
  const matrix = patchRows(rows, cols, 1);
  const measured = { rows: Math.min(rows, part.rows), picks: Math.min(picks, part.picks) };
  const times = await interleaved(
    {
      product: timed(bare.of(measured.rows, cols, measured.picks)),
      coreset: timed(() => selectCoreset(matrix, picks, products)),
      plain: timed(() => selectCoresetPlainly(matrix, plainPicks)),
    },
    { repetitions, signal },
  );
  const scale = (rows * picks) / (measured.rows * measured.picks);
  const product = times.product.map((ms) => ms * scale);
  const plain = times.plain.map((ms) => (ms * picks) / plainPicks);
  const peaks: number[] = [];
  for (let i = 0; i < repetitions; i++) {
    peaks.push(await answerOf<number>('./coreset_memory.ts', [rows, cols, picks, context.threads], signal));
  }
  const input = peaks.map(() => (4 * rows * cols) / 2 ** 20);
  const reference = { name: 'bare product', values: product };
  return [
    { name: `${name}: bare product, scaled`, unit: 'ms', values: product, reference: null },
    { name, unit: 'ms', values: times.coreset, reference },
    { name: `${name}: plain loop, scaled from ${plainPicks} picks`, unit: 'ms', values: plain, reference },
    { name: `${name}: peak memory`, unit: 'MiB', values: peaks, reference: { name: 'its input', values: input } },
  ];
}
