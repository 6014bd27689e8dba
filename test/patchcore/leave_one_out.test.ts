import { describe, expect, it } from 'vitest';
import { coresetSize, selectCoreset } from '../../src/patchcore/coreset.ts';
import { createLeaveOneOut, suspectPictures, visitAllPairs } from '../../src/patchcore/leave_one_out.ts';
import { normalizeRows, squaredDistance } from '../../src/patchcore/matrix.ts';
import { matrixOf, plainProducts } from '../matrices.ts';

const chord = (degrees: number) => 2 * Math.sin((degrees * Math.PI) / 360);

/** Pictures of some patches, each patch a direction in degrees. */
function patches(pictures: readonly (readonly number[])[]) {
  const angles = pictures.flat().map((angle) => (angle * Math.PI) / 180);
  return {
    unit: normalizeRows(matrixOf(angles.map((angle) => [Math.cos(angle), Math.sin(angle)]))),
    sources: {
      picture: Int32Array.from(pictures.flatMap((picture, i) => picture.map(() => i))),
      cell: Int32Array.from(pictures.flatMap((picture) => picture.map((_, cell) => cell))),
    },
  };
}

describe('createLeaveOneOut', () => {
  it('measures against the other pictures when every patch is kept', async () => {
    const { unit, sources } = patches([
      [0, 10],
      [15, 90],
      [40, 200],
    ]);
    const leaveOneOut = createLeaveOneOut(unit, sources, unit.rows);
    const rows = Int32Array.from({ length: unit.rows }, (_, row) => row);
    await visitAllPairs(unit, rows, plainProducts, leaveOneOut.onProducts, {});
    const of = async (picture: number) => [...(await leaveOneOut.distances(picture, plainProducts))];
    expect((await of(0)).map((value) => value.toFixed(5))).toEqual([15, 5].map((angle) => chord(angle).toFixed(5)));
    expect((await of(1)).map((value) => value.toFixed(5))).toEqual([5, 50].map((angle) => chord(angle).toFixed(5)));
  });

  it('visits only the rows that are wanted', async () => {
    const { unit, sources } = patches([[0], [20], [50]]);
    const leaveOneOut = createLeaveOneOut(unit, sources, unit.rows);
    await visitAllPairs(unit, Int32Array.of(2), plainProducts, leaveOneOut.onProducts, {});
    expect((await leaveOneOut.distances(2, plainProducts))[0]).toBeCloseTo(chord(30), 5);
  });

  it("puts another picture's patch in the place of each of its own rows of the bank", async () => {
    // The start row is floor(0.85 · 4) = 3: the bank is row 3 of picture 1 (91°), then the farthest, row 0 (0°).
    const { unit, sources } = patches([
      [0, 90],
      [2, 91],
    ]);
    const size = 2;
    const leaveOneOut = createLeaveOneOut(unit, sources, size);
    const picks = await selectCoreset(unit, size, plainProducts, { onProducts: leaveOneOut.onProducts });
    expect([...picks]).toEqual([3, 0]);
    // Without picture 0 the bank has lost 0°; the 2° of picture 1 take its place, or 0° would be 91° away.
    const [zero, ninety] = await leaveOneOut.distances(0, plainProducts);
    expect(zero).toBeCloseTo(chord(2), 5);
    expect(ninety).toBeCloseTo(chord(1), 5);
  });

  it('is never nearer than all patches of the others, and never sees the picture itself', async () => {
    const pictures = Array.from({ length: 6 }, (_, p) =>
      Array.from({ length: 40 }, (_, i) => (i * i * 31 + p * 77) % 360),
    );
    const { unit, sources } = patches(pictures);
    const size = coresetSize(unit.rows, 0.1);
    const leaveOneOut = createLeaveOneOut(unit, sources, size);
    await selectCoreset(unit, size, plainProducts, { onProducts: leaveOneOut.onProducts });
    for (const picture of pictures.keys()) {
      const distances = await leaveOneOut.distances(picture, plainProducts);
      for (const [i, distance] of distances.entries()) {
        let least = Number.POSITIVE_INFINITY;
        for (let row = 0; row < unit.rows; row++) {
          if (sources.picture[row] !== picture)
            least = Math.min(least, squaredDistance(unit, picture * 40 + i, unit, row));
        }
        expect(distance).toBeGreaterThanOrEqual(Math.sqrt(least) - 1e-6);
      }
    }
  });

  it('knows nothing of a picture that is alone', async () => {
    const { unit, sources } = patches([[0, 10, 20]]);
    const leaveOneOut = createLeaveOneOut(unit, sources, 2);
    await selectCoreset(unit, 2, plainProducts, { onProducts: leaveOneOut.onProducts });
    const distances = await leaveOneOut.distances(0, plainProducts);
    expect([...distances].every((value) => value === Number.POSITIVE_INFINITY)).toBe(true);
  });
});

describe('suspectPictures', () => {
  // Median 10, median deviation 1: the limit is 10 + 3.5 · 1.4826 = 15.19.
  it('names what stands out, worst first', () => {
    expect(suspectPictures([9, 10, 11, 10, 15.1, 8, 12])).toEqual([]);
    expect(suspectPictures([9, 10, 11, 40, 15.3, 9, 10, 9, 11])).toEqual([3, 4]);
  });

  it('is not alarmed by a hair among pictures that are all alike, or by few pictures', () => {
    expect(suspectPictures([1, 1, 1, 1, 1, 1.001])).toEqual([]);
    expect(suspectPictures([1, 1, 1, 1, 1, 2])).toEqual([5]);
    expect(suspectPictures([1, 1, 1, 9])).toEqual([]);
  });
});
