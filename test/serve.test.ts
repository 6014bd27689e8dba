import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { keepSwept } from '../src/serve.ts';
import { staleTempMs } from '../src/service.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

it('looks for temp files at once and again when those of a process that was just killed are old enough', async () => {
  const found = [0, 2];
  const info = vi.fn();
  const removeStaleTemps = vi.fn(async () => found.shift() ?? 0);
  keepSwept({ removeStaleTemps }, { info, warn: vi.fn() });
  await vi.advanceTimersByTimeAsync(0);
  expect(removeStaleTemps).toHaveBeenCalledTimes(1);
  expect(info).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(staleTempMs);
  expect(removeStaleTemps).toHaveBeenCalledTimes(2);
  expect(info).toHaveBeenCalledExactlyOnceWith({ removed: 2 }, expect.stringContaining('temp files'));
});

it('logs a failure and looks again', async () => {
  const warn = vi.fn();
  const broken = new Error('EACCES');
  const removeStaleTemps = vi.fn(() => Promise.reject(broken));
  keepSwept({ removeStaleTemps }, { info: vi.fn(), warn });
  await vi.advanceTimersByTimeAsync(2 * staleTempMs);
  expect(warn).toHaveBeenCalledTimes(3);
  expect(warn).toHaveBeenCalledWith({ err: broken }, expect.any(String));
});
