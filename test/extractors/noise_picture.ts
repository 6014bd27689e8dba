import type { NetworkInput } from '../../src/extractors/extractor.ts';

/** Equal numbers for equal seeds, 0 ≤ x < 1 (a linear congruential generator: Numerical Recipes). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A network input of numbers 0..1: noise over a slope, with a flat gray block whose variance is zero. */
export function noisePicture(height: number, width: number, seed: number): NetworkInput {
  const random = seededRandom(seed);
  const data = new Float32Array(3 * height * width);
  for (let index = 0; index < data.length; index++) {
    const y = Math.floor(index / width) % height;
    const x = index % width;
    const flat = y < height / 4 && x < width / 4;
    data[index] = flat ? 0.75 : (0.5 * x) / width + 0.5 * random();
  }
  return { height, width, data };
}
