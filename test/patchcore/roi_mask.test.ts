import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { resolveShape, roiMask, runsInside, type ShapeNumber } from '../../src/patchcore/roi_mask.ts';

const size = { height: 5, width: 7 };
const picture = (kind: string, numbers: Partial<Record<ShapeNumber, number>>, of = size) => {
  const { data } = roiMask(resolveShape({ kind, numbers }, of), of);
  return Array.from({ length: of.height }, (_, row) =>
    Array.from(data.subarray(row * of.width, (row + 1) * of.width), (value) => (value === 1 ? '#' : '.')).join(''),
  );
};

describe('roiMask', () => {
  it('draws a rectangle of whole numbers as columns x to x + w - 1', () => {
    expect(picture('rect', { x: 1, y: 2, w: 3, h: 2 })).toEqual([
      '.......',
      '.......',
      '.###...',
      '.###...',
      '.......',
    ]);
  });

  it('takes the pixels whose middle lies in a fractional rectangle', () => {
    expect(picture('rect', { x: 0.6, y: 0.4, w: 1.8, h: 1.2 })[0]).toBe('.#.....');
    expect(picture('rect', { x: 0.4, y: 0.4, w: 2.2, h: 1.2 })).toEqual(
      ['###....', '##.....'].map(() => '###....').concat(Array(3).fill('.......')),
    );
  });

  it('draws circles that include what they touch, and annuli without their hole', () => {
    expect(picture('circle', { cx: 3, cy: 2, r: 1 })).toEqual(['.......', '..###..', '..###..', '..###..', '.......']);
    expect(picture('annulus', { cx: 3, cy: 2, r: 2, r_inner: 1 })).toEqual([
      '..###..',
      '.#####.',
      '.##.##.',
      '.#####.',
      '..###..',
    ]);
  });

  it('cuts shapes at the picture', () => {
    expect(picture('rect', { x: -5, y: -5, w: 7, h: 6 })).toEqual([
      '##.....',
      '.......',
      '.......',
      '.......',
      '.......',
    ]);
  });

  it('fills in what is missing with the whole picture', () => {
    expect(resolveShape({ kind: 'RECT', numbers: { x: 2 } }, size)).toEqual({ kind: 'rect', x: 2, y: 0, w: 5, h: 5 });
    expect(resolveShape({ kind: 'Circle', numbers: {} }, size)).toEqual({ kind: 'circle', cx: 3, cy: 2, r: 2.5 });
    expect(resolveShape({ kind: 'annulus', numbers: { r: 2 } }, size)).toEqual({
      kind: 'annulus',
      cx: 3,
      cy: 2,
      r: 2,
      rInner: 0,
    });
    expect(resolveShape({ kind: 'polygon', numbers: { x: 3 } }, size)).toEqual({ kind: 'whole' });
    expect(picture('', {}).join('')).toBe('#'.repeat(35));
  });

  it.each([
    ['rect', { x: 7 }],
    ['rect', { w: 0 }],
    ['rect', { x: -10, w: 5 }],
    ['circle', { r: 0 }],
    ['circle', { cx: 100, cy: 100, r: 5 }],
    ['annulus', { r: 2, r_inner: 2 }],
    ['annulus', { r: 2, r_inner: 9 }],
  ])('refuses a %s %j that covers no pixel', (kind, numbers) => {
    expect(() => picture(kind, numbers)).toThrow(expect.objectContaining({ code: 'empty_mask' }));
  });

  it('refuses sizes below 0 and numbers that are not finite', () => {
    for (const [kind, numbers] of [
      ['rect', { w: -1 }],
      ['circle', { r: -0.1 }],
      ['annulus', { r_inner: -1 }],
      ['rect', { x: Number.NaN }],
      ['circle', { cx: Number.POSITIVE_INFINITY }],
    ] as const) {
      expect(() => resolveShape({ kind, numbers }, size)).toThrow(expect.objectContaining({ code: 'invalid_shape' }));
    }
  });

  it('looks at no number that the kind does not have', () => {
    const strange = { r: -1, cx: Number.NaN, r_inner: -3 };
    expect(resolveShape({ kind: 'rect', numbers: strange }, size)).toEqual({ kind: 'rect', x: 0, y: 0, w: 7, h: 5 });
    expect(resolveShape({ kind: 'polygon', numbers: { ...strange, w: -1 } }, size)).toEqual({ kind: 'whole' });
    expect(resolveShape({ kind: 'constructor', numbers: strange }, size)).toEqual({ kind: 'whole' });
  });

  it.each([
    ['circle', { cx: 100, cy: 2, r: 1 }, '{"kind":"circle","cx":100,"cy":2,"r":1}'],
    ['annulus', { cx: 1, cy: 2, r: 3, r_inner: 3 }, '{"kind":"annulus","cx":1,"cy":2,"r":3,"r_inner":3}'],
    ['rect', { x: 9, y: 2, w: 3, h: 1 }, '{"kind":"rect","x":9,"y":2,"w":3,"h":1}'],
  ])('names a %s without pixels as it was posted', (kind, numbers, posted) => {
    expect(() => picture(kind, numbers)).toThrow(`The shape ${posted} covers no pixel of the 7 × 5 picture`);
  });

  it('counts what it covers, and covers more with a larger radius', () => {
    const number = fc.float({ min: -3, max: 10, noNaN: true });
    fc.assert(
      fc.property(
        number,
        number,
        fc.float({ min: 1, max: 8, noNaN: true }),
        fc.float({ min: 0, max: 4, noNaN: true }),
        (cx, cy, r, more) => {
          const covered = (radius: number) => {
            try {
              const mask = roiMask({ kind: 'annulus', cx, cy, r: radius, rInner: 0 }, size);
              expect(mask.data.reduce((sum, value) => sum + value, 0)).toBe(mask.covered);
              return mask.covered;
            } catch (error) {
              expect(error).toMatchObject({ code: 'empty_mask' });
              return 0;
            }
          };
          expect(covered(r + more)).toBeGreaterThanOrEqual(covered(r));
        },
      ),
    );
  });
});

