import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { anomalyMap } from '../../src/patchcore/anomaly_map.ts';
import { chooseThreshold } from '../../src/patchcore/calibration.ts';
import { heatmap } from '../../src/patchcore/heatmap.ts';
import { imageScore } from '../../src/patchcore/image_score.ts';
import { findRegions } from '../../src/patchcore/regions.ts';
import { type RoiMask, resolveShape, roiMask } from '../../src/patchcore/roi_mask.ts';
import { frame, grid, type ShapeName, shapes, size } from '../golden/reference_run.ts';
import { hasShared, readSharedNpy, sharedFile } from '../npy.ts';

/**
 * Against the reference implementation (numpy 1.24, OpenCV 4.6). Its circles carry the anti-aliased rim of OpenCV's
 * circle, ours do not; so circles are compared by their pixel count, and what is inside through the reference's own mask.
 */

const mmPerPx = 0.2;
const minAreaPx = 1 / (mmPerPx * mmPerPx);
const pictures = ['ok0', 'test_ok', 'test_ng'] as const;

interface GoldenRun {
  readonly threshold: number;
  readonly score: number;
  readonly mask_px: number;
  readonly regions: readonly {
    bbox: readonly number[];
    area_px: number;
    area_mm2: number;
    contour: readonly (readonly number[])[];
  }[];
}

interface Golden {
  readonly images: Readonly<Record<string, { readonly runs: Readonly<Record<ShapeName, GoldenRun>> }>>;
  readonly choose_threshold: readonly { ok: number[]; ng: number[] | null; p: number; t: number }[];
}

const golden = hasShared ? (JSON.parse(readFileSync(sharedFile('golden/golden.json'), 'utf8')) as Golden) : null;

const mapOf = (name: string) => anomalyMap(readSharedNpy(`golden/dist_${name}.npy`).data, grid, frame, size, 1);

const worstDifference = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs((a[i] as number) - (b[i] as number)));
  return worst;
};

async function heatmapOf(name: string, shape: ShapeName): Promise<Uint8Array> {
  return new Uint8Array(
    await sharp(sharedFile(`golden/heatmap_${name}_${shape}.png`))
      .greyscale()
      .raw()
      .toBuffer(),
  );
}

describe.skipIf(golden === null)('the reference implementation', () => {
  it.each(pictures)('draws the map of %s (within 2e-6)', (name) => {
    expect(worstDifference(mapOf(name).data, readSharedNpy(`golden/heat_${name}.npy`).data)).toBeLessThan(2e-6);
  });

  it('covers the same pixels: rectangles exactly, circles within 2 %', () => {
    for (const [name, shape] of Object.entries(shapes)) {
      const { covered } = roiMask(resolveShape(shape, size), size);
      const expected = golden?.images.ok0?.runs[name as ShapeName].mask_px as number;
      const tolerance = name === 'none' || name === 'rect' ? 0 : 0.02 * expected;
      expect(Math.abs(covered - expected), name).toBeLessThanOrEqual(tolerance);
    }
  });

  describe.each(pictures)('on %s', (name) => {
    it.each(['none', 'rect'] as const)('gives the score (1e-5) and the regions exactly inside %s', (shape) => {
      const run = golden?.images[name]?.runs[shape] as GoldenRun;
      const map = mapOf(name);
      const mask = roiMask(resolveShape(shapes[shape], size), size);
      expect(imageScore(map, mask, 99)).toBeCloseTo(run.score, 5);
      // On the reference's own map: a difference of 1e-7 may move a pixel that lies exactly on the threshold.
      const reference = { ...size, data: readSharedNpy(`golden/heat_${name}.npy`).data };
      const regions = findRegions(reference, mask, run.threshold, minAreaPx, mmPerPx);
      const byPlace = (a: { bbox: readonly number[] }, b: { bbox: readonly number[] }) =>
        (a.bbox[1] as number) - (b.bbox[1] as number) || (a.bbox[0] as number) - (b.bbox[0] as number);
      const ours = regions.map(({ bbox, areaPx, contour }) => ({ bbox, area_px: areaPx, contour })).sort(byPlace);
      const theirs = run.regions.map(({ bbox, area_px, contour }) => ({ bbox, area_px, contour })).sort(byPlace);
      expect(ours).toEqual(theirs);
      const areas = regions.map(({ areaMm2 }) => areaMm2);
      expect(areas).toEqual([...areas].sort((a, b) => b - a));
      for (const [i, region] of run.regions.entries()) expect(areas[i]).toBeCloseTo(region.area_mm2, 9);
    });

    it.each(['circle', 'annulus'] as const)(
      'gives the score inside %s within 2 % (the rim), and its regions within two pixels',
      (shape) => {
        const run = golden?.images[name]?.runs[shape] as GoldenRun;
        const mask = roiMask(resolveShape(shapes[shape], size), size);
        expect(Math.abs(imageScore(mapOf(name), mask, 99) / run.score - 1)).toBeLessThan(0.02);
        // Regions cut by the rim differ by its width; each of theirs that is not tiny is found again.
        const regions = findRegions(mapOf(name), mask, run.threshold, 0, mmPerPx);
        for (const { bbox, area_px } of run.regions.filter((region) => region.area_px > 2 * minAreaPx)) {
          const near = regions.some((region) => worstDifference(region.bbox, bbox) <= 2);
          expect(near, `${bbox} of ${area_px} px`).toBe(true);
        }
      },
    );

    it.each(['none', 'rect'] as const)('pictures the map inside %s within one gray level', async (shape) => {
      const mask: RoiMask = roiMask(resolveShape(shapes[shape], size), size);
      expect(worstDifference(heatmap(mapOf(name), mask), await heatmapOf(name, shape))).toBeLessThanOrEqual(1);
    });
  });

  it('chooses the same thresholds', () => {
    for (const { ok, ng, p, t } of golden?.choose_threshold ?? []) {
      expect(chooseThreshold({ okScores: ok, ngScores: ng, percentile: p }).threshold).toBeCloseTo(t, 9);
    }
  });
});
