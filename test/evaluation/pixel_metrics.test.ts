import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { auroc } from '../../src/evaluation/auroc.ts';
import {
  auPro,
  type BinCounts,
  type PixelTally,
  pixelAuroc,
  regionOverlap,
  tallyBins,
  tallyPicture,
} from '../../src/evaluation/pixel_metrics.ts';
import { drawnMask, mapOfBins, metricTruth } from './metric_truth.ts';

/** A picture of one row: '#' is a defect; its values by bin. */
function row(line: string, ...bins: readonly number[]): PixelTally {
  const { mask, size } = drawnMask(line);
  return tallyPicture(mapOfBins(size, bins), line.includes('#') ? mask : null);
}

const occupied = ({ firstBin, counts }: BinCounts) =>
  [...counts].flatMap((count, i) => (count === 0 ? [] : [[firstBin + i, count]]));

/** Pictures of one row with few different values: ties within pixels, several regions, none, no normal pixel. */
const pictures = fc.array(
  fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 5 })), { minLength: 1, maxLength: 10 }),
  { minLength: 1, maxLength: 4 },
);
const tallied = (pixels: readonly (readonly [boolean, number])[]) =>
  row(pixels.map(([defect]) => (defect ? '#' : '.')).join(''), ...pixels.map(([, bin]) => bin));

describe(`pixel metrics of scikit-learn ${metricTruth.made_with.scikit_learn} and of a brute force, to 1e-12`, () => {
  it.each(metricTruth.pixel_cases)('$name', (truth) => {
    const tallies = truth.pictures.map(({ mask: lines, bins }) => {
      const { mask, size } = drawnMask(...lines);
      return tallyPicture(mapOfBins(size, bins), mask.includes(1) ? mask : null);
    });
    expect(tallies.reduce((sum, { regions }) => sum + regions, 0)).toBe(truth.regions);
    expect(pixelAuroc(tallies)).toBeCloseTo(truth.pixel_auroc, 12);
    expect(auPro(tallies, 0.3)).toBeCloseTo(truth.au_pro_30, 12);
    expect(auPro(tallies, 0.05)).toBeCloseTo(truth.au_pro_5, 12);
    truth.overlap_thresholds.forEach((threshold, i) => {
      expect(regionOverlap(tallies, threshold)).toBeCloseTo(truth.region_overlaps[i] as number, 12);
    });
  });
});

describe('tallyPicture', () => {
  it('counts normal pixels, defect pixels and shares of regions by bin', () => {
    const { mask, size } = drawnMask('##..', '##..', '...#');
    const tally = tallyPicture(mapOfBins(size, [7, 7, 1, 1, 7, 9, 1, 2, 1, 1, 1, 9]), mask);
    expect(tally.regions).toBe(2);
    expect(occupied(tally.normal)).toEqual([
      [1, 6],
      [2, 1],
    ]);
    expect(occupied(tally.defect)).toEqual([
      [7, 3],
      [9, 2],
    ]);
    expect(occupied(tally.regionShares)).toEqual([
      [7, 3 / 4],
      [9, 1 / 4 + 1],
    ]);
  });

  it('knows only normal pixels in a picture without a defect, with an empty mask or with none', () => {
    const size = { height: 1, width: 2 };
    for (const mask of [null, new Uint8Array(2)]) {
      const tally = tallyPicture(mapOfBins(size, [3, 5]), mask);
      expect([occupied(tally.normal), occupied(tally.defect), occupied(tally.regionShares), tally.regions]).toEqual([
        [
          [3, 1],
          [5, 1],
        ],
        [],
        [],
        0,
      ]);
    }
  });

  it('keeps no more than the occupied range, in buffers of its own', () => {
    const { normal, defect } = row('..#', 4000, 4003, 8191);
    expect([normal.firstBin, normal.counts.length]).toEqual([4000, 4]);
    expect([defect.firstBin, defect.counts.length]).toEqual([8191, 1]);
    expect(normal.counts.buffer.byteLength).toBe(normal.counts.byteLength);
  });

  it.each([
    ['0', 0, 0],
    ['the last value below an edge', 0.24999999, 1023],
    ['an edge', 0.25, 1024],
    ['the last value below 2', 1.9999999, tallyBins - 1],
    ['2', 2, tallyBins - 1],
    ['above 2', 2.5, tallyBins - 1],
    ['below 0', -0.1, 0],
  ])('puts %s where it belongs', (_, value, bin) => {
    const { normal } = tallyPicture({ height: 1, width: 1, data: Float32Array.of(value) }, null);
    expect(occupied(normal)).toEqual([[bin, 1]]);
  });

  it('takes every value but 0 of a mask for a defect', () => {
    const tally = tallyPicture(mapOfBins({ height: 1, width: 3 }, [1, 2, 3]), Uint8Array.of(255, 0, 1));
    expect([tally.regions, occupied(tally.normal)]).toEqual([2, [[2, 1]]]);
  });

  it('refuses values that are not finite, inside and outside the defect', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const map = { height: 1, width: 1, data: Float32Array.of(value) };
      for (const mask of [null, Uint8Array.of(1)]) {
        expect(() => tallyPicture(map, mask)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
      }
    }
  });

  it('refuses a mask or values of another size', () => {
    const map = mapOfBins({ height: 2, width: 2 }, [1, 1, 1, 1]);
    expect(() => tallyPicture(map, new Uint8Array(3))).toThrow(expect.objectContaining({ code: 'shape_mismatch' }));
    expect(() => tallyPicture({ ...map, height: 3 }, null)).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
  });
});

