import type { Preprocessing } from '../../src/images/preprocessing.ts';
import type { ShapeSpec } from '../../src/patchcore/roi_mask.ts';

/** What the reference implementation was run with. */

export const size = { height: 448, width: 448 };
export const grid = { rows: 32, cols: 32 };
export const frame = { top: 0, left: 0, height: 32, width: 32 };

export const preprocessing: Preprocessing = {
  ...size,
  fit: 'letterbox',
  resample: 'bicubic',
  colorOrder: 'rgb',
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

export const shapes = {
  none: { kind: '', numbers: {} },
  rect: { kind: 'rect', numbers: { x: 100, y: 50, w: 120, h: 200 } },
  circle: { kind: 'circle', numbers: { cx: 224, cy: 224, r: 100 } },
  annulus: { kind: 'annulus', numbers: { cx: 224, cy: 224, r: 200, r_inner: 120 } },
} as const satisfies Record<string, ShapeSpec>;
export type ShapeName = keyof typeof shapes;
