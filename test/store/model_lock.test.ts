import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { withLock } from '../../src/store/model_lock.ts';
import { hasEnded, thisProcess } from '../../src/store/process_identity.ts';

/** How long the removal of a lock waits before it is done. */
const removal = vi.hoisted(() => ({ delayMs: 0 }));
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const unlink: typeof real.unlink = async (path) => {
    if (removal.delayMs > 0 && path === lockPath()) await sleep(removal.delayMs);
    await real.unlink(path);
  };
  return { ...real, unlink };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-lock-'));
});
afterEach(() => {
  removal.delayMs = 0;
  rmSync(folder, { recursive: true });
});

const lockPath = () => join(folder, '.tmp-lock-m');
const quick = { patienceMs: 300, expiryMs: 120 };
/** As another process would have written it. */
const write = (owner: object) =>
  writeFileSync(
    lockPath(),
    JSON.stringify({ token: 't', since_utc: '2026-01-02T03:04:05Z', ...thisProcess, ...owner }),
  );
const elsewhere = { host: 'another one', pid: 1 };

describe('withLock', () => {
  it.each([
    ['', 0],
    [', when the disk takes its time to give a lock back', 40],
  ])('lets one work at a time, and leaves nothing%s', async (_, delayMs) => {
    removal.delayMs = delayMs;
    const order: string[] = [];
    const work = (name: string) =>
      withLock(folder, 'm', async () => {
        order.push(`${name} begins`);
        await sleep(100);
        order.push(`${name} ends`);
      });
    await Promise.all(['a', 'b', 'c'].map(work));
    for (let i = 0; i < order.length; i += 2) expect(order[i + 1]).toBe(order[i]?.replace('begins', 'ends'));
    expect(order).toHaveLength(6);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is one owner’s at every moment, and no owner is told that he lost it, however many come at once', async () => {
    let owners = 0;
    let most = 0;
    const work = () =>
      withLock(folder, 'm', async ({ requireHeld }) => {
        most = Math.max(most, ++owners);
        await requireHeld();
        await new Promise(setImmediate);
        owners--;
      });
    const callers = Array.from({ length: 12 }, async () => {
      for (let i = 0; i < 40; i++) await work();
    });
    await Promise.all(callers);
    expect([owners, most]).toEqual([0, 1]);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('keeps other models apart from each other not at all', async () => {
    await withLock(folder, 'a', () => withLock(folder, 'b', async () => undefined));
  });

  it('is given back after a failure', async () => {
    await expect(withLock(folder, 'm', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is refused in a sentence when an owner keeps it for too long, and stays that owner’s', async () => {
    const renewing = setInterval(() => write({ ...elsewhere, token: `${Math.random()}` }), 30);
    write(elsewhere);
    const refused = withLock(folder, 'm', async () => undefined, quick);
    await expect(refused).rejects.toMatchObject({
      code: 'not_ready',
      message: expect.stringContaining('since 2026-01-02T03:04:05Z'),
    });
    clearInterval(renewing);
    expect(JSON.parse(readFileSync(lockPath(), 'utf8'))).toMatchObject(elsewhere);
  });

  it.each([
    ['of another host that is not renewed', elsewhere],
    ['of a thread of this process that is not renewed', { thread: 999 }],
  ])('is taken over from an owner %s, by the clock of the one who waits', async (_, owner) => {
    write({ ...owner, since_utc: '2999-01-01T00:00:00Z' });
    const started = performance.now();
    expect(await withLock(folder, 'm', async () => 'done', quick)).toBe('done');
    expect(performance.now() - started).toBeGreaterThanOrEqual(quick.expiryMs);
    expect(readdirSync(folder)).toEqual([]);
  });

  it.each([
    ['whose process id is another process’s by now', { started: 'long ago' }],
    ['whose lock was not removed although its work is over', {}],
  ])('is taken over at once from an owner %s', async (_, owner) => {
    write(owner);
    expect(await withLock(folder, 'm', async () => 'done', { patienceMs: 0, expiryMs: 1e9 })).toBe('done');
  });

  it.each(['', '{', '{"pid":1}'])('is taken over when its file holds %j, though not at once', async (text) => {
    writeFileSync(lockPath(), text);
    const started = performance.now();
    await withLock(folder, 'm', async () => undefined);
    expect(performance.now() - started).toBeGreaterThan(900);
  });

  it('tells an owner who was halted for too long that it is his no more', async () => {
    const lost = withLock(folder, 'm', async ({ requireHeld }) => {
      await requireHeld();
      write(elsewhere);
      await requireHeld();
    });
    await expect(lost).rejects.toMatchObject({ code: 'not_ready', message: expect.stringContaining('halted') });
    // The other one's lock is left alone.
    expect(JSON.parse(readFileSync(lockPath(), 'utf8'))).toMatchObject(elsewhere);
  });

  it('is renewed while it is held', async () => {
    await withLock(
      folder,
      'm',
      async () => {
        const others = withLock(folder, 'm', async () => 'taken', { patienceMs: 400, expiryMs: 200 });
        await expect(others).rejects.toMatchObject({ code: 'not_ready' });
      },
      { patienceMs: 0, expiryMs: 90 },
    );
  });

  it('is taken over at once from a process that was killed', async () => {
    const script = fileURLToPath(new URL('./hold_lock.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import', 'tsx', script, folder, 'm'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const patient = { patienceMs: 100, expiryMs: 1e9 };
    await expect(withLock(folder, 'm', async () => undefined, patient)).rejects.toMatchObject({ code: 'not_ready' });
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await withLock(folder, 'm', async () => 'done', patient)).toBe('done');
  });
});

describe('hasEnded', () => {
  it('is certain of processes of this host only', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    const pid = child.pid as number;
    await once(child, 'exit');
    expect(hasEnded({ ...thisProcess, pid })).toBe(true);
    expect(hasEnded({ ...thisProcess, pid, host: 'another' })).toBe(false);
    expect(hasEnded(thisProcess)).toBe(false);
  });
});
