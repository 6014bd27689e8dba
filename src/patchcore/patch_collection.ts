import { InspectionError } from '../errors.ts';
import { createMatrix, type Matrix, selectRows } from './matrix.ts';
import type { PatchSources } from './position_memory.ts';
import type { ThinnedRows } from './thinning.ts';

/** The patch embeddings of the pictures of a fit, raw, those of a picture below those of the one before. */
export interface CollectedPatches {
  readonly rows: number;
  readonly cols: number;
  /** [rows · cols], and room behind it that was not needed. */
  readonly data: Float32Array;
  readonly sources: PatchSources;
  /** Null: every patch is there. */
  readonly thinning: PatchThinning | null;
}

/** What became of more patches than there was room for. */
export interface PatchThinning {
  /** Patches that came. */
  readonly seen: number;
  /** Every one of them, as a unit row, lies at most this far from one that was kept. Never below the truth. */
  readonly radius: number;
  /** Pictures whose patches were all kept, ascending. */
  readonly whole: Int32Array;
}

export interface PatchCollection {
  /**
   * Adds the next picture. Calls must not overlap.
   *
   * @param cells [rows] the cell of every patch, ascending
   * @param embeddings raw, copied
   * @throws InspectionError `shape_mismatch` for another width, more patches than a picture has or more pictures than were announced;
   *   `invalid_value` when the system gives no such room; what `thin` throws
   */
  add(cells: Int32Array, embeddings: Matrix): Promise<void>;
  /** Gives the patches away: the last call. */
  collected(): CollectedPatches;
}

export interface PatchCollectionOrder {
  /** Pictures to come; fewer may. */
  readonly pictures: number;
  /** Patches of one picture at most. */
  readonly cells: number;
  /** Patches to be held at once; room for eight pictures is taken in any case. */
  readonly mostPatches: number;
  /** `thinRows` of the rows, normalised; they are given away. */
  readonly thin: (group: Matrix, size: number) => Promise<ThinnedRows>;
  /** Called while everything that is held is thinned. */
  readonly onThinning?: ((done: number, total: number) => void) | undefined;
}

/** Pictures that get a leave-one-out score; more would say the same and take longer. Their patches are never thinned. */
export const mostLeftOut = 60;

/**
 * Patches that represent each other are looked for among so many: eight pictures of 32 × 32. The cost of thinning is in
 * proportion to it.
 */
const mostPerGroup = 8192;

/** Of what is left at most so much stays when the room is full once more, so that a wrong guess is not paid for by every picture. */
const mostLeft = 3 / 4;

/** Groups are an eighth of the room at most and must not be too small to be thinned. */
const leastRoom = 64;

/** Patches that will be held at once. */
export function patchRoom({ pictures, cells, mostPatches }: Omit<PatchCollectionOrder, 'thin'>): number {
  return Math.min(pictures * cells, Math.max(mostPatches, 8 * cells, leastRoom));
}

/** At most `most` of `count` numbers from 0, evenly spread. */
export function evenlySpread(count: number, most: number): Int32Array {
  const taken = Math.max(0, Math.min(count, most));
  return Int32Array.from({ length: taken }, (_, i) => Math.floor((i * count) / taken));
}

/**
 * Collects the patches of pictures as they come. When there is no room for the next picture, all that is held is thinned
 * group by group, to the share that leaves room for as many patches as are still expected; patches that come later are
 * thinned to the same share, a group at a time. Up to {@link mostLeftOut} pictures, spread evenly, are kept whole.
 *
 * What is promised of thinned patches: as unit rows, each that ever came lies within `radius` of one that is kept. A group's
 * radius is measured, groups stand beside each other (the largest counts), and only where what was kept is thinned again do
 * radii add up. So what covers the kept patches within R, covers all of them within R + radius (triangle inequality). For the
 * greedy k-center of m kept patches R is at most twice the optimum of m for all patches (Gonzalez 1985), because fewer points
 * are no harder to cover: together at most 2 · optimum + radius.
 *
 * Source: composable coresets (Indyk et al. 2014; Malkomes et al. 2015: m rows of every part, then m of those, 4 · optimum).
 * We keep a share of every part, less than m or more, and state the measured radius in place of their factor.
 *
 * Cost: beside the room for the patches one group; 2 · group · share · cols operations for every patch.
 */
