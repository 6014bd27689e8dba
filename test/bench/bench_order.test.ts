import { describe, expect, it } from 'vitest';
import { benchOrder, subjectNames } from './bench_order.ts';

describe('the order of a run', () => {
  it('is everything at usual sizes unless told otherwise', () => {
    expect(benchOrder([])).toEqual({
      only: subjectNames,
      sizes: 'usual',
      repetitions: 15,
      weights: null,
      json: 'bench.json',
      compare: null,
      curves: null,
      help: false,
    });
  });

  it('measures what is asked for once and in its own order', () => {
    expect(benchOrder(['--only', 'starts,coreset,starts']).only).toEqual(['coreset', 'starts']);
    expect(benchOrder(['--repetitions', '100']).repetitions).toBe(100);
  });

  it.each([
    [['--only', 'coreset,speed'], /--only has "speed"/],
    [['--only', ''], /--only has ""/],
    [['--sizes', 'huge'], /--sizes has "huge"/],
    [['--repetitions', '0'], /--repetitions has "0"/],
    [['--repetitions', '101'], /from 1 to 100/],
    [['--repetitions', '1e1'], /--repetitions has "1e1"/],
    [['--compare'], /--compare/],
    [['--rounds', '3'], /--rounds.*--help/s],
    [['coreset'], /coreset.*--help/s],
  ])('refuses %j by name', (args, message) => {
    expect(() => benchOrder(args)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => benchOrder(args)).toThrow(message);
  });
});
