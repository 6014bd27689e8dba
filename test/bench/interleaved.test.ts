import { expect, it } from 'vitest';
import { interleaved, timed } from './interleaved.ts';

const { signal } = new AbortController();

it('works in turn and does not count the warm-up', async () => {
  let turn = 0;
  const order: string[] = [];
  const work = (name: string) => async () => {
    order.push(name);
    return turn++;
  };
  const found = await interleaved({ a: work('a'), b: work('b') }, { repetitions: 2, warmup: 1, signal });
  expect(order.join('')).toBe('ababab');
  expect(found).toEqual({ a: [2, 4], b: [3, 5] });
});

it('stops before the next piece of work', async () => {
  const ending = new AbortController();
  let works = 0;
  const work = async () => {
    works++;
    ending.abort();
  };
  const turns = { repetitions: 3, signal: ending.signal };
  await expect(interleaved({ a: work, b: work }, turns)).rejects.toThrow('aborted');
  expect(works).toBe(1);
});

it('times what it is given to the end', async () => {
  const ms = await timed(() => new Promise((resolve) => setTimeout(resolve, 20)))();
  expect(ms).toBeGreaterThan(15);
});
