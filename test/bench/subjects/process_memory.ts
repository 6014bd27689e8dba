import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { resourceUsage } from 'node:process';

/** Resident memory of a process in MiB; not on Windows. */
export function residentMib(pid: number | undefined): number {
  const kib = statusKib(pid, 'VmRSS') ?? execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' });
  return Number(kib) / 1024;
}

/** The most memory this process has had resident, in MiB. */
export function ownPeakMib(): number {
  // On Linux maxRSS begins with what the parent had when it forked.
  return Number(statusKib('self', 'VmHWM') ?? resourceUsage().maxRSS) / 1024;
}

/** Null where there is no /proc. */
function statusKib(pid: number | string | undefined, entry: string): string | null {
  const path = `/proc/${pid}/status`;
  if (!existsSync(path)) return null;
  return new RegExp(`^${entry}:\\s+(\\d+)`, 'm').exec(readFileSync(path, 'utf8'))?.[1] ?? null;
}