describe('circles and annuli', () => {
  it('hold the pixels whose distance from the centre says so, wherever they lie', () => {
    // Halves and quarters, so that distances meet the radius exactly.
    const number = (min: number, max: number) => fc.integer({ min: 4 * min, max: 4 * max }).map((value) => value / 4);
    const side = fc.integer({ min: 1, max: 30 });
    fc.assert(
      fc.property(
        side,
        side,
        number(-5, 35),
        number(-5, 35),
        number(0, 40),
        number(0, 20),
        (height, width, cx, cy, r, rInner) => {
          // Of squares, which are exact here; Math.hypot can be a last digit off.
          const isWithin = (i: number, reach: number) =>
            ((i % width) - cx) ** 2 + (Math.floor(i / width) - cy) ** 2 <= reach ** 2;
          const expected = Uint8Array.from({ length: height * width }, (_, i) =>
            rInner < r && isWithin(i, r + 0.5) && !(rInner > 0.5 && isWithin(i, rInner - 0.5)) ? 1 : 0,
          );
          const covered = expected.reduce((sum, value) => sum + value, 0);
          const draw = () => roiMask({ kind: 'annulus', cx, cy, r, rInner }, { height, width });
          if (covered === 0) expect(draw).toThrow(expect.objectContaining({ code: 'empty_mask' }));
          else expect(draw()).toEqual({ height, width, data: expected, covered });
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('circles of numbers beyond all pictures', () => {
  it.each([
    ['whose squares are none', 1e308, -1e308, 1e308],
    ['between which there are no pixels', 1e17 + 32, 2, 10],
    ['on the other side', -1e17, 2, 100],
    ['of which each is the largest', Number.MAX_VALUE, Number.MAX_VALUE, Number.MAX_VALUE],
  ])('%s cover nothing', (_, cx, cy, r) => {
    expect(() => roiMask({ kind: 'circle', cx, cy, r }, size)).toThrow(expect.objectContaining({ code: 'empty_mask' }));
  });

  it.each([
    [3, 2, 1e308],
    [-1e17, 2, 1e17 + 1000],
    [1e308, 2, Number.MAX_VALUE],
  ])('cover all where they reach so far: %d, %d, %d', (cx, cy, r) => {
    expect(roiMask({ kind: 'circle', cx, cy, r }, size).covered).toBe(size.height * size.width);
  });
});

describe('runsInside', () => {
  it('are the stretches of pixels inside, to the last pixel', () => {
    const runs = (...data: number[]) => [
      ...runsInside({ height: 1, width: data.length, data: Uint8Array.from(data), covered: 1 }),
    ];
    expect(runs(0, 1, 1, 0, 1)).toEqual([
      [1, 3],
      [4, 5],
    ]);
    expect(runs(1, 1, 0)).toEqual([[0, 2]]);
    expect(runs(0, 0)).toEqual([]);
  });
});
