import { describe, expect, it } from 'vitest';
import { createTurns } from '../../src/inspection/turns.ts';

const soon = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('turns', () => {
  it('runs one name in order, other names beside it', async () => {
    const turns = createTurns();
    const events: string[] = [];
    const work = (label: string) => async () => {
      events.push(`${label} begins`);
      await soon();
      await soon();
      events.push(`${label} ends`);
      return label;
    };
    const all = Promise.all([
      turns.take('a', work('first')),
      turns.take('a', work('second')),
      turns.take('b', work('other')),
    ]);
    expect(await all).toEqual(['first', 'second', 'other']);
    expect(events.indexOf('second begins')).toBeGreaterThan(events.indexOf('first ends'));
    expect(events.indexOf('other begins')).toBeLessThan(events.indexOf('first ends'));
  });

  it('goes on after work that failed, and tells only its caller', async () => {
    const turns = createTurns();
    const failed = turns.take('a', async () => {
      throw new Error('no');
    });
    const next = turns.take('a', async () => 'yes');
    await expect(failed).rejects.toThrow('no');
    expect(await next).toBe('yes');
  });
});
