import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OkngProcess } from '../e2e/process.ts';

/** What the service holds at one moment, in MiB. */
export interface MemoryLook {
  readonly at: string;
  /** As the system counts it, before anything is collected; null where it does not tell. */
  readonly residentMib: number | null;
  /** After a collection of garbage, all threads together: what V8 holds, and what it holds outside its heaps. */
  readonly heapMib: number;
  readonly externalMib: number;
}

/** In the environment of a service that is to be looked at. */
export const probeOptions = `--import=${new URL('memory_probe.mjs', import.meta.url)}`;

/** After so long without another answer no further thread is expected, unless fewer than before have answered. */
const quietMs = 200;
const patienceMs = 10_000;
const mib = 1024 * 1024;

/** Call what it returns when no request is under way: what one of them holds would count. */
export function memoryLooks({ child, log }: OkngProcess): (at: string) => Promise<MemoryLook> {
  let threads = 1;
  return async (at) => {
    const residentMib = residentOf(child.pid);
    const before = log.length;
    const answers = () => log.slice(before).filter(({ msg }) => msg === 'memory');
    const started = performance.now();
    child.kill('SIGUSR2');
    let heard: number;
    do {
      heard = answers().length;
      await sleep(quietMs);
    } while (answers().length > heard || (heard < threads && performance.now() - started < patienceMs));
    threads = Math.max(threads, heard);
    const sum = (name: string) =>
      Math.round(answers().reduce((total, answer) => total + Number(answer[name]), 0) / mib);
    return { at, residentMib, heapMib: sum('heap_bytes'), externalMib: sum('external_bytes') };
  };
}

export function describeLook({ at, residentMib, heapMib, externalMib }: MemoryLook): string {
  return `memory ${at}: ${residentMib ?? '?'} MiB resident; ${heapMib} MiB of heaps and ${externalMib} MiB outside them are in use`;
}

/** Caches and compiled code that the first half of a run has not seen yet. */
const liveSlackMib = 24;
const residentSlack = { factor: 1.25, mib: 150 } as const;

/**
 * Whether memory comes back. A service grows into its work: code is compiled, caches fill up to their bounds, ONNX Runtime
 * and the allocator keep what the largest fit and the largest picture needed. That happens once, and most of it in the first
 * half of a run; what is lost with every request goes on being lost. So the end is compared with the most of the first half:
 *
 * - what is in use after a collection of garbage, closely: nothing but a leak makes it grow on and on. 24 MiB in half of
 *   30,000 requests are 1.6 KiB per request;
 * - what is resident, loosely: the allocator gives free pieces between others back late or never, so only much of it can be
 *   told from its habits. What leaks outside of V8 shows here only.
 *
 * @param looks in order: some of the run's first half, then those of the second, the last one after it
 */
export function memoryFaults(looks: readonly MemoryLook[]): readonly string[] {
  const end = looks.at(-1);
  if (end === undefined) return [];
  const firstHalf = looks.slice(0, Math.ceil(looks.length / 2));
  const most = (of: (look: MemoryLook) => number) => Math.max(...firstHalf.map(of));
  const liveOf = ({ heapMib, externalMib }: MemoryLook) => heapMib + externalMib;
  const residentOf = ({ residentMib }: MemoryLook) => residentMib ?? 0;
  const faults: string[] = [];
  if (liveOf(end) > most(liveOf) + liveSlackMib)
    faults.push(
      `memory is held for ever: ${most(liveOf)} MiB were in use at most in the first half, ${liveOf(end)} MiB at the end`,
    );
  if (residentOf(end) > most(residentOf) * residentSlack.factor + residentSlack.mib)
    faults.push(
      `memory does not come back: ${most(residentOf)} MiB were resident at most in the first half, ${residentOf(end)} MiB at the end`,
    );
  return faults;
}

/** Null where the system has no /proc. */
function residentOf(pid: number | undefined): number | null {
  if (process.platform !== 'linux') return null;
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024);
}
