import { fitMemory } from './fit_steps.ts';
import { moved, settle } from './outcome.ts';
import type { FitOrder } from './vision.ts';

/** `gauge` is shared with the caller: [done, total, stop]. */
export const fit = async ({ order, gauge }: { order: FitOrder; gauge: Int32Array }) =>
  moved(
    await settle(async () =>
      fitMemory(order, {
        onProgress: (done, total) => {
          Atomics.store(gauge, 1, total);
          Atomics.store(gauge, 0, done);
        },
        shouldStop: () => Atomics.load(gauge, 2) !== 0,
      }),
    ),
    ({ encoded }) => [encoded.npz, encoded.index],
  );
