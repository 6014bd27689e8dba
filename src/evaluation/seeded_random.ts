import { InspectionError } from '../errors.ts';

/**
 * Numbers in [0, 1) that look random and are the same for the same seed, on every machine. Good enough to draw samples,
 * not for secrets. It comes around after 2³² numbers.
 *
 * @param seed a whole number from 0 to 2³² - 1
 * @throws InspectionError `invalid_value` for another seed
 *
 * Source: Tommy Ettinger's mulberry32 (public domain), 32 bits of state.
 */
export function seededRandom(seed: number): () => number {
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new InspectionError(
      'invalid_value',
      `The seed is ${seed}; it must be a whole number from 0 to ${2 ** 32 - 1}.`,
    );
  }
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
