import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { InspectionError } from '../../src/errors.ts';
import { type DiskCall, leaveDisk, openFiles, watchDisk } from './disk_calls.ts';

export interface Fault {
  /** What a call answers that fails; `half` is a write that takes half of its bytes. */
  readonly fails: 'ENOSPC' | 'EIO' | 'EMFILE' | 'half';
  readonly at: (call: DiskCall) => boolean;
  /** Whether all such calls fail after the first one. */
  readonly stays: boolean;
}

const takesRoom = new Set(['open', 'write', 'sync', 'datasync', 'rename', 'link', 'mkdir', 'copyFile']);
const opens = new Set(['open', 'readdir', 'readFile', 'copyFile']);

/** The ways in which disks fail. */
export const faults: Readonly<Record<string, Fault>> = {
  'the disk is full': { fails: 'ENOSPC', at: ({ name, changes }) => changes && takesRoom.has(name), stays: true },
  'nothing can be changed any more': { fails: 'EIO', at: ({ changes }) => changes, stays: true },
  'the disk fails once': { fails: 'EIO', at: () => true, stays: false },
  'too many files are open for a moment': { fails: 'EMFILE', at: ({ name }) => opens.has(name), stays: false },
  'a write takes half': { fails: 'half', at: ({ name }) => name === 'write', stays: false },
};

/** Work on a models folder during which the disk fails. */
export interface Endangered<Service, Found extends object> {
  /** As a process that starts on this folder has it. */
  readonly start: (modelsDir: string) => Service;
  readonly prepare?: ((okng: Service) => Promise<unknown>) | undefined;
  readonly work: (okng: Service) => Promise<unknown>;
  /** What okng answers by now. */
  readonly look: (okng: Service) => Promise<Found>;
  /** Waits for what goes on behind the answers. */
  readonly settle?: (okng: Service) => Promise<unknown>;
  /** What may be found besides the old and the new when the work failed, as long as the sentence of the failure tells it. */
  readonly between?:
    | { readonly found: (found: Found, old: Found, fresh: Found) => boolean; readonly told: RegExp }
    | undefined;
  /** What must be alike when the work is done again. */
  readonly again?: (found: Found) => unknown;
}

let folder = '';

/** To be called once in a test file that uses {@link failEverywhere}. */
export function withFailingDisk(): void {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'okng-failing-'));
    mendDisk();
  });
  afterEach(() => {
    leaveDisk();
    rmSync(folder, { recursive: true });
  });
}

/**
 * Does the work again and again, each time with a disk that fails at the next call, until nothing failed any more. Whatever
 * failed: the work ends, or is refused for the disk's sake; a process that starts on what is left, and the one that goes on,
 * find the old or the new; what was done is there; no file stays open; and it can be done once the disk is well again.
 */
export async function failEverywhere<Service, Found extends object>(
  fault: Fault,
  {
    start,
    prepare,
    work,
    look,
    settle = async () => undefined,
    between,
    again = (found) => found,
  }: Endangered<Service, Found>,
): Promise<void> {
  const [before, after, run] = ['before', 'after', 'run'].map((name) => join(folder, name)) as [string, string, string];
  const copy = (from: string, to: string) => cpSync(from, to, { recursive: true, preserveTimestamps: true });
  mkdirSync(before);
  const first = start(before);
  await prepare?.(first);
  await settle(first);
  copy(before, after);
  const old = await look(start(before));
  await work(start(after));
  const fresh = await look(start(after));
  for (let call = 0, failed = true; failed; call++) {
    rmSync(run, { recursive: true, force: true });
    copy(before, run);
    const okng = start(run);
    const hasFailed = breakDisk(fault, call);
    const error: unknown = await work(okng).then(
      () => null,
      (thrown) => thrown,
    );
    await settle(okng);
    failed = hasFailed();
    const where = `at call ${call}: ${error instanceof InspectionError ? `${error.message} ${error.cause}` : error}`;
    // What went on beside the call that failed ends a moment later.
    await vi.waitFor(() => expect(openFiles(), `files left open ${where}`).toBe(0));
    mendDisk();
    if (error !== null)
      expect(['storage_full', 'storage_unavailable'], where).toContain((error as InspectionError).code);
    const found = await look(start(run));
    const isOld = isDeepStrictEqual(found, old) && error !== null;
    if (!isOld && !isDeepStrictEqual(found, fresh)) {
      const allowed = error !== null && between?.found(found, old, fresh) === true;
      const texts = { found, old, fresh };
      if (!allowed) expect.fail(`${where} ${JSON.stringify(texts, null, 1)}`);
      expect((error as InspectionError).message, where).toMatch(between?.told as RegExp);
      continue;
    }
    expect(await look(okng), where).toEqual(found);
    // Where more failed than one call there is more to be in the way.
    if (!fault.stays) continue;
    if (isOld) await work(okng);
    expect(again(await look(start(run))), where).toEqual(again(fresh));
  }
}

/** Lets no call fail any more. */
export const mendDisk = (): void => watchDisk(() => undefined);

/** Lets calls fail from the n-th on that can; gives what tells whether one has. */
export function breakDisk({ fails, at, stays }: Fault, nth: number): () => boolean {
  let calls = 0;
  watchDisk((call) => {
    if (!at(call)) return undefined;
    const number = calls++;
    if (number < nth || (number > nth && !stays)) return undefined;
    if (fails === 'half') return 'half';
    throw Object.assign(new Error(`${fails}: ${call.name} of ${call.path}`), { code: fails });
  });
  return () => calls > nth;
}
