/** Run as a process of its own: takes a lock, says so, and keeps it until it is killed. */
import { withLock } from '../../src/store/model_lock.ts';

const [folder = '', name = ''] = process.argv.slice(2);

await withLock(folder, name, async () => {
  process.stdout.write('held\n');
  // The lock's own timer holds no process.
  await new Promise((resolve) => setTimeout(resolve, 3_600_000));
});
