import { describe, expect, it } from 'vitest';
import { type FeatureMapShape, writeFeatureMapMerge } from '../../src/extractors/feature_map_merge.ts';
import { openSession } from '../../src/onnx/onnx_session.ts';
import { seededRandom } from './noise_picture.ts';

async function merge(maps: readonly FeatureMapShape[], data: readonly Float32Array[]) {
  const session = await openSession(writeFeatureMapMerge(maps), { threads: 1 });
  const feeds = maps.map(({ channels, rows, cols }, index) => {
    const tensor = { dims: [1, channels, rows, cols], data: data[index] as Float32Array };
    return [`map_${index}`, tensor] as const;
  });
  const { embeddings } = await session.run(Object.fromEntries(feeds));
  await session.dispose();
  return { dims: embeddings?.dims, values: [...(embeddings?.data ?? [])].map(Number) };
}

describe('writeFeatureMapMerge', () => {
  it('averages over the neighbours that exist: no zeros from beyond the border', async () => {
    const { dims, values } = await merge([{ channels: 1, rows: 1, cols: 4 }], [Float32Array.of(0, 3, 6, 9)]);
    expect(dims).toEqual([4, 1]);
    expect(values).toEqual([1.5, 3, 6, 7.5]);
  });

  it('averages over 3 × 3 cells of both directions', async () => {
    const { values } = await merge([{ channels: 1, rows: 3, cols: 3 }], [Float32Array.of(9, 0, 0, 0, 0, 0, 0, 0, 18)]);
    expect(values).toEqual([9 / 4, 9 / 6, 0, 9 / 6, 3, 18 / 6, 0, 18 / 6, 18 / 4]);
  });

  it('brings coarse maps to the finest grid between pixel centres, and puts channels side by side in order', async () => {
    const maps = [
      { channels: 1, rows: 1, cols: 4 },
      { channels: 2, rows: 1, cols: 8 },
    ];
    const fine = new Float32Array(16).fill(1, 0, 8).fill(2, 8);
    const { dims, values } = await merge(maps, [Float32Array.of(0, 3, 6, 9), fine]);
    expect(dims).toEqual([8, 3]);
    // 1.5 3 6 7.5 after averaging; new centres lie a quarter cell from the old ones, the ends are held.
    const coarse = [1.5, 1.875, 2.625, 3.75, 5.25, 6.375, 7.125, 7.5];
    expect(values).toEqual(coarse.flatMap((value) => [value, 1, 2]));
  });

  it('equals plain loops on two-dimensional maps', async () => {
    const maps = [
      { channels: 3, rows: 8, cols: 12 },
      { channels: 2, rows: 4, cols: 6 },
    ];
    const random = seededRandom(5);
    const data = maps.map(({ channels, rows, cols }) => Float32Array.from({ length: channels * rows * cols }, random));
    const { values } = await merge(maps, data);
    const expected: number[] = [];
    for (let y = 0; y < 8; y++) {
      for (let x = 0; x < 12; x++) {
        for (const [index, map] of maps.entries()) {
          for (let channel = 0; channel < map.channels; channel++) {
            expected.push(sample(data[index] as Float32Array, map, channel, (y + 0.5) / 8, (x + 0.5) / 12));
          }
        }
      }
    }
    expect(values.length).toBe(expected.length);
    for (const [index, value] of expected.entries()) expect(values[index]).toBeCloseTo(value, 5);
  });
});

/** The averaged map at a place given as shares of height and width. */
function sample(
  data: Float32Array,
  { rows, cols }: FeatureMapShape,
  channel: number,
  down: number,
  across: number,
): number {
  const averaged = (row: number, col: number) => {
    const found: number[] = [];
    for (let y = row - 1; y <= row + 1; y++) {
      for (let x = col - 1; x <= col + 1; x++) {
        if (y >= 0 && y < rows && x >= 0 && x < cols) found.push(data[(channel * rows + y) * cols + x] as number);
      }
    }
    return found.reduce((sum, value) => sum + value, 0) / found.length;
  };
  const place = (share: number, size: number) => {
    const position = Math.min(Math.max(share * size - 0.5, 0), size - 1);
    const low = Math.floor(position);
    return { low, high: Math.min(low + 1, size - 1), part: position - low };
  };
  const [v, u] = [place(down, rows), place(across, cols)];
  const row = (y: number) => averaged(y, u.low) * (1 - u.part) + averaged(y, u.high) * u.part;
  return row(v.low) * (1 - v.part) + row(v.high) * v.part;
}
