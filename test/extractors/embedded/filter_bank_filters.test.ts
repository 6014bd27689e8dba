import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  filterSize,
  morlet,
  phaseFilters,
  walshFunctions,
} from '../../../src/extractors/embedded/filter_bank_filters.ts';

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const dot = (a: readonly number[], b: readonly number[]) => sum(a.map((value, i) => value * (b[i] as number)));

describe('walshFunctions', () => {
  it('are signs over their count', () => {
    expect(walshFunctions(4).map((row) => row.map((value) => 4 * value))).toEqual([
      [1, 1, 1, 1],
      [1, -1, 1, -1],
      [1, 1, -1, -1],
      [1, -1, -1, 1],
    ]);
  });

  it('give mean and variance of any samples', () => {
    const samples = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 64, maxLength: 64 });
    fc.assert(
      fc.property(samples, (values) => {
        const [first, ...others] = walshFunctions(64).map((row) => dot(row, values));
        const mean = sum(values) / 64;
        expect(first).toBeCloseTo(mean, 12);
        expect(sum(others.map((value) => value ** 2))).toBeCloseTo(
          sum(values.map((value) => (value - mean) ** 2)) / 64,
          12,
        );
      }),
    );
  });
});

describe('phaseFilters', () => {
  /** Responses at every `stride` pixels of a square picture [size²], as far as the filter lies inside. */
  function responses(picture: readonly number[], size: number, filter: readonly number[], stride: number) {
    const side = Math.sqrt(filter.length);
    const places = Math.floor((size - side) / stride) + 1;
    return Array.from({ length: places }, (_, row) =>
      Array.from({ length: places }, (__, col) =>
        sum(
          filter.map((value, i) => {
            const [y, x] = [row * stride + Math.floor(i / side), col * stride + (i % side)];
            return value * (picture[y * size + x] as number);
          }),
        ),
      ),
    );
  }

  it.each([1, 2, 4])('at stride %i give together what the filter gives at every pixel', (phases) => {
    const size = filterSize + 7;
    const picture = Array.from({ length: size * size }, (_, i) => (Math.imul(i + 3, 2654435761) >>> 24) / 255);
    const filter = morlet(1).real;
    const whole = responses(picture, size, filter, 1);
    const parts = phaseFilters(filter, phases).map((moved) => responses(picture, size, moved, phases));
    expect(parts).toHaveLength(phases * phases);
    for (const [phase, part] of parts.entries()) {
      expect(part).toHaveLength(8 / phases);
      for (const [row, values] of part.entries()) {
        for (const [col, value] of values.entries()) {
          const [y, x] = [row * phases + Math.floor(phase / phases), col * phases + (phase % phases)];
          expect(value).toBeCloseTo(whole[y]?.[x] as number, 12);
        }
      }
    }
  });
});
