import { describe, expect, it } from 'vitest';
import { type ExplainInput, explain } from '../../src/inspection/explain.ts';
import type { Region } from '../../src/patchcore/regions.ts';

const region = (x: number, y: number, w: number, h: number): Region => ({
  bbox: [x, y, w, h],
  x,
  y,
  w,
  h,
  areaPx: w * h,
  areaMm2: w * h,
  contour: [],
});

/** A picture of 40 × 20 pixels on 2 × 4 cells of 10 × 10; every patch's nearest is at cell 5 of the second good picture. */
const input: ExplainInput = {
  regions: [],
  distances: Float32Array.of(0.1, 0.9, 0.2, 0.3, 0.1, 0.4, 0.8, 0.1),
  matches: {
    picture: new Int32Array(8).fill(1),
    cell: new Int32Array(8).fill(5),
    distance: Float32Array.from({ length: 8 }, (_, i) => i / 10),
  },
  pictures: ['a.png', 'b.png'].map((name) => ({
    name,
    size: { height: 40, width: 80 },
    frame: { top: 0, left: 0, height: 2, width: 4 },
    sha256: null,
    shape: { kind: '', numbers: {} },
    leftOutScore: null,
    brightness: null,
  })),
  grid: { rows: 2, cols: 4 },
  frame: { top: 0, left: 0, height: 2, width: 4 },
  size: { height: 20, width: 40 },
};

describe('explain', () => {
  it('names the farthest patch of each region, where it is, and where its nearest lies', () => {
    const found = explain({ ...input, regions: [region(22, 12, 6, 6), region(1, 1, 15, 5)] });
    expect(found).toEqual([
      {
        region: 0,
        patch: { x: 20, y: 10, w: 10, h: 10 },
        distance: expect.closeTo(0.8, 6),
        nearest: { picture: 'b.png', place: { x: 20, y: 20, w: 20, h: 20 }, distance: expect.closeTo(0.6, 6) },
      },
      expect.objectContaining({ region: 1, patch: { x: 10, y: 0, w: 10, h: 10 } }),
    ]);
  });

  it('explains the farthest patch of all where there is no region, and at most three regions', () => {
    expect(explain(input)).toMatchObject([{ region: null, patch: { x: 10, y: 0 } }]);
    expect(explain({ ...input, regions: new Array(9).fill(region(0, 0, 40, 20)) })).toHaveLength(3);
  });

  it('cuts patches to the picture where it lies between padding', () => {
    // The picture covers the middle half of the grid: its first column of cells is cell column 1.
    const [found] = explain({ ...input, frame: { top: 0.5, left: 1, height: 1, width: 2 } });
    expect(found?.patch).toEqual({ x: 0, y: 0, w: 20, h: 10 });
  });

  it('says nothing of patches whose picture the memory does not know', () => {
    expect(explain({ ...input, pictures: [] })).toEqual([]);
  });
});
