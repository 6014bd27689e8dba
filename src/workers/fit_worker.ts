import { workerData } from 'piscina';
import { type FitSettings, fitWithProducts } from './fit_steps.ts';
import { moved, settleUntil, type WorkerStart } from './outcome.ts';
import type { FitOrder } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<FitSettings>;
const settle = settleUntil(closing);

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
