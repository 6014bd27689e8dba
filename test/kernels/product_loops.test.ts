import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { approachPicks, type BestOfOthers, bestPart, keepBestOfOthers } from '../../src/kernels/product_loops.ts';

/** Rows and picks: every width up to some vectors, and now and then more numbers than are looked at in one go. */
const shape = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({ rows: fc.integer({ min: 1, max: 9 }), picks: fc.integer({ min: 1, max: 13 }) }),
  },
  { weight: 1, arbitrary: fc.constantFrom({ rows: 300, picks: 61 }, { rows: 2, picks: 17_000 }) },
);

/** As many numbers as asked for, out of a few: there are ties everywhere. */
const fewNumbers = (length: number, numbers: readonly number[]) =>
  fc.infiniteStream(fc.constantFrom(...numbers)).map((stream) => Array.from(stream.take(length)));

describe('approachPicks', () => {
  const equalShare = 1e-6;

  /** The same by the plain loop. */
  function plainly(dots: Float32Array, squares: Float64Array, pickSquares: Float64Array, nearest: Float32Array) {
    return nearest.map((before, row) => {
      let least = before;
      for (const [i, pickSquare] of pickSquares.entries()) {
        const sum = (squares[row] as number) + pickSquare;
        const squared = sum - 2 * (dots[row * pickSquares.length + i] as number);
        least = Math.min(least, squared < equalShare * sum ? 0 : squared);
      }
      return least;
    });
  }

  it('gives what the plain loop gives, bit for bit', () => {
    const cases = shape.chain(({ rows, picks }) =>
      fc.record({
        dots: fewNumbers(rows * picks, [0.3, 0.5, 0.9999996, 0.9999994, 1, -0.25]),
        squares: fewNumbers(rows, [1, 1.0000001, 0.9]),
        pickSquares: fewNumbers(picks, [1, 0.99999998, 1.1]),
        nearest: fewNumbers(rows, [Number.POSITIVE_INFINITY, 1.5, 0.7, 0]),
      }),
    );
    fc.assert(
      fc.property(cases, (numbers) => {
        const dots = Float32Array.from(numbers.dots);
        const squares = Float64Array.from(numbers.squares);
        const pickSquares = Float64Array.from(numbers.pickSquares);
        const nearest = Float32Array.from(numbers.nearest);
        const expected = plainly(dots, squares, pickSquares, nearest);
        approachPicks(dots, squares, pickSquares, equalShare, nearest);
        expect(nearest).toEqual(expected);
      }),
    );
  });

  it('sees what can be seen: 3-4-5, and that rows closer than rounding are equal', () => {
    // Row (3, 4) with picks (0, 0), (3, 0) and (3, 4 + 1e-4).
    const nearest = Float32Array.of(Number.POSITIVE_INFINITY);
    approachPicks(Float32Array.of(0), Float64Array.of(25), Float64Array.of(0), equalShare, nearest);
    expect(nearest[0]).toBe(25);
    approachPicks(Float32Array.of(0, 9), Float64Array.of(25), Float64Array.of(0, 9), equalShare, nearest);
    expect(nearest[0]).toBe(16);
    approachPicks(Float32Array.of(25), Float64Array.of(25), Float64Array.of(25.00004), equalShare, nearest);
    expect(nearest[0]).toBe(0);
  });
});

describe('keepBestOfOthers', () => {
  const noneYet = (picture: readonly number[]): BestOfOthers => ({
    picture: Int32Array.from(picture),
    dot: new Float32Array(picture.length).fill(Number.NEGATIVE_INFINITY),
    other: new Int32Array(picture.length).fill(-1),
  });

  /** The same by the plain loop. */
  const plainly: typeof keepBestOfOthers = (dots, rows, firstRow, picks, firstPick) => {
    for (const [row, picture] of rows.picture.entries()) {
      for (const [pick, pickPicture] of picks.picture.entries()) {
        if (picture === pickPicture) continue;
        const dot = dots[row * picks.dot.length + pick] as number;
        if (dot > (rows.dot[row] as number)) {
          rows.dot[row] = dot;
          rows.other[row] = firstPick + pick;
        }
        if (dot > (picks.dot[pick] as number)) {
          picks.dot[pick] = dot;
          picks.other[pick] = firstRow + row;
        }
      }
    }
  };

  it('gives what the plain loop gives, the first of equal ones, part after part', () => {
    const cases = shape.chain(({ rows, picks }) =>
      fc.record({
        dots: fc.array(fewNumbers(rows * picks, [-1, -0.5, 0, 0.5, 0.75]), { minLength: 1, maxLength: 3 }),
        rowPictures: fewNumbers(rows, [0, 1, 2]),
        pickPictures: fewNumbers(picks, [0, 1, 2]),
      }),
    );
    fc.assert(
      fc.property(cases, ({ dots, rowPictures, pickPictures }) => {
        const [rows, picks] = [noneYet(rowPictures), noneYet(pickPictures)];
        const [plainRows, plainPicks] = [noneYet(rowPictures), noneYet(pickPictures)];
        for (const [i, part] of dots.entries()) {
          const some = Float32Array.from(part);
          keepBestOfOthers(some, rows, 100 * i, picks, 1000 * i);
          plainly(some, plainRows, 100 * i, plainPicks, 1000 * i);
        }
        expect({ rows, picks }).toEqual({ rows: plainRows, picks: plainPicks });
      }),
    );
  });

  it('sees what can be seen, in a part of a larger table', () => {
    const rows = noneYet([0, 0, 1, 1]);
    const picks = noneYet([1, 0, 0]);
    // Rows 1 and 2 with picks 1 and 2, both of picture 0: row 1 has none of another picture.
    keepBestOfOthers(Float32Array.of(0.9, 0.9, 0.2, 0.4), bestPart(rows, 1, 2), 1, bestPart(picks, 1, 2), 1);
    expect([...rows.other]).toEqual([-1, -1, 2, -1]);
    expect([...picks.other]).toEqual([-1, 2, 2]);
    expect([...picks.dot]).toEqual([Number.NEGATIVE_INFINITY, Math.fround(0.2), Math.fround(0.4)]);
    expect([...rows.picture, ...picks.picture]).toEqual([0, 0, 1, 1, 1, 0, 0]);
  });
});
