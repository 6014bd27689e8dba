import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type BeforeDeadline, createDeadlines } from '../../src/inspection/deadlines.ts';
import { createWaitingLine } from '../../src/workers/waiting_line.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const missed = { name: 'InspectionError', code: 'deadline_missed' };
const takes = (ms: number) => () => new Promise<string>((resolve) => setTimeout(() => resolve(`after ${ms}`), ms));
const caller = (ms: number | null, lane = 'a') => ({
  lane,
  answerBy: ms === null ? null : performance.now() + ms,
  signal: undefined,
});

/** One place; a piece of work has taken 100 ms, a few times. */
async function practised(): Promise<BeforeDeadline> {
  const inTime = createDeadlines(createWaitingLine(1));
  for (const ms of [100, 100, 2000]) {
    const done = inTime(caller(null), takes(ms));
    await vi.advanceTimersByTimeAsync(ms);
    await done;
  }
  return inTime;
}

describe('a deadline', () => {
  it('is met, or not asked for', async () => {
    const inTime = await practised();
    const work = [inTime(caller(120), takes(100)), inTime(caller(220), takes(100)), inTime(caller(null), takes(100))];
    await vi.advanceTimersByTimeAsync(300);
    expect(await Promise.all(work)).toEqual(['after 100', 'after 100', 'after 100']);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('that those ahead leave too little time for is refused at once, and the work never begun', async () => {
    const inTime = await practised();
    const begun = vi.fn(takes(1));
    const first = inTime(caller(null), takes(100));
    const second = inTime(caller(null), takes(100));
    // 100 ms for each of the two, and 100 of its own: as slow as usual, not as the slowest.
    await expect(inTime(caller(299), begun)).rejects.toMatchObject({
      ...missed,
      message: expect.stringMatching(/come first there are 2, and this one takes about 100 ms/),
    });
    // The lane of another model takes the turn that this one needed.
    const third = expect(inTime(caller(301), takes(100))).rejects.toMatchObject(missed);
    const other = inTime(caller(301, 'b'), takes(1));
    await vi.advanceTimersByTimeAsync(301);
    expect(await Promise.all([first, second, other])).toEqual(['after 100', 'after 100', 'after 1']);
    await third;
    expect(begun).not.toHaveBeenCalled();
  });

  it('of a fast lane is not judged by slow ones, nor of one of which nothing is known', async () => {
    const inTime = createDeadlines(createWaitingLine(2));
    const slow = () => inTime(caller(null, 'slow'), takes(150));
    for (let i = 0; i < 5; i++) {
      const done = slow();
      await vi.advanceTimersByTimeAsync(150);
      await done;
    }
    for (const lane of ['fast', 'fast', 'new']) {
      // One place is free.
      const busy = slow();
      const done = inTime(caller(20, lane), takes(5));
      await vi.advanceTimersByTimeAsync(5);
      expect(await done).toBe('after 5');
      await vi.advanceTimersByTimeAsync(145);
      await busy;
    }
    // None is; half a slow one is waited for on average.
    const busy = [slow(), slow()];
    await vi.advanceTimersByTimeAsync(100);
    const done = inTime(caller(100, 'fast'), takes(5));
    await vi.advanceTimersByTimeAsync(60);
    expect(await done).toBe('after 5');
    await Promise.all(busy);
  });

  it('is always tried when nobody is ahead, and refused when it has come', async () => {
    const inTime = await practised();
    let told: AbortSignal | undefined;
    const work = (signal: AbortSignal | undefined) => {
      told = signal;
      return takes(70)();
    };
    const late = inTime(caller(50), work);
    const refused = expect(late).rejects.toMatchObject({
      ...missed,
      message: expect.stringContaining('came before the answer; a picture for this model takes about 100 ms'),
    });
    await vi.advanceTimersByTimeAsync(49);
    expect(told?.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await refused;
    expect(told?.aborted).toBe(true);
    // Its place is taken until it has really ended.
    const next = inTime(caller(null), takes(10));
    await vi.advanceTimersByTimeAsync(29);
    await expect(Promise.race([next, Promise.resolve('waits')])).resolves.toBe('waits');
    await vi.advanceTimersByTimeAsync(1);
    expect(await next).toBe('after 10');
  });

  it('that is over before it was asked is refused', async () => {
    const inTime = createDeadlines(createWaitingLine(1));
    await expect(inTime(caller(0), takes(0))).rejects.toMatchObject(missed);
  });

  it('passes on what the work throws, and a caller who leaves', async () => {
    const inTime = createDeadlines(createWaitingLine(1));
    await expect(inTime(caller(50), () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    const gone = new AbortController();
    const running = inTime(caller(null), takes(100));
    const waiting = inTime({ ...caller(500), signal: gone.signal }, takes(1));
    gone.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'request_aborted' });
    await vi.advanceTimersByTimeAsync(100);
    await running;
    expect(vi.getTimerCount()).toBe(0);
  });
});
