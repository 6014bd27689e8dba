import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { selectRank } from '../../src/patchcore/selection.ts';

/** So many that most are passed over, and a last part that fills neither four values nor a round. */
const many = 3 * 16384 + 3;

const kinds = {
  scattered: (i: number) => Math.imul(i, 2654435761) >>> 8,
  rising: (i: number) => i,
  falling: (i: number) => -i,
  'few different ones': (i: number) => (Math.imul(i, 2654435761) >>> 8) % 3,
  'all equal': () => 7,
  'a slow wave, as maps are': (i: number) => Math.sin(i / 500) + Math.cos((i % 222) / 30),
  'one far from the others': (i: number) => (i === 4321 ? 1e6 : i % 5),
} as const;

describe('selectRank', () => {
  const kind = fc.constantFrom(...(Object.keys(kinds) as (keyof typeof kinds)[]));
  const length = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: many - 6, max: many }));
  const share = fc.oneof(fc.constantFrom(0, 0.01, 0.5, 0.99, 1), fc.double({ min: 0, max: 1, noNaN: true }));

  it('puts the value of a rank at its place, with all others up to the end asked for behind it', () => {
    fc.assert(
      fc.property(kind, length, share, share, fc.boolean(), (name, count, from, to, isDouble) => {
        const numbers = Array.from({ length: count }, (_, i) => kinds[name](i));
        const values = isDouble ? Float64Array.from(numbers) : Float32Array.from(numbers);
        const before = values.slice();
        const sorted = values.slice().sort();
        const rank = Math.floor(from * (count - 1));
        const end = rank + 1 + Math.floor(to * (count - rank - 1));
        const { values: selected, at } = selectRank(values, rank, end);
        expect(selected[at]).toBe(sorted[rank]);
        expect(selected.subarray(0, at).every((value) => value <= (sorted[rank] as number))).toBe(true);
        const behind = selected
          .slice(at)
          .sort()
          .subarray(0, end - rank);
        expect(behind.every((value, i) => value === sorted[rank + i])).toBe(true);
        expect(values.every((value, i) => value === before[i])).toBe(true);
      }),
    );
  });

  it('is not misled by values that lie where it takes its sample', () => {
    // 1023 steps of 40 from the first value to the last: the sample sees ones only.
    const values = Float32Array.from({ length: 1023 * 40 + 1 }, (_, i) => (i % 40 === 0 ? 1 : 0));
    const { values: selected, at } = selectRank(values, 20_000, 20_002);
    expect(selected[at]).toBe(0);
  });

  it('passes most values over', () => {
    const values = Float32Array.from({ length: 200_000 }, (_, i) => kinds.scattered(i));
    for (const rank of [2000, 100_000, 198_000]) {
      expect(selectRank(values, rank, rank + 2).values.length).toBeLessThan(values.length / 5);
    }
  });
});
