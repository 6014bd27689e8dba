import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anomalyMap } from '../../src/patchcore/anomaly_map.ts';

const whole = (rows: number, cols: number) => ({ top: 0, left: 0, height: rows, width: cols });

describe('anomalyMap', () => {
  it('lies linearly between cell centres and is flat beyond the outermost', () => {
    const { data } = anomalyMap(Float32Array.of(0, 4), { rows: 1, cols: 2 }, whole(1, 2), { height: 1, width: 8 }, 0);
    expect([...data]).toEqual([0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4]);
  });

  it("gives the grid itself at the grid's size", () => {
    const scores = Float32Array.of(1, 2, 3, 4, 5, 6);
    const { data } = anomalyMap(scores, { rows: 2, cols: 3 }, whole(2, 3), { height: 2, width: 3 }, 0);
    expect([...data]).toEqual([...scores]);
  });

  it('cuts padding away and never lets it bleed in', () => {
    // Four rows of cells; the picture covers the middle two.
    const scores = Float32Array.of(99, 99, 1, 3, 5, 7, 99, 99);
    const frame = { top: 1, left: 0, height: 2, width: 2 };
    const { data } = anomalyMap(scores, { rows: 4, cols: 2 }, frame, { height: 2, width: 2 }, 0);
    expect([...data]).toEqual([1, 3, 5, 7]);
    const large = anomalyMap(scores, { rows: 4, cols: 2 }, frame, { height: 40, width: 40 }, 1);
    expect(Math.max(...large.data)).toBeLessThanOrEqual(7);
    expect(Math.min(...large.data)).toBeGreaterThanOrEqual(1);
  });

  it('reads a cell that the picture only touches', () => {
    // The picture reaches a quarter into the second cell: its last pixel leans towards it.
    const { data } = anomalyMap(
      Float32Array.of(0, 8),
      { rows: 1, cols: 2 },
      { top: 0, left: 0, height: 1, width: 1.25 },
      { height: 1, width: 5 },
      0,
    );
    expect(data[4]).toBeCloseTo(8 * 0.625, 5);
  });

  it('blurs a single hot pixel to the Gaussian, one pixel wide, in a window of seven', () => {
    const scores = new Float32Array(81);
    scores[40] = 1;
    const { data } = anomalyMap(scores, { rows: 9, cols: 9 }, whole(9, 9), { height: 9, width: 9 }, 1);
    const weights = [0, 1, 2, 3].map((distance) => Math.exp((-distance * distance) / 2));
    const sum = (weights[0] as number) + 2 * weights.slice(1).reduce((total, weight) => total + weight, 0);
    expect(data[40]).toBeCloseTo((1 / sum) ** 2, 6);
    expect(data[43]).toBeCloseTo((weights[3] as number) / sum ** 2, 6);
    expect(data[44]).toBe(0);
  });

  it('mirrors at the border without repeating the edge, however small the picture', () => {
    const two = anomalyMap(Float32Array.of(0, 1), { rows: 1, cols: 2 }, whole(1, 2), { height: 1, width: 2 }, 1);
    // reflect-101 of (0, 1) is 0 1 0 1 …: the odd neighbours weigh for the other value.
    const weights = [0, 1, 2, 3].map((distance) => Math.exp((-distance * distance) / 2));
    const sum = (weights[0] as number) + 2 * weights.slice(1).reduce((total, weight) => total + weight, 0);
    expect(two.data[0]).toBeCloseTo((2 * ((weights[1] as number) + (weights[3] as number))) / sum, 6);
    const one = anomalyMap(Float32Array.of(5), { rows: 1, cols: 1 }, whole(1, 1), { height: 1, width: 1 }, 3);
    expect(one.data[0]).toBeCloseTo(5, 6);
  });

  it('stays within the range of the scores', () => {
    const grids = fc
      .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }))
      .chain(([rows, cols]) =>
        fc.tuple(
          fc.constant({ rows, cols }),
          fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: rows * cols, maxLength: rows * cols }),
        ),
      );
    fc.assert(
      fc.property(
        grids,
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 20 }),
        fc.float({ min: 0, max: 4, noNaN: true }),
        ([grid, scores], height, width, sigma) => {
          const { data } = anomalyMap(
            Float32Array.from(scores),
            grid,
            whole(grid.rows, grid.cols),
            { height, width },
            sigma,
          );
          expect(Math.max(...data)).toBeLessThanOrEqual(Math.max(...scores) + 1e-4);
          expect(Math.min(...data)).toBeGreaterThanOrEqual(Math.min(...scores) - 1e-4);
        },
      ),
    );
  });

  it('refuses scores that do not fill the grid', () => {
    expect(() => anomalyMap(Float32Array.of(1), { rows: 1, cols: 2 }, whole(1, 2), { height: 1, width: 1 }, 0)).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
  });
});