describe('pixelAuroc', () => {
  it.each([
    ['perfect', [row('..#', 1, 2, 3)], 1],
    ['perfectly wrong', [row('.#', 2, 1)], 0],
    ['a tie', [row('.#', 2, 2)], 0.5],
    ['3 of 4 pairs', [row('.#.#', 1, 2, 3, 4)], 0.75],
    ['normal pixels of another picture count', [row('#', 5), row('..', 4, 6)], 0.5],
  ])('%s', (_, tallies, expected) => {
    expect(pixelAuroc(tallies)).toBe(expected);
  });

  it.each([
    ['no picture', []],
    ['no defect', [row('..', 1, 2)]],
    ['no normal pixel', [row('##', 1, 2)]],
  ])('is null with %s', (_, tallies) => {
    expect(pixelAuroc(tallies)).toBeNull();
  });

  it('is the AUROC of the pixels', () => {
    fc.assert(
      fc.property(pictures, (drawn) => {
        const bins = (wanted: boolean) => drawn.flat().flatMap(([defect, bin]) => (defect === wanted ? [bin] : []));
        const value = pixelAuroc(drawn.map(tallied));
        if (bins(true).length === 0 || bins(false).length === 0) expect(value).toBeNull();
        else expect(value).toBeCloseTo(auroc(bins(false), bins(true)), 12);
      }),
    );
  });

  it('counts a picture as often as it is listed', () => {
    const good = row('..', 1, 3);
    const bad = row('#', 2);
    const worse = row('#', 4);
    expect(pixelAuroc([good, bad, worse, worse])).toBe((1 + 2 + 2) / 6);
    expect(auPro([good, bad, worse, worse], 1)).toBeCloseTo(5 / 6, 12);
    expect(regionOverlap([good, bad, worse, worse], 3 / 4096)).toBeCloseTo(2 / 3, 12);
  });

  it('is off by no more than half the share of pairs within a bin', () => {
    const values = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(values, values, (normal, defect) => {
        // Ten values to a bin.
        const data = Float32Array.from([...normal, ...defect], (value) => (value + 0.5) / 40960);
        const mask = Uint8Array.from(data, (_, i) => (i < normal.length ? 0 : 1));
        const value = pixelAuroc([tallyPicture({ height: 1, width: data.length, data }, mask)]) as number;
        const binned = (a: number) => Math.floor(a / 10);
        const tied = normal.flatMap((a) => defect.filter((b) => binned(a) === binned(b))).length;
        const error = Math.abs(value - auroc(normal, defect));
        expect(error).toBeLessThanOrEqual(tied / (2 * normal.length * defect.length) + 1e-12);
      }),
    );
  });
});

