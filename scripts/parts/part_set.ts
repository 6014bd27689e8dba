import sharp from 'sharp';
import { createDefect, type DefectKind, defectKinds } from './defects.ts';
import { shotOf } from './flange.ts';
import { type RenderedPart, renderPart } from './render.ts';

/** One picture of the set. Its seed decides everything in it. */
export interface PartPlan {
  /** Without extension, such as `test/scratch/01`. */
  readonly path: string;
  readonly seed: number;
  readonly defect: DefectKind | null;
}

/** Pictures to fit from, to calibrate with, and to test on. */
const counts = { train: 14, calibration: 8, test: 8, badCalibration: 1, badTest: 3 } as const;

/** The whole set: 30 good parts, 20 bad ones. */
export function partSet(): readonly PartPlan[] {
  const numbered = (folder: string, count: number, firstSeed: number, defect: DefectKind | null): PartPlan[] =>
    Array.from({ length: count }, (_, i) => ({
      path: `${folder}/${String(i + 1).padStart(2, '0')}`,
      seed: firstSeed + i,
      defect,
    }));
  return [
    ...numbered('train/good', counts.train, 100, null),
    ...numbered('calibration/good', counts.calibration, 200, null),
    ...numbered('test/good', counts.test, 300, null),
    ...defectKinds.flatMap((kind, i) => [
      ...numbered(`calibration/${kind}`, counts.badCalibration, 400 + 10 * i, kind),
      ...numbered(`test/${kind}`, counts.badTest, 500 + 10 * i, kind),
    ]),
  ];
}

/** Renders one picture of the set. */
export function renderPlan({ seed, defect }: PartPlan): RenderedPart {
  return renderPart(shotOf(seed), defect === null ? null : createDefect(defect, seed));
}

/** Every file of the set: JPEG pictures, and a PNG mask for every bad test picture. */
export async function* renderedFiles(): AsyncGenerator<{ readonly path: string; readonly content: Uint8Array }> {
  for (const plan of partSet()) {
    const { side, rgb, mask } = renderPlan(plan);
    const jpeg = sharp(rgb, { raw: { width: side, height: side, channels: 3 } }).jpeg({
      quality: 90,
      chromaSubsampling: '4:2:0',
    });
    yield { path: `${plan.path}.jpg`, content: await jpeg.toBuffer() };
    if (plan.defect === null || !plan.path.startsWith('test/')) continue;
    const png = sharp(mask, { raw: { width: side, height: side, channels: 1 } })
      .toColourspace('b-w')
      .png({ compressionLevel: 9 });
    yield { path: `${plan.path.replace('test/', 'ground_truth/')}_mask.png`, content: await png.toBuffer() };
  }
}
