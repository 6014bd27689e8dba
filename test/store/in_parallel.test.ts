import fc from 'fast-check';
import { expect, it } from 'vitest';
import { inParallel } from '../../src/store/in_parallel.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

it('gives the results in the order of the items, never more at a time than the limit', async () => {
  const turnsOf = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(turnsOf, fc.integer({ min: 1, max: 5 }), async (items, limit) => {
      let running = 0;
      let most = 0;
      const begun: number[] = [];
      const results = await inParallel([...items.entries()], limit, async ([place, turns]) => {
        begun.push(place);
        most = Math.max(most, ++running);
        for (let i = 0; i < turns; i++) await turn();
        running--;
        return place * 10;
      });
      expect(results).toEqual(items.map((_, place) => place * 10));
      expect(begun).toEqual([...items.keys()]);
      expect(most).toBe(Math.min(limit, items.length));
    }),
  );
});

it('throws the first failure after what was begun has ended, and begins nothing more', async () => {
  const ended: number[] = [];
  const work = async (item: number) => {
    if (item === 1) throw new Error('first');
    await turn();
    ended.push(item);
    if (item === 2) throw new Error('second');
  };
  await expect(inParallel([0, 1, 2, 3, 4], 3, work)).rejects.toThrow('first');
  expect(ended).toEqual([0, 2]);
});
