import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { findRegions } from '../../src/patchcore/regions.ts';
import { resolveShape, roiMask } from '../../src/patchcore/roi_mask.ts';

/** Drawings: '#' is above the threshold. */
function draw(...lines: readonly string[]) {
  const size = { height: lines.length, width: lines[0]?.length ?? 0 };
  const data = Float32Array.from(lines.join(''), (letter) => (letter === '#' ? 1 : 0));
  return { map: { ...size, data }, mask: roiMask({ kind: 'whole' }, size) };
}

function regionsOf(...lines: readonly string[]) {
  const { map, mask } = draw(...lines);
  return findRegions(map, mask, 1, 0, 1);
}

describe('findRegions', () => {
  it('finds nothing below the threshold', () => {
    expect(regionsOf('...', '...')).toEqual([]);
  });

  it('gives a square by its corners, its area through pixel centres, its box in whole pixels', () => {
    expect(regionsOf('.....', '.###.', '.###.', '.###.', '.....')).toEqual([
      {
        x: 1,
        y: 1,
        w: 3,
        h: 3,
        bbox: [1, 1, 3, 3],
        areaPx: 4,
        areaMm2: 4,
        contour: [
          [1, 1],
          [1, 3],
          [3, 3],
          [3, 1],
        ],
      },
    ]);
  });

  it('gives single pixels and thin lines an area of 0', () => {
    expect(regionsOf('#..', '...', '.##').map(({ areaPx, bbox }) => [areaPx, bbox])).toEqual([
      [0, [0, 0, 1, 1]],
      [0, [1, 2, 2, 1]],
    ]);
  });

  it('joins what touches at a corner', () => {
    expect(regionsOf('##..', '##..', '..##', '..##')).toHaveLength(1);
  });

  it('takes a blob in the hole of another for part of it, and its hole for filled', () => {
    const [ring, ...more] = regionsOf('#######', '#.....#', '#..#..#', '#.....#', '#######');
    expect(more).toEqual([]);
    expect(ring?.areaPx).toBe(24);
  });

  it('finds a blob beside a ring in the same row', () => {
    expect(regionsOf('###..#', '#.#...', '###...')).toHaveLength(2);
  });

  it('sorts by area, then from top to bottom and from left to right', () => {
    const found = regionsOf('##...##', '##...##', '.......', '###....', '###....', '###....');
    expect(found.map(({ x, y }) => [x, y])).toEqual([
      [0, 3],
      [0, 0],
      [5, 0],
    ]);
  });

  it('leaves out what is smaller than asked for and what lies outside the mask', () => {
    const { map } = draw('##.###', '##.###', '...###');
    const mask = roiMask(resolveShape({ kind: 'rect', numbers: { x: 3, y: 0, w: 2, h: 3 } }, map), map);
    expect(findRegions(map, mask, 1, 0, 0.5).map(({ bbox, areaMm2 }) => [bbox, areaMm2])).toEqual([
      [[3, 0, 2, 3], 0.5],
    ]);
    expect(findRegions(map, mask, 1, 2.5, 0.5)).toEqual([]);
  });

  it('counts a pixel exactly at the threshold', () => {
    const { map, mask } = draw('##', '##');
    expect(findRegions(map, mask, 1, 0, 1)).toHaveLength(1);
    expect(findRegions(map, mask, 1.0000001, 0, 1)).toHaveLength(0);
  });
});

/** The few functions of OpenCV that are compared with. */
interface OpenCv {
  readonly RETR_EXTERNAL: number;
  readonly CHAIN_APPROX_SIMPLE: number;
  readonly CV_8UC1: number;
  readonly Mat: new (...size: number[]) => CvMat;
  readonly MatVector: new () => { size(): number; get(index: number): CvMat; delete(): void };
  matFromArray(rows: number, cols: number, type: number, data: ArrayLike<number>): CvMat;
  findContours(image: CvMat, contours: unknown, hierarchy: CvMat, mode: number, method: number): void;
  contourArea(contour: CvMat): number;
  boundingRect(contour: CvMat): { x: number; y: number; width: number; height: number };
}

interface CvMat {
  readonly data32S: Int32Array;
  delete(): void;
}

describe('OpenCV', () => {
  let cv: OpenCv;

  beforeAll(async () => {
    const events = ['uncaughtException', 'unhandledRejection'] as const;
    const before = events.map((event) => process.listeners(event as 'uncaughtException'));
    cv = ((await import('opencv-wasm' as string)) as { cv: OpenCv }).cv;
    // It listens for our uncaught errors; they are not its business.
    for (const [i, event] of events.entries()) {
      for (const listener of process.listeners(event as 'uncaughtException')) {
        if (!before[i]?.includes(listener)) process.off(event, listener);
      }
    }
  });

  function byOpenCv(height: number, width: number, data: ArrayLike<number>) {
    const image = cv.matFromArray(height, width, cv.CV_8UC1, data);
    const contours = new cv.MatVector();
    const hierarchy = new cv.Mat();
    cv.findContours(image, contours, hierarchy, cv.RETR_EXTERNAL, cv.CHAIN_APPROX_SIMPLE);
    const found = Array.from({ length: contours.size() }, (_, i) => {
      const contour = contours.get(i);
      const points = Array.from({ length: contour.data32S.length / 2 }, (_, p) => [
        contour.data32S[2 * p],
        contour.data32S[2 * p + 1],
      ]);
      const box = cv.boundingRect(contour);
      const region = { bbox: [box.x, box.y, box.width, box.height], areaPx: cv.contourArea(contour), contour: points };
      contour.delete();
      return region;
    });
    for (const thing of [image, contours, hierarchy]) thing.delete();
    return found;
  }

  const byPlace = (a: { contour: readonly (readonly unknown[])[] }, b: typeof a) =>
    JSON.stringify(a.contour).localeCompare(JSON.stringify(b.contour));

  it('finds the same contours, areas and boxes in any drawing', () => {
    const drawing = fc
      .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 9 }))
      .chain(([height, width, density]) =>
        fc
          .array(fc.integer({ min: 0, max: 9 }), { minLength: height * width, maxLength: height * width })
          .map((values) => ({ height, width, data: Float32Array.from(values, (value) => (value < density ? 1 : 0)) })),
      );
    fc.assert(
      fc.property(drawing, (map) => {
        const ours = findRegions(map, roiMask({ kind: 'whole' }, map), 1, 0, 1);
        const plain = ours.map(({ bbox, areaPx, contour }) => ({ bbox, areaPx, contour }));
        expect([...plain].sort(byPlace)).toEqual(byOpenCv(map.height, map.width, map.data).sort(byPlace));
      }),
      { numRuns: 500 },
    );
  });
});
