/**
 * Preloaded into the service by NODE_OPTIONS: on SIGUSR2 every thread collects its garbage and writes a line among those of
 * the log on what it still holds. JavaScript, because a process without a loader reads it.
 */
import { writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BroadcastChannel, isMainThread, threadId } from 'node:worker_threads';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

async function tell() {
  // What the first round frees may hold more: an array's memory goes after the array.
  for (let round = 0; round < 2; round++) {
    collectGarbage();
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  writeSync(
    1,
    `${JSON.stringify({ msg: 'memory', thread: threadId, heap_bytes: heapUsed, external_bytes: external })}\n`,
  );
}

const everyThread = new BroadcastChannel('okng-memory-probe');
everyThread.unref();
everyThread.onmessage = tell;
if (isMainThread) {
  process.on('SIGUSR2', () => {
    everyThread.postMessage(null);
    tell();
  });
}
