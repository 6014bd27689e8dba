/**
 * A process: `pictures cols patches threads` → message {@link LargeFit}. Fits pictures of 32 × 32 patches of which it holds no
 * more than so many, as the service does, but in one thread: nothing that a fit needs is anywhere else.
 */
import { createPatchCollection } from '../../../src/patchcore/patch_collection.ts';
import { fitWithProducts, thinWithProducts } from '../../../src/workers/fit_steps.ts';
import type { FitPicture } from '../../../src/workers/vision.ts';
import { someMetadata } from '../../store/some_memory.ts';
import { patchRowStream } from './patch_rows.ts';
import { ownPeakMib } from './process_memory.ts';

export interface LargeFit {
  readonly collectMs: number;
  readonly fitMs: number;
  /** All that the process ever had resident. */
  readonly peakMib: number;
  readonly radius: number;
}

const grid = { rows: 32, cols: 32 };
const size = { height: 448, width: 448 };
const cells = Int32Array.from({ length: grid.rows * grid.cols }, (_, cell) => cell);

const [count, cols, mostPatches, threads] = process.argv.slice(2).map(Number) as [number, number, number, number];
const pictures = Array.from(
  { length: count },
  (_, i): FitPicture => ({
    name: `${i}.png`,
    size,
    frame: { top: 0, left: 0, height: 32, width: 32 },
    brightness: 100,
  }),
);
const nextRows = patchRowStream(cols, 1);
const collection = createPatchCollection({
  pictures: count,
  cells: cells.length,
  mostPatches,
  thin: (group, size) => thinWithProducts(group, size, { threads }),
});
const started = performance.now();
for (let i = 0; i < count; i++) await collection.add(cells, nextRows(cells.length));
const collected = performance.now();
const { thinned } = await fitWithProducts(
  {
    pictures,
    patches: collection.collected(),
    scoreMode: 'percentile',
    scorePercentile: 99,
    sigmaPx: 1,
    positionBytes: 32 * 1024 * 1024,
    grid,
    coresetRate: 0.02,
    about: someMetadata(1),
  },
  { threads },
);
process.send?.({
  collectMs: collected - started,
  fitMs: performance.now() - collected,
  peakMib: ownPeakMib(),
  radius: thinned?.radius ?? 0,
} satisfies LargeFit);
