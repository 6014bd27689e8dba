import { InspectionError } from '../errors.ts';
import { type HeldPatches, holdPatches } from './held_patches.ts';
import type { Matrix } from './matrix.ts';
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
  /** Awaited every millisecond or so while many patches are copied. Absent: nobody else needs the thread. */
  readonly giveWay?: (() => Promise<void>) | undefined;
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
  const { pictures, cells: mostCells } = order;
  const room = patchRoom(order);
  const perGroup = Math.min(mostPerGroup, Math.floor(room / 8));
  const whole = evenlySpread(pictures, Math.min(mostLeftOut, Math.floor(room / (4 * mostCells))));
  const isWhole = new Uint8Array(pictures);
  for (const number of whole) isWhole[number] = 1;
  // Until the first picture tells how wide patches are.
  let held = holdPatches(0, 0);
  let count = 0;
  let seen = 0;
  /** The most patches that any picture had. */
  let fullest = 0;
  /** Of the patches before this row, `share` was kept; those behind it wait for the rest of their group. */
  let thinnedRows = 0;
  let share = 1;
  let radius = 0;

  const requireFitting = (cells: Int32Array, { rows, cols }: Matrix) => {
    const width = count === 0 ? cols : held.cols;
    if (cols === width && rows === cells.length && rows <= mostCells && count < pictures) return;
    throw new InspectionError(
      'shape_mismatch',
      `${rows} × ${cols} patches in ${cells.length} cells cannot be picture ${count + 1} of ${pictures} with at most ${mostCells} × ${width}.`,
    );
  };

  /** Thins the rows from `first` on to a share of them; gives the largest radius of a group. */
  const thinFrom = async (
    first: number,
    part: number,
    onGroup?: PatchCollectionOrder['onThinning'],
  ): Promise<number> => {
    const groups = inGroups(thinnableFrom(first), perGroup);
    const largest = await thinGroups(held, groups, part, order.thin, onGroup);
    thinnedRows = held.rows;
    return largest;
  };

  const thinnableFrom = (first: number): Int32Array => {
    const { picture } = held.sources;
    const thinnable = new Int32Array(held.rows - first);
    let found = 0;
    for (let row = first; row < held.rows; row++) {
      if (isWhole[picture[row] as number] === 0) thinnable[found++] = row;
    }
    return thinnable.subarray(0, found);
  };

  /** Makes room for the pictures still to come, as full as the fullest so far. */
  const thinAll = async () => {
    const inWhole = whole.length * fullest;
    const expected = seen + (pictures - count) * fullest - inWhole;
    const before = share;
    share = Math.min(share * mostLeft, (room - perGroup - fullest - inWhole) / expected);
    radius += await thinFrom(0, share / before, order.onThinning);
  };

  return {
    add: async (cells, embeddings) => {
      requireFitting(cells, embeddings);
      if (count === 0) held = holdPatches(room, embeddings.cols, order.giveWay);
      fullest = Math.max(fullest, embeddings.rows);
      while (held.rows + embeddings.rows > room) await thinAll();
      held.add(count, cells, embeddings);
      seen += embeddings.rows;
      count++;
      if (share < 1 && held.rows - thinnedRows >= perGroup) {
        radius = Math.max(radius, await thinFrom(thinnedRows, share));
      }
    },
    collected: () => {
      const { rows, cols, data, sources } = held;
      return {
        rows,
        cols,
        data,
        sources: { picture: sources.picture.slice(0, rows), cell: sources.cell.slice(0, rows) },
        thinning: share === 1 ? null : { seen, radius, whole: whole.filter((number) => number < count) },
      };
    },
  };
}

/** Groups of about `perGroup`, as equal as can be. */
function inGroups(rows: Int32Array, perGroup: number): readonly Int32Array[] {
  const groups = Math.min(rows.length, Math.max(1, Math.round(rows.length / perGroup)));
  const startOf = (group: number) => Math.floor((group * rows.length) / groups);
  return Array.from({ length: groups }, (_, group) => rows.subarray(startOf(group), startOf(group + 1)));
}

/** Keeps of each group of rows a share that represents it; gives the largest of their radii. */
async function thinGroups(
  held: HeldPatches,
  groups: readonly Int32Array[],
  share: number,
  thin: PatchCollectionOrder['thin'],
  onGroup: PatchCollectionOrder['onThinning'],
): Promise<number> {
  const dropped = new Uint8Array(held.rows);
  let largest = 0;
  for (const [group, members] of groups.entries()) {
    const size = Math.max(1, Math.floor(members.length * share));
    const { kept, radius } = await thin(await held.copyOf(members), size);
    for (const row of members) dropped[row] = 1;
    for (const member of kept) dropped[members[member] as number] = 0;
    largest = Math.max(largest, radius);
    onGroup?.(group + 1, groups.length);
  }
  await held.drop(dropped);
  return largest;
}