describe('auPro', () => {
  it.each([
    ['perfect', [row('....#', 1, 1, 1, 1, 9)], 0.3, 1],
    ['nothing found before every normal pixel', [row('..#', 2, 2, 1)], 0.5, 0],
    // One tie of everything: the curve is the diagonal, its area up to L is L² / 2.
    ['everything tied', [row('..#', 2, 2, 2)], 0.3, 0.15],
    ['everything tied, whole curve', [row('..#', 2, 2, 2)], 1, 0.5],
    // (0, 0) → (0, 1/2) → (1/4, 1/2) → (1/4, 1) …: at 1/2 the area is 1/8 + 1/4.
    ['a step at a quarter', [row('##....', 9, 7, 8, 1, 1, 1)], 0.5, 0.75],
    ['a limit before the step', [row('##....', 9, 7, 8, 1, 1, 1)], 0.2, 0.5],
    ['a limit at the step', [row('##....', 9, 7, 8, 1, 1, 1)], 0.25, 0.5],
    // The region of one pixel is missed, that of four found: half, though 4 of 5 defect pixels are found.
    ['small regions count as much as large ones', [row('####.#.', 9, 9, 9, 9, 5, 1, 5)], 1, 0.5],
    ['regions of different pictures too', [row('####.', 9, 9, 9, 9, 5), row('#.', 1, 5)], 1, 0.5],
    // The false alarm of the OK picture takes 1/4 of the rate: area up to 1/2 is 1/4.
    ['OK pictures count in the rate', [row('#..', 8, 1, 1), row('..', 9, 1)], 0.5, 0.5],
  ])('%s', (_, tallies, maxFpr, expected) => {
    expect(auPro(tallies, maxFpr)).toBeCloseTo(expected, 12);
  });

  it.each([
    ['no picture', []],
    ['no defect', [row('..', 1, 2)]],
    ['no normal pixel', [row('##', 1, 2)]],
  ])('is null with %s', (_, tallies) => {
    expect(auPro(tallies, 0.3)).toBeNull();
  });

  it('is the pixel AUROC over the whole curve when all regions have one size', () => {
    fc.assert(
      fc.property(pictures, (drawn) => {
        // Normal pixels in between make every defect pixel its own region.
        const apart = drawn.map((pixels) => pixels.flatMap((pixel) => [pixel, [false, 0] as const]));
        const tallies = apart.map(tallied);
        const value = auPro(tallies, 1);
        if (value === null) expect(pixelAuroc(tallies)).toBeNull();
        else expect(value).toBeCloseTo(pixelAuroc(tallies) as number, 12);
      }),
    );
  });

  it('does not fall when the limit grows', () => {
    const limits = fc.double({ min: 0.001, max: 0.5, noNaN: true });
    fc.assert(
      fc.property(pictures, limits, (drawn, limit) => {
        const tallies = drawn.map(tallied);
        const low = auPro(tallies, limit);
        if (low !== null) expect(auPro(tallies, 2 * limit)).toBeGreaterThanOrEqual(low - 1e-12);
      }),
    );
  });

  it.each([0, -0.1, 1.1, Number.NaN])('refuses a limit of %s', (limit) => {
    expect(() => auPro([row('.#', 1, 2)], limit)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
  });
});

describe('regionOverlap', () => {
  const bin = (index: number) => index / 4096;

  it.each([
    ['below everything', bin(0), 1],
    ['at the lower edge of the weak pixel', bin(3), 1],
    ['just above its bin', bin(4), (3 / 4 + 0) / 2],
    ['between', bin(6), (3 / 4 + 0) / 2],
    ['above everything', bin(8), 0],
    ['negative', -1, 1],
  ])('%s', (_, threshold, expected) => {
    // A region of four, one of its pixels weak, and one weak pixel alone.
    expect(regionOverlap([row('####.', 7, 7, 7, 3, 9), row('.#', 9, 3)], threshold)).toBeCloseTo(expected, 12);
  });

  it('takes the lower edge of its bin for a threshold within it', () => {
    expect(regionOverlap([row('#.', 5, 1)], 5.9 / 4096)).toBe(1);
  });

  it('finds values of 2 at thresholds of 2 and above', () => {
    const tally = tallyPicture({ height: 1, width: 1, data: Float32Array.of(2) }, Uint8Array.of(1));
    expect([regionOverlap([tally], 2), regionOverlap([tally], 3)]).toEqual([1, 1]);
  });

  it('does not need normal pixels, but a defect', () => {
    expect(regionOverlap([row('##', 1, 3)], bin(2))).toBe(0.5);
    expect(regionOverlap([row('..', 1, 3)], bin(2))).toBeNull();
    expect(regionOverlap([], bin(2))).toBeNull();
  });

  it('refuses a threshold that is not finite', () => {
    expect(() => regionOverlap([row('#', 1)], Number.NaN)).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => regionOverlap([row('#', 1)], Number.NaN)).toThrow(/threshold is NaN/);
  });
});
