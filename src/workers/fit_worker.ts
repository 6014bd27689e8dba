import { workerData } from 'piscina';
import type { Matrix } from '../patchcore/matrix.ts';
import { type FitSettings, fitWithProducts, thinWithProducts } from './fit_steps.ts';
import { moved, settleUntil, type WorkerStart } from './outcome.ts';
import type { FitOrder } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<FitSettings>;
const settle = settleUntil(closing);

export const thin = ({ patches, size }: { patches: Matrix; size: number }) =>
  settle(() => thinWithProducts(patches, size, settings, { shouldStop: () => Atomics.load(closing, 0) !== 0 }));

/** `gauge` is shared with the caller: [done, total, stop]. */
export const fit = async ({ order, gauge }: { order: FitOrder; gauge: Int32Array }) =>
  moved(
    await settle(async () =>
      fitWithProducts(order, settings, {
        onProgress: (done, total) => {
          Atomics.store(gauge, 1, total);
          Atomics.store(gauge, 0, done);
        },
        shouldStop: () => Atomics.load(gauge, 2) !== 0 || Atomics.load(closing, 0) !== 0,
      }),
    ),
    ({ encoded }) => [encoded.npz, encoded.index],
  );
