import { normalizeRows } from '../../src/patchcore/matrix.ts';
import { matrixOf } from '../matrices.ts';

/** Pictures of one number per cell: the direction of its patch in degrees. */
export function patches(grid: { rows: number; cols: number }, pictures: readonly (readonly number[])[]) {
  const cells = grid.rows * grid.cols;
  const degrees = pictures.flat();
  const unit = normalizeRows(
    matrixOf(degrees.map((angle) => [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)])),
  );
  const sources = {
    picture: Int32Array.from(degrees, (_, i) => Math.floor(i / cells)),
    cell: Int32Array.from(degrees, (_, i) => i % cells),
  };
  return { unit, sources };
}

export const all = (count: number) => Int32Array.from({ length: count }, (_, i) => i);
export const chord = (degrees: number) => 2 * Math.sin((degrees * Math.PI) / 360);
