import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What arrays hold of this process's memory, when all has been collected that nobody can reach any more. */
export async function heldBytes(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let held = Number.POSITIVE_INFINITY;
  for (;;) {
    collect();
    // Some is let go behind a collection only.
    await setTimeout(20);
    const { arrayBuffers } = process.memoryUsage();
    if (arrayBuffers >= held) return held;
    held = arrayBuffers;
  }
}
