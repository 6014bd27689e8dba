import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { largestMagnitudes, rowsFrom, rowsInSteps } from '../../src/kernels/int8_rows.ts';
import { createMatrix, type Matrix } from '../../src/patchcore/matrix.ts';

/** Numbers and halves of steps, so that every way of rounding comes up. */
const matrix = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 40 })).chain(([rows, cols]) =>
  fc
    .array(
      fc.oneof(
        fc.float({ noNaN: true, min: -90, max: 90 }),
        fc.integer({ min: -180, max: 180 }).map((halves) => halves / 2),
      ),
      { minLength: rows * cols, maxLength: rows * cols },
    )
    .map((values) => createMatrix(rows, cols, Float32Array.from(values))),
);

const rowOf = ({ cols, data }: Matrix, row: number) => data.subarray(row * cols, (row + 1) * cols);

describe('rowsFrom', () => {
  it('are the rows less the centre, of any width, in float32', () => {
    fc.assert(
      fc.property(matrix, (rows) => {
        const before = rows.data.slice();
        const centre = Float32Array.from({ length: rows.cols }, (_, col) => Math.sin(col));
        const plain = rows.data.map((value, i) => value - (centre[i % rows.cols] as number));
        expect(rowsFrom(centre, rows)).toEqual({ ...rows, data: plain });
        expect(rows.data).toEqual(before);
      }),
    );
  });

  it('are so for more rows than are moved in one go', () => {
    const rows = createMatrix(1000, 37, new Float32Array(37_000).fill(1));
    const centre = Float32Array.from({ length: 37 }, (_, col) => col);
    expect(rowsFrom(centre, rows).data).toEqual(rows.data.map((value, i) => value - (i % 37)));
  });
});

describe('largestMagnitudes', () => {
  it('are those of the plain loop', () => {
    fc.assert(
      fc.property(matrix, (rows) => {
        const plain = Array.from({ length: rows.rows }, (_, row) => Math.max(...rowOf(rows, row).map(Math.abs)));
        expect([...largestMagnitudes(rows)]).toEqual(plain);
      }),
    );
  });

  it('are found in any column, of more rows than are looked at in one go too', () => {
    const rows = createMatrix(1000, 37, new Float32Array(37_000));
    for (let row = 0; row < 1000; row++) rows.data[row * 37 + (row % 37)] = -row;
    expect([...largestMagnitudes(rows)]).toEqual(Array.from({ length: 1000 }, (_, row) => row));
  });
});

describe('rowsInSteps', () => {
  function toEven(value: number): number {
    const floor = Math.floor(value);
    if (value - floor === 0.5) return floor + (floor & 1);
    return Math.round(value);
  }

  /** The same by the plain loop. */
  function plainly(rows: Matrix, steps: Float32Array, zero: number) {
    const levels = new Uint8Array(rows.data.length);
    const errors = Array.from(steps, (step, row) => {
      const sums = [0, 0, 0, 0];
      for (const [i, value] of rowOf(rows, row).entries()) {
        const level = toEven(Math.fround(value / step));
        levels[row * rows.cols + i] = level + zero;
        sums[i < (rows.cols & ~3) ? i & 3 : 0] += (value - level * step) ** 2;
      }
      const [a, b, c, d] = sums as [number, number, number, number];
      return Math.sqrt(a + b + (c + d));
    });
    return { levels, errors: Float64Array.from(errors) };
  }

  it('gives what the plain loop gives, bit for bit', () => {
    const step = fc.constantFrom(1, 2, 0.75, 1.0000001, 3e-2 * 30);
    fc.assert(
      fc.property(
        matrix,
        fc.array(step, { minLength: 5, maxLength: 5 }),
        fc.constantFrom(0, 90),
        (rows, some, zero) => {
          const steps = Float32Array.from(some.slice(0, rows.rows));
          expect(rowsInSteps(rows, steps, zero)).toEqual(plainly(rows, steps, zero));
        },
      ),
    );
  });

  it('does so with numbers of any size', () => {
    for (const size of [1e-36, 1e-3, 1e20, 3e38]) {
      const rows = createMatrix(
        300,
        65,
        Float32Array.from({ length: 300 * 65 }, (_, i) => Math.sin(i * i) * size),
      );
      const steps = largestMagnitudes(rows).map((largest) => largest / 90);
      expect(rowsInSteps(rows, steps, 90)).toEqual(plainly(rows, steps, 90));
    }
  });

  it('sees what can be seen: halves to even, bytes of negative numbers, 3-4-5', () => {
    const rows = createMatrix(1, 5, Float32Array.of(0.5, 1.5, -2.5, -90, 90));
    const { levels, errors } = rowsInSteps(rows, Float32Array.of(1), 0);
    expect([...levels]).toEqual([0, 2, 254, 166, 90]);
    expect(errors[0]).toBe(Math.sqrt(0.75));
    expect([...rowsInSteps(rows, Float32Array.of(1), 90).levels]).toEqual([90, 92, 88, 0, 180]);
    const lost = createMatrix(1, 2, Float32Array.of(3, 4));
    expect([...rowsInSteps(lost, Float32Array.of(100), 0).errors]).toEqual([5]);
  });
});
