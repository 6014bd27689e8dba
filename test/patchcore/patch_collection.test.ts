import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coveringRadius, selectCoreset } from '../../src/patchcore/coreset.ts';
import { concatRows, createMatrix, type Matrix, normalizeRows, selectRows } from '../../src/patchcore/matrix.ts';
import {
  type CollectedPatches,
  createPatchCollection,
  evenlySpread,
  type PatchCollectionOrder,
  patchRoom,
} from '../../src/patchcore/patch_collection.ts';
import { thinRows } from '../../src/patchcore/thinning.ts';
import { matrixOf, plainProducts } from '../matrices.ts';

const cells = 8;
const thin: PatchCollectionOrder['thin'] = (group, size) => thinRows(normalizeRows(group), size, plainProducts);

/** The least room there is, for eight pictures: 64 patches. */
const small = { cells, mostPatches: 1, thin };

/** Of a picture with `embeddings.rows` patches the last cells. */
const cellsOf = ({ rows }: Matrix) => Int32Array.from({ length: rows }, (_, i) => cells - rows + i);

async function collect(
  pictures: readonly Matrix[],
  order: Omit<PatchCollectionOrder, 'pictures'> = small,
): Promise<CollectedPatches> {
  const collection = createPatchCollection({ pictures: pictures.length, ...order });
  for (const embeddings of pictures) await collection.add(cellsOf(embeddings), embeddings);
  return collection.collected();
}

/** Which row of all pictures below each other each kept row was. */
function keptRows({ sources }: CollectedPatches, pictures: readonly Matrix[]): Int32Array {
  const starts = pictures.map((_, i) => pictures.slice(0, i).reduce((sum, { rows }) => sum + rows, 0));
  return sources.picture.map((of, i) => {
    const first = cellsOf(pictures[of] as Matrix)[0] as number;
    return (starts[of] as number) + (sources.cell[i] as number) - first;
  });
}

const matrixOfKept = ({ rows, cols, data }: CollectedPatches) =>
  createMatrix(rows, cols, data.subarray(0, rows * cols));

/** Pictures of one patch to eight, on a lattice: equal rows, zero rows and equal distances everywhere. */
const latticePictures = fc
  .array(
    fc.array(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 3, maxLength: 3 }), {
      minLength: 1,
      maxLength: cells,
      size: 'max',
    }),
    { minLength: 1, maxLength: 60, size: 'max' },
  )
  .map((pictures) => pictures.map(matrixOf));

/** Full pictures that drift, faster and faster: what is far away in time is far away. */
const drifting = (pictures: number) =>
  Array.from({ length: pictures }, (_, picture) =>
    matrixOf(
      Array.from({ length: cells }, (_, cell) => {
        const angle = 3 * ((picture * cells + cell) / (pictures * cells)) ** 2;
        return [Math.cos(angle), Math.sin(angle)];
      }),
    ),
  );

