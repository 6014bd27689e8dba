import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anomalyMap } from '../../src/patchcore/anomaly_map.ts';
import { cellsInFrame } from '../../src/patchcore/memory_bank.ts';
import { cellsSeenThrough } from '../../src/patchcore/roi_cells.ts';
import { type RoiShape, resolveShape, roiMask } from '../../src/patchcore/roi_mask.ts';

const grid = { rows: 4, cols: 4 };
const whole = { top: 0, left: 0, height: 4, width: 4 };
const size = { height: 40, width: 40 };
const rect = (x: number, y: number, w: number, h: number): RoiShape => ({ kind: 'rect', x, y, w, h });

describe('cellsSeenThrough', () => {
  it('is every cell of the picture for the whole picture, padding left out', () => {
    const frame = { top: 1, left: 0, height: 2, width: 4 };
    const mask = roiMask({ kind: 'whole' }, { height: 20, width: 40 });
    expect(cellsSeenThrough(mask, grid, frame, 1)).toEqual(cellsInFrame(grid, frame));
  });

  it('is the one cell in whose very middle a ROI lies that nothing else is mixed into', () => {
    // Pixel 7 of 20 has its centre at 1.5 of 4 cells: the centre of cell 1.
    const mask = roiMask(rect(7, 7, 1, 1), { height: 20, width: 20 });
    expect([...cellsSeenThrough(mask, grid, whole, 0)]).toEqual([5]);
  });

  it('holds the cells that touch the ROI and those that are mixed into its rim, not those further away', () => {
    // The left half of column 0: its pixels lie before the first centre, so column 1 has no say.
    const left = roiMask(rect(0, 0, 2, 40), size);
    expect([...cellsSeenThrough(left, grid, whole, 1)]).toEqual([0, 4, 8, 12]);
    // Column 0 as a whole: right of its centre column 1 is mixed in.
    const column = roiMask(rect(0, 0, 10, 40), size);
    expect([...cellsSeenThrough(column, grid, whole, 1)]).toEqual([0, 1, 4, 5, 8, 9, 12, 13]);
  });

  it('is reached by the blur', () => {
    // Pixel 4 is the last before the centre of cell 0; three pixels further the blur meets column 1.
    const mask = roiMask(rect(0, 0, 3, 40), size);
    expect(cellsSeenThrough(mask, grid, whole, 0)).toHaveLength(4);
    expect(cellsSeenThrough(mask, grid, whole, 1)).toHaveLength(8);
  });

  it('is what the map inside the ROI depends on, cell by cell', () => {
    const shape = fc.oneof(
      fc.record({
        kind: fc.constant('rect'),
        x: fc.nat(20),
        y: fc.nat(20),
        w: fc.integer({ min: 1, max: 20 }),
        h: fc.integer({ min: 1, max: 20 }),
      }),
      fc.record({ kind: fc.constant('circle'), cx: fc.nat(20), cy: fc.nat(20), r: fc.integer({ min: 1, max: 12 }) }),
      fc.record({
        kind: fc.constant('annulus'),
        cx: fc.nat(20),
        cy: fc.nat(20),
        r: fc.integer({ min: 6, max: 12 }),
        r_inner: fc.integer({ min: 0, max: 5 }),
      }),
    );
    const frames = fc.record({
      top: fc.integer({ min: 0, max: 8 }).map((eighths) => eighths / 8),
      left: fc.integer({ min: 0, max: 8 }).map((eighths) => eighths / 8),
      height: fc.integer({ min: 12, max: 32 }).map((eighths) => eighths / 8),
      width: fc.integer({ min: 12, max: 32 }).map((eighths) => eighths / 8),
    });
    const sizes = fc.record({ height: fc.integer({ min: 21, max: 40 }), width: fc.integer({ min: 21, max: 40 }) });
    fc.assert(
      fc.property(shape, frames, sizes, fc.constantFrom(0, 1, 1.7), ({ kind, ...numbers }, frame, of, sigmaPx) => {
        const large = { rows: 5, cols: 5 };
        const mask = roiMask(resolveShape({ kind, numbers }, of), of);
        const seen = new Set(cellsSeenThrough(mask, large, frame, sigmaPx));
        for (const cell of cellsInFrame(large, frame)) {
          const scores = new Float32Array(25);
          scores[cell] = 1;
          const { data } = anomalyMap(scores, large, frame, of, sigmaPx);
          const most = data.reduce((largest, value, i) => (mask.data[i] === 1 ? Math.max(largest, value) : largest), 0);
          // Between lies what rounding makes of a weight of 0.
          if (most > 1e-5) expect(seen.has(cell)).toBe(true);
          if (most === 0) expect(seen.has(cell)).toBe(false);
        }
        for (const cell of seen) expect(cellsInFrame(large, frame)).toContain(cell);
      }),
    );
  });
});
