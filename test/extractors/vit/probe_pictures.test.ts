import { describe, expect, it } from 'vitest';
import type { Preprocessing } from '../../../src/extractors/extractor.ts';
import { probePictures } from '../../../src/extractors/vit/probe_pictures.ts';

const preprocessing: Preprocessing = {
  height: 28,
  width: 42,
  fit: 'letterbox',
  resample: 'bicubic',
  colorOrder: 'rgb',
  mean: [0.5, 0.4, 0.3],
  std: [0.5, 0.2, 0.25],
};

describe('probePictures', () => {
  it('are the same at every call, of the asked size, and differ from each other', () => {
    const pictures = probePictures(preprocessing);
    expect(pictures).toEqual(probePictures(preprocessing));
    expect(pictures.length).toBeGreaterThanOrEqual(3);
    for (const { height, width, data } of pictures) expect([height, width, data.length]).toEqual([28, 42, 3 * 28 * 42]);
    expect(new Set(pictures.map(({ data }) => data.join())).size).toBe(pictures.length);
  });

  it('hold colours 0..1 as the network wants them, neither flat nor cut off', () => {
    for (const { data } of probePictures(preprocessing)) {
      for (const channel of [0, 1, 2] as const) {
        const plane = data.subarray(channel * 28 * 42, (channel + 1) * 28 * 42);
        const colours = plane.map((value) => value * preprocessing.std[channel] + preprocessing.mean[channel]);
        expect(Math.min(...colours)).toBeGreaterThanOrEqual(-1e-6);
        expect(Math.max(...colours)).toBeLessThanOrEqual(1 + 1e-6);
        expect(Math.max(...colours) - Math.min(...colours)).toBeGreaterThan(0.1);
      }
    }
  });
});