describe('createPatchCollection', () => {
  it('holds every patch where there is room, as it came', async () => {
    const three = matrixOf([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const patches = await collect([selectRows(three, [0]), selectRows(three, [1, 2])]);
    expect(patches).toMatchObject({ rows: 3, cols: 2, thinning: null });
    expect([...matrixOfKept(patches).data]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...patches.sources.picture]).toEqual([0, 1, 1]);
    expect([...patches.sources.cell]).toEqual([7, 6, 7]);
  });

  it('holds every patch as long as all have room, whatever was announced', async () => {
    const collection = createPatchCollection({ ...small, pictures: 1000 });
    for (const picture of drifting(8)) await collection.add(cellsOf(picture), picture);
    expect(collection.collected()).toMatchObject({ rows: 64, thinning: null });
  });

  it('covers every patch that came within the radius that it states', async () => {
    let thinned = 0;
    await fc.assert(
      fc.asyncProperty(latticePictures, async (pictures) => {
        const patches = await collect(pictures);
        const all = concatRows(pictures);
        const kept = keptRows(patches, pictures);
        expect(patches.rows).toBeLessThanOrEqual(patchRoom({ ...small, pictures: pictures.length }));
        expect(matrixOfKept(patches).data).toEqual(selectRows(all, kept).data);
        expect([...kept]).toEqual([...new Set(kept)].sort((a, b) => a - b));
        if (patches.thinning === null) {
          expect(kept.length).toBe(all.rows);
          return;
        }
        thinned++;
        expect(patches.thinning.seen).toBe(all.rows);
        expect(patches.thinning.radius).toBeGreaterThanOrEqual(coveringRadius(normalizeRows(all), kept));
      }),
    );
    expect(thinned).toBeGreaterThan(20);
  });

  it('lets a coreset of what is kept cover every patch within its own radius and the stated one', async () => {
    await fc.assert(
      fc.asyncProperty(latticePictures, fc.integer({ min: 1, max: 20 }), async (pictures, size) => {
        const patches = await collect(pictures);
        const unit = normalizeRows(matrixOfKept(patches));
        const picks = await selectCoreset(unit, size, plainProducts);
        const kept = keptRows(patches, pictures);
        const ofAll = coveringRadius(
          normalizeRows(concatRows(pictures)),
          picks.map((pick) => kept[pick] as number),
        );
        expect(ofAll).toBeLessThanOrEqual(coveringRadius(unit, picks) + (patches.thinning?.radius ?? 0) + 1e-12);
      }),
      { numRuns: 40 },
    );
  });

  it('keeps some pictures whole, spread evenly', async () => {
    const { sources, thinning } = await collect(drifting(60));
    // A quarter of the room at most: two pictures of eight patches.
    expect([...(thinning?.whole ?? [])]).toEqual([0, 30]);
    for (const picture of [0, 30]) {
      expect([...sources.cell.filter((_, i) => sources.picture[i] === picture)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    }
  });

  it('keeps of each group what represents it, beside the pictures that are whole', async () => {
    const pictures = drifting(9);
    const lastOfGroup: PatchCollectionOrder['thin'] = async ({ rows }) => ({
      kept: Int32Array.of(rows - 1),
      radius: 0,
    });
    const patches = await collect(pictures, { ...small, thin: lastOfGroup });
    expect([...(patches.thinning?.whole ?? [])]).toEqual([0, 4]);
    const expected = pictures.flatMap((_, i) =>
      i === 0 || i === 4 ? Array.from({ length: cells }, (_, cell) => cells * i + cell) : [cells * i + cells - 1],
    );
    expect([...keptRows(patches, pictures)]).toEqual(expected);
    expect(matrixOfKept(patches).data).toEqual(selectRows(concatRows(pictures), expected).data);
  });

  it('thins once, to what the pictures still to come leave room for: the largest radius counts', async () => {
    const radii: number[] = [];
    let passes = 0;
    const pictures = drifting(150);
    const patches = await collect(pictures, {
      cells,
      mostPatches: 400,
      thin: async (group, size) => {
        const thinned = await thin(group, size);
        radii.push(thinned.radius);
        return thinned;
      },
      onThinning: (done, total) => {
        if (done === total) passes++;
      },
    });
    expect(passes).toBe(1);
    expect(radii.length).toBeGreaterThan(10);
    expect(patches.thinning?.radius).toBe(Math.max(...radii));
    expect(Math.max(...radii)).toBeGreaterThanOrEqual(
      coveringRadius(normalizeRows(concatRows(pictures)), keptRows(patches, pictures)),
    );
    expect(patches.rows).toBeGreaterThan(300);
    expect(patches.rows).toBeLessThanOrEqual(400);
  });

  it('thins all again when more patches come than those before let expect: radii add up', async () => {
    const full = drifting(300);
    const radiiToTell = fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 60, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(radiiToTell, fc.integer({ min: 140, max: 170 }), async (told, small) => {
        const pictures = full.map((picture, i) => (i < small ? selectRows(picture, [0, 1, 2]) : picture));
        const radii: number[] = [];
        const passes: { readonly first: number; readonly end: number }[] = [];
        const patches = await collect(pictures, {
          cells,
          mostPatches: 400,
          thin: async (_, size) => {
            radii.push(told[radii.length] as number);
            return { kept: Int32Array.from({ length: size }, (_, i) => i), radius: radii.at(-1) as number };
          },
          onThinning: (done, total) => {
            if (done === total) passes.push({ first: radii.length - total, end: radii.length });
          },
        });
        expect(passes.length).toBeGreaterThan(1);
        let expected = 0;
        for (const [i, { first, end }] of passes.entries()) {
          expected = Math.max(expected, ...radii.slice(passes[i - 1]?.end ?? 0, first));
          expected += Math.max(...radii.slice(first, end));
        }
        expect(patches.thinning?.radius).toBe(Math.max(expected, ...radii.slice(passes.at(-1)?.end)));
        expect(patches.rows).toBeGreaterThan(250);
        expect(patches.rows).toBeLessThanOrEqual(400);
      }),
      { numRuns: 20 },
    );
  });

  it('forgets the pictures that did not come', async () => {
    const collection = createPatchCollection({ ...small, pictures: 60 });
    for (const picture of drifting(20)) await collection.add(cellsOf(picture), picture);
    expect([...(collection.collected().thinning?.whole ?? [])]).toEqual([0]);
  });

  it.each([
    ['another width', matrixOf([[1, 2, 3]]), Int32Array.of(0)],
    ['other cells', matrixOf([[1, 2]]), Int32Array.of(0, 1)],
    ['more patches than a picture has', matrixOf(new Array(9).fill([1, 2])), Int32Array.from({ length: 9 })],
  ])('refuses %s', async (_, embeddings, ofCells) => {
    const collection = createPatchCollection({ ...small, pictures: 3 });
    await collection.add(Int32Array.of(3), matrixOf([[1, 2]]));
    await expect(collection.add(ofCells, embeddings)).rejects.toMatchObject({ code: 'shape_mismatch' });
  });

  it('refuses more pictures than were announced', async () => {
    const collection = createPatchCollection({ ...small, pictures: 1 });
    await collection.add(Int32Array.of(3), matrixOf([[1, 2]]));
    await expect(collection.add(Int32Array.of(3), matrixOf([[1, 2]]))).rejects.toMatchObject({
      code: 'shape_mismatch',
    });
  });
});

describe('evenlySpread', () => {
  it.each([
    [4, 4, [0, 1, 2, 3]],
    [10, 3, [0, 3, 6]],
    [2, Number.POSITIVE_INFINITY, [0, 1]],
    [5, 0, []],
  ])('of %i takes %d', (count, most, expected) => {
    expect([...evenlySpread(count, most)]).toEqual(expected);
  });
});
