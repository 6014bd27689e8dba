import { InspectionError } from '../errors.ts';
import { createMatrix, type Matrix } from './matrix.ts';
import type { PatchSources } from './position_memory.ts';

/** Rows of patches in room that is taken once. Calls must not overlap. */
export interface HeldPatches {
  readonly rows: number;
  readonly cols: number;
  /** [room · cols] raw, in the order they came. */
  readonly data: Float32Array;
  /** [room] */
  readonly sources: PatchSources;
  /** Copies the patches of a picture below the others; the caller sees to it that there is room. */
  add(picture: number, cells: Int32Array, embeddings: Matrix): void;
  /** Those rows in their order, copied. */
  copyOf(chosen: Int32Array): Promise<Matrix>;
  /** @param dropped [rows] 1: the row goes; the others move up */
  drop(dropped: Uint8Array): Promise<void>;
}

/** Numbers that are copied in one go: they take a millisecond where the system has to find memory for them. */
const atOnce = 2 ** 18;

/**
 * @param giveWay awaited between pieces of what takes long to copy, for others who need the thread
 * @throws InspectionError `invalid_value` when the system gives no such room
 */
export function holdPatches(room: number, cols: number, giveWay?: () => Promise<void>): HeldPatches {
  const data = roomFor(room, cols);
  const picture = new Int32Array(room);
  const cell = new Int32Array(room);
  const rowsAtOnce = Math.ceil(atOnce / cols);
  let rows = 0;
  return {
    get rows() {
      return rows;
    },
    cols,
    data,
    sources: { picture, cell },
    add: (ofPicture, cells, embeddings) => {
      data.set(embeddings.data, rows * cols);
      picture.fill(ofPicture, rows, rows + embeddings.rows);
      cell.set(cells, rows);
      rows += embeddings.rows;
    },
    copyOf: async (chosen) => {
      const copy = new Float32Array(chosen.length * cols);
      for (const [i, row] of chosen.entries()) {
        if (i % rowsAtOnce === 0) await giveWay?.();
        copy.set(data.subarray(row * cols, (row + 1) * cols), i * cols);
      }
      return createMatrix(chosen.length, cols, copy);
    },
    drop: async (dropped) => {
      const first = dropped.indexOf(1);
      if (first < 0) return;
      let kept = first;
      for (let row = first; row < rows; row++) {
        if (dropped[row] === 1) continue;
        if (kept % rowsAtOnce === 0) await giveWay?.();
        data.copyWithin(kept * cols, row * cols, (row + 1) * cols);
        picture[kept] = picture[row] as number;
        cell[kept] = cell[row] as number;
        kept++;
      }
      rows = kept;
    },
  };
}

function roomFor(rows: number, cols: number): Float32Array {
  try {
    return new Float32Array(rows * cols);
  } catch (cause) {
    throw new InspectionError(
      'invalid_value',
      `${rows} patches of ${cols} numbers cannot be held at once; lower BDI_FIT_PATCHES, or choose fewer pictures.`,
      { cause },
    );
  }
}
