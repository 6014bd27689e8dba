import type { PatchGrid } from '../../src/patchcore/grid.ts';
import { concatRows, type Matrix } from '../../src/patchcore/matrix.ts';
import { cellsInFrame } from '../../src/patchcore/memory_bank.ts';
import type { CollectedPatches } from '../../src/patchcore/patch_collection.ts';
import type { FitPicture } from '../../src/workers/vision.ts';

/** A picture with its patches. */
export interface PatchedPicture extends FitPicture {
  /** Absent: all that the picture touches. */
  readonly cells?: Int32Array;
  readonly embeddings: Matrix;
}

/** Copies: a fit takes away what it is given. */
export function allPatches(pictures: readonly PatchedPicture[], grid: PatchGrid): CollectedPatches {
  const { rows, cols, data } =
    pictures.length === 0
      ? { rows: 0, cols: 1, data: new Float32Array() }
      : concatRows(pictures.map(({ embeddings }) => embeddings));
  return {
    rows,
    cols,
    data,
    sources: {
      picture: Int32Array.from(pictures.flatMap(({ embeddings }, i) => new Array(embeddings.rows).fill(i))),
      cell: Int32Array.from(pictures.flatMap(({ cells, frame }) => [...(cells ?? cellsInFrame(grid, frame))])),
    },
    thinning: null,
  };
}