export function createPatchCollection(order: PatchCollectionOrder): PatchCollection {
  const { pictures, cells: mostCells, thin, onThinning } = order;
  const room = patchRoom(order);
  const perGroup = Math.min(mostPerGroup, Math.floor(room / 8));
  const whole = evenlySpread(pictures, Math.min(mostLeftOut, Math.floor(room / (4 * mostCells))));
  const isWhole = new Set(whole);
  const picture = new Int32Array(room);
  const cell = new Int32Array(room);
  let data: Float32Array = new Float32Array();
  let cols = 0;
  let count = 0;
  let rows = 0;
  let seen = 0;
  /** The most patches that any picture had. */
  let fullest = 0;
  /** Of the patches before this row, `share` was kept; those behind it wait for the rest of their group. */
  let thinnedRows = 0;
  let share = 1;
  let radius = 0;

  /** Thins the rows from `first` on to a share of them; gives the largest radius of a group. */
  const thinFrom = async (first: number, part: number, onDone?: typeof onThinning): Promise<number> => {
    const thinnable = rowsToThin(first);
    const groups = Math.max(1, Math.round(thinnable.length / perGroup));
    const held = createMatrix(room, cols, data);
    let largest = 0;
    let read = first;
    let write = first;
    for (let group = 0; group < groups; group++) {
      const [begin, end] = [group, group + 1].map((i) => Math.floor((i * thinnable.length) / groups));
      const members = thinnable.subarray(begin, end);
      const dropped = new Set(members);
      if (members.length > 0) {
        const size = Math.max(1, Math.floor(members.length * part));
        const thinned = await thin(selectRows(held, members), size);
        for (const row of thinned.kept) dropped.delete(members[row] as number);
        largest = Math.max(largest, thinned.radius);
      }
      // Group by group, because moving all of them at once would hold up the thread.
      const next = group + 1 < groups ? (members.at(-1) as number) + 1 : rows;
      for (; read < next; read++) if (!dropped.has(read)) moveRow(read, write++);
      onDone?.(group + 1, groups);
    }
    rows = write;
    thinnedRows = rows;
    return largest;
  };

  const rowsToThin = (first: number): Int32Array => {
    const thinnable = new Int32Array(rows - first);
    let found = 0;
    for (let row = first; row < rows; row++) if (!isWhole.has(picture[row] as number)) thinnable[found++] = row;
    return thinnable.subarray(0, found);
  };

  const moveRow = (from: number, to: number) => {
    if (from === to) return;
    data.copyWithin(to * cols, from * cols, (from + 1) * cols);
    picture[to] = picture[from] as number;
    cell[to] = cell[from] as number;
  };

  /** Makes room for the pictures still to come, as full as the fullest so far. */
  const thinAll = async () => {
    const inWhole = whole.length * fullest;
    const expected = seen + (pictures - count) * fullest - inWhole;
    const before = share;
    share = Math.min(share * mostLeft, (room - perGroup - fullest - inWhole) / expected);
    radius += await thinFrom(0, share / before, onThinning);
  };

  return {
    add: async (cells, embeddings) => {
      if (cols === 0) {
        cols = embeddings.cols;
        data = roomFor(room, cols);
      }
      const fits = embeddings.cols === cols && embeddings.rows <= mostCells && embeddings.rows === cells.length;
      if (!fits || count === pictures) {
        throw new InspectionError(
          'shape_mismatch',
          `${embeddings.rows} × ${embeddings.cols} patches in ${cells.length} cells cannot be picture ${count + 1} of ${pictures} with at most ${mostCells} × ${cols}.`,
        );
      }
      fullest = Math.max(fullest, embeddings.rows);
      while (rows + embeddings.rows > room) await thinAll();
      data.set(embeddings.data, rows * cols);
      picture.fill(count, rows, rows + embeddings.rows);
      cell.set(cells, rows);
      rows += embeddings.rows;
      seen += embeddings.rows;
      count++;
      if (share < 1 && rows - thinnedRows >= perGroup) radius = Math.max(radius, await thinFrom(thinnedRows, share));
    },
    collected: () => ({
      rows,
      cols,
      data,
      sources: { picture: picture.slice(0, rows), cell: cell.slice(0, rows) },
      thinning: share === 1 ? null : { seen, radius, whole: whole.filter((number) => number < count) },
    }),
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
