import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createWaitingLine } from '../../src/workers/waiting_line.ts';

/** Work that ends when a test says so. */
function stoppedWork() {
  const begun: string[] = [];
  const endings = new Map<string, () => void>();
  return {
    begun,
    work: (name: string) => () => {
      begun.push(name);
      return new Promise<string>((resolve) => endings.set(name, () => resolve(name)));
    },
    end: (name: string) => endings.get(name)?.(),
  };
}

const soon = () => new Promise<void>((resolve) => setImmediate(resolve));
const gone = { name: 'InspectionError', code: 'request_aborted' };

describe('a waiting line', () => {
  it('lets two in at once and the others in their order', async () => {
    const { begun, work, end } = stoppedWork();
    const line = createWaitingLine(2);
    const all = ['a', 'b', 'c', 'd'].map((name) => line.enter(work(name)));
    await soon();
    expect(begun).toEqual(['a', 'b']);
    end('b');
    await soon();
    expect(begun).toEqual(['a', 'b', 'c']);
    for (const name of ['a', 'c']) end(name);
    await soon();
    end('d');
    expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('lets go at once of who leaves, never begins that work, and keeps the order of the others', async () => {
    const { begun, work, end } = stoppedWork();
    const line = createWaitingLine(1);
    const caller = new AbortController();
    const first = line.enter(work('first'));
    const left = line.enter(work('left'), caller.signal);
    const last = line.enter(work('last'));
    caller.abort();
    await expect(left).rejects.toMatchObject(gone);
    expect(begun).toEqual(['first']);
    end('first');
    await first;
    await soon();
    expect(begun).toEqual(['first', 'last']);
    end('last');
    expect(await last).toBe('last');
  });

  it('begins nothing for who was gone before, and leaves alone what has begun', async () => {
    const { begun, work, end } = stoppedWork();
    const line = createWaitingLine(1);
    await expect(line.enter(work('late'), AbortSignal.abort())).rejects.toMatchObject(gone);
    const caller = new AbortController();
    const running = line.enter(work('running'), caller.signal);
    await soon();
    caller.abort();
    end('running');
    expect(await running).toBe('running');
    expect(begun).toEqual(['running']);
  });

  it('lets lanes take turns, whoever came first, and says how many come before one who comes now', async () => {
    const { begun, work, end } = stoppedWork();
    const line = createWaitingLine(1);
    const enter = (name: string, signal?: AbortSignal) => line.enter(work(name), signal, name[0]);
    const caller = new AbortController();
    expect([line.ahead('a'), line.ahead()]).toEqual([0, 0]);
    const all = [
      enter('a1'),
      enter('a2'),
      enter('a3'),
      enter('a4', caller.signal),
      enter('b1'),
      enter('b2'),
      enter('c1'),
    ];
    // a2 b1 c1 a3 b2 a4 is the order, behind the one that runs; who comes to c now comes after a3 and b2.
    expect([line.ahead('a'), line.ahead('b'), line.ahead('c'), line.ahead('d')]).toEqual([7, 7, 6, 4]);
    caller.abort();
    await expect(all[3]).rejects.toMatchObject(gone);
    for (const name of ['a1', 'a2', 'b1', 'c1', 'a3', 'b2']) {
      await soon();
      expect(begun.at(-1)).toBe(name);
      end(name);
    }
    await Promise.allSettled(all);
    expect(line.ahead('a')).toBe(0);
  });

  it('says exactly how many come before one who comes now, whatever waits in which lane', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 20 }),
        fc.nat(6),
        fc.constantFrom('a', 'b', 'c', 'd', 'e'),
        async (places, lanes, ended, lane) => {
          const begun: number[] = [];
          const endings: (() => void)[] = [];
          const line = createWaitingLine(places);
          const enter = (name: string, id: number) =>
            line.enter(
              () => {
                begun.push(id);
                return new Promise<void>((resolve) => endings.push(resolve));
              },
              undefined,
              name,
            );
          const all = lanes.map(enter);
          await soon();
          for (let i = 0; i < ended; i++) {
            endings.shift()?.();
            await soon();
          }
          const told = line.ahead(lane);
          const running = endings.length;
          const before = begun.length;
          all.push(enter(lane, -1));
          while (!begun.includes(-1)) {
            await soon();
            if (!begun.includes(-1)) endings.shift()?.();
          }
          expect(told).toBe(running + begun.indexOf(-1) - before);
          while (endings.length > 0) {
            endings.shift()?.();
            await soon();
          }
          await Promise.all(all);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('goes on after work that failed, and tells only its caller', async () => {
    const line = createWaitingLine(1);
    const fail = line.enter(async () => {
      throw new Error('no');
    });
    const next = line.enter(async () => 'yes');
    await expect(fail).rejects.toThrow('no');
    expect(await next).toBe('yes');
  });

  it('never lets in more than it has places, loses none, and is free in the end', async () => {
    const guest = fc.record({ turns: fc.nat(3), leavesAfter: fc.option(fc.nat(6)) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.array(guest, { maxLength: 12 }), async (places, guests) => {
        const line = createWaitingLine(places);
        let inside = 0;
        let most = 0;
        const outcomes = guests.map(({ turns, leavesAfter }) => {
          const caller = new AbortController();
          const outcome = line.enter(async () => {
            most = Math.max(most, ++inside);
            for (let i = 0; i < turns; i++) await soon();
            inside--;
            return 'done';
          }, caller.signal);
          const leave = async () => {
            for (let i = 0; i < (leavesAfter ?? 0); i++) await soon();
            caller.abort();
          };
          if (leavesAfter !== null) void leave();
          return outcome.catch((error: { code: string }) => error.code);
        });
        for (const outcome of await Promise.all(outcomes)) expect(['done', 'request_aborted']).toContain(outcome);
        expect(most).toBeLessThanOrEqual(places);
        const free = Array.from({ length: places }, () => line.enter(async () => ++inside));
        await Promise.all(free);
        expect(inside).toBe(places);
      }),
      { numRuns: 60 },
    );
  });
});
