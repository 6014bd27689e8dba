import { faissAddon } from '../../../src/neighbors/faiss_addon.ts';
import { neighborsEngine } from '../../../src/neighbors/neighbors_engine.ts';
import { createMatrix } from '../../../src/patchcore/matrix.ts';
import { nearestNeighbors } from '../../../src/patchcore/nearest_neighbors.ts';
import type { BenchContext } from '../bench_context.ts';
import type { Measured } from '../figure.ts';
import { interleaved, timed } from '../interleaved.ts';
import { bankFile } from './bank_file.ts';
import { openBareProduct } from './bare_product.ts';
import { patchRows } from './patch_rows.ts';

interface BankSize {
  readonly rows: number;
  readonly cols: number;
  /** A point on the curve only: with all threads, without the other versions. */
  readonly isPoint?: boolean;
}

const small: readonly BankSize[] = [
  { rows: 40, cols: 32 },
  { rows: 90, cols: 32 },
];
const usual: readonly BankSize[] = [
  { rows: 175, cols: 384, isPoint: true },
  { rows: 700, cols: 384 },
  { rows: 2000, cols: 384, isPoint: true },
  { rows: 5000, cols: 384 },
  { rows: 15_000, cols: 384, isPoint: true },
  { rows: 50_000, cols: 384 },
  { rows: 700, cols: 1152 },
  { rows: 5000, cols: 1152 },
];
const full: readonly BankSize[] = [...usual, { rows: 50_000, cols: 1152 }];

/** Patches of one picture. */
const queryRows = 1024;
/** The plain loop takes as long for each query: it is measured for a few, and scaled. */
const plainQueries = 2;
/** Beyond so many multiplications a search takes a good part of a second. */
const longSearch = 5e9;

/** Nearest bank row of every patch of one picture, against the bare matrix product of the same size. */
export async function benchNeighbors(context: BenchContext): Promise<void> {
  const hasFaiss = faissAddon() !== null;
  if (!hasFaiss) context.leaveOut('faiss is left out: npm run faiss:build builds faiss-node.');
  const sizes = { small, usual, full }[context.sizes];
  for (const threads of new Set([1, context.threads])) {
    const bare = await openBareProduct(threads);
    const onnx = neighborsEngine('onnx', { threads });
    const int8 = neighborsEngine('onnx_int8', { threads });
    const faiss = hasFaiss ? neighborsEngine('faiss', { threads }) : null;
    const figures: Measured[] = [];
    try {
      for (const size of sizes) {
        if (size.isPoint && threads < context.threads) continue;
        figures.push(
          ...(await benchBank(context, size, threads, { bare, onnx, int8, faiss: size.isPoint ? null : faiss })),
        );
      }
      context.report(
        `Nearest rows of the ${queryRows} patches of a picture, bank rows × columns, ${threadsText(threads)}`,
        figures,
      );
    } finally {
      await faiss?.dispose();
      await int8.dispose();
      await onnx.dispose();
      await bare.dispose();
    }
  }
}

interface Versions {
  readonly bare: Awaited<ReturnType<typeof openBareProduct>>;
  readonly onnx: ReturnType<typeof neighborsEngine>;
  readonly int8: ReturnType<typeof neighborsEngine>;
  readonly faiss: ReturnType<typeof neighborsEngine> | null;
}

async function benchBank(
  context: BenchContext,
  { rows, cols, isPoint }: BankSize,
  threads: number,
  { bare, onnx, int8, faiss }: Versions,
): Promise<readonly Measured[]> {
  const name = `${rows} × ${cols}, ${threadsText(threads)}`;
  context.tell(name);
  const bank = patchRows(rows, cols, 1);
  const queries = patchRows(queryRows, cols, 2);
  const few = createMatrix(plainQueries, cols, queries.data.subarray(0, plainQueries * cols));
  const ours = await onnx.open(bank);
  const small = isPoint ? undefined : await int8.open(bank, () => bankFile(bank));
  const theirs = await faiss?.open(bank);
  const times = await interleaved(
    {
      product: timed(bare.of(queryRows, cols, rows)),
      ours: timed(() => ours.search(queries, 1)),
      ...(small && { int8: timed(() => small.search(queries, 1)) }),
      ...(theirs && { theirs: timed(() => theirs.search(queries, 1)) }),
      ...(!isPoint && { plain: timed(() => nearestNeighbors(few, bank, 1)) }),
    },
    {
      repetitions: queryRows * rows * cols > longSearch ? context.fewRepetitions : context.repetitions,
      signal: context.signal,
    },
  );
  await ours.dispose();
  await small?.dispose();
  await theirs?.dispose();
  const reference = { name: 'bare product', values: times.product };
  const figure = (version: string, values: readonly number[] | undefined): readonly Measured[] =>
    values === undefined ? [] : [{ name: `${name}${version}`, unit: 'ms', values, reference }];
  const point = { curve: 'bank rows', series: `${cols} columns`, x: rows };
  return [
    { name: `${name}: bare product`, unit: 'ms', values: times.product, reference: null },
    { name, unit: 'ms', values: times.ours, reference, ...(threads === context.threads && { at: point }) },
    ...figure(': int8', times.int8),
    ...figure(': faiss', times.theirs),
    ...figure(
      `: plain loop, scaled from ${plainQueries} patches`,
      times.plain?.map((ms) => (ms * queryRows) / plainQueries),
    ),
  ];
}

function threadsText(threads: number): string {
  return threads === 1 ? '1 thread' : `${threads} threads`;
}
