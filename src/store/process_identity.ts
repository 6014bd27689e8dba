import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { threadId } from 'node:worker_threads';

/** Who did something, so that another process can find out whether it still runs. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly thread: number;
  /** When the process began, as its system counts it; empty where that is not told. Process ids come again. */
  readonly started: string;
  /** Host, boot and container: process ids of another one mean nothing here. */
  readonly host: string;
}

/** Of this thread. */
export const thisProcess: ProcessIdentity = {
  pid: process.pid,
  thread: threadId,
  started: startOf(process.pid) ?? '',
  host: [hostname(), told(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()), pidNamespace()].join(
    ' ',
  ),
};

/** Whether a process has ended for certain; one of another host or container never has. */
export function hasEnded({ pid, started, host }: ProcessIdentity): boolean {
  if (host !== thisProcess.host) return false;
  if (process.platform === 'linux') return startOf(pid) !== started;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Undefined when there is no such process, or only what is left of it until its parent looks. */
function startOf(pid: number): string | undefined {
  if (process.platform !== 'linux') return undefined;
  // The name, in parentheses, may hold anything; the state comes after it, the start 19 fields later (proc(5)).
  const fields = told(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
    .split(') ')
    .at(-1)
    ?.split(' ');
  const [state = ''] = fields ?? [];
  return state === '' || state === 'Z' || state === 'X' ? undefined : fields?.[19];
}

function pidNamespace(): string {
  return told(() => readlinkSync('/proc/self/ns/pid'));
}

/** Empty where the system does not tell. */
function told(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}
