import { afterEach, beforeEach } from 'vitest';
import { leaveDisk, watchDisk } from './disk_calls.ts';

/** How many changes of the disk are still made before the process is as good as dead. */
export const power = { left: Number.POSITIVE_INFINITY };

/** What a write or a sync adds lies in temp files that nobody looks at: another moment to die, but nothing else to find. */
const seenByNobody: ReadonlySet<string> = new Set(['write', 'sync', 'datasync']);

/** Makes the changes of the store's disk take some of the {@link power}, in the tests of the file that calls it. */
export function spendPower(): void {
  beforeEach(() =>
    watchDisk(({ name, changes }) => {
      if (changes && !seenByNobody.has(name) && power.left-- <= 0) throw new Error('no power');
      return undefined;
    }),
  );
  afterEach(() => {
    power.left = Number.POSITIVE_INFINITY;
    leaveDisk();
  });
}
