import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { labelRegions } from '../../src/evaluation/mask_regions.ts';
import { drawnMask } from './metric_truth.ts';

function labelled(...lines: readonly string[]) {
  const { mask, size } = drawnMask(...lines);
  const { labels, sizes } = labelRegions(mask, size);
  const drawn = lines.map((_, y) => [...labels.subarray(y * size.width, (y + 1) * size.width)].join(''));
  return { drawn, sizes };
}

describe('labelRegions', () => {
  it('finds nothing in an empty mask', () => {
    expect(labelled('...', '...')).toEqual({ drawn: ['000', '000'], sizes: [] });
  });

  it('numbers regions by their first pixel and counts their pixels', () => {
    expect(labelled('..#..', '#.#.#', '#...#', '....#')).toEqual({
      drawn: ['00100', '20103', '20003', '00003'],
      sizes: [2, 2, 3],
    });
  });

  it('joins what touches at a corner, in both directions', () => {
    expect(labelled('#...#', '.#.#.', '..#..').sizes).toEqual([5]);
  });

  it('joins arms that meet only further down', () => {
    expect(labelled('#.#.#', '#.#.#', '#####')).toEqual({ drawn: ['10101', '10101', '11111'], sizes: [11] });
  });

  it('counts a blob in a hole as a region of its own and leaves the hole out', () => {
    expect(labelled('#####', '#...#', '#.#.#', '#...#', '#####').sizes).toEqual([16, 1]);
  });

  it('does not reach around the edge of a row', () => {
    expect(labelled('..#', '...', '#..').sizes).toEqual([1, 1]);
    expect(labelled('..#', '#..').sizes).toEqual([1, 1]);
  });

  it('takes every value but 0 for inside', () => {
    expect([...labelRegions(Uint8Array.of(255, 7, 0, 1), { height: 1, width: 4 }).labels]).toEqual([1, 1, 0, 2]);
  });

  it('gives two pixels the same number exactly when a path of touching pixels joins them', () => {
    const drawings = fc
      .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }))
      .chain(([height, width]) =>
        fc.tuple(
          fc.constant({ height, width }),
          fc.uint8Array({ minLength: height * width, maxLength: height * width }),
        ),
      );
    fc.assert(
      fc.property(drawings, ([size, values]) => {
        const mask = values.map((value) => value & 1);
        const { labels, sizes } = labelRegions(mask, size);
        // Every pixel takes the smallest number around it until nothing changes.
        const joined = Array.from(mask, (inside, i) => (inside === 0 ? -1 : i));
        for (let changed = true; changed; ) {
          changed = false;
          for (let a = 0; a < mask.length; a++) {
            for (let b = 0; b < mask.length; b++) {
              const dx = Math.abs((a % size.width) - (b % size.width));
              const dy = Math.abs(Math.floor(a / size.width) - Math.floor(b / size.width));
              if (mask[a] === 0 || mask[b] === 0 || Math.max(dx, dy) > 1) continue;
              if ((joined[b] as number) < (joined[a] as number)) {
                joined[a] = joined[b] as number;
                changed = true;
              }
            }
          }
        }
        const firsts = [...new Set(joined.filter((first) => first >= 0))].sort((a, b) => a - b);
        expect([...labels]).toEqual(joined.map((first) => firsts.indexOf(first) + 1));
        expect(sizes).toEqual(firsts.map((first) => joined.filter((other) => other === first).length));
      }),
    );
  });

  it('refuses a mask of another size', () => {
    expect(() => labelRegions(new Uint8Array(5), { height: 2, width: 3 })).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
  });
});
