/**
 * The `index`-th number of the random stream `seed`: 32 bits, the same on every machine and at every call, so that a state
 * needs to keep only its seed and a count. Not for secrets.
 *
 * @param seed whole, any size a float64 holds exactly
 * @param index ≥ 0, whole
 * @returns 0 .. 2^32 - 1
 *
 * Source: the finalizer of Appleby's MurmurHash3 (public domain), once per 32-bit word.
 */
export function randomWord(seed: number, index: number): number {
  let hash = 0;
  for (const value of [seed, index]) {
    hash = mix(hash ^ (value | 0)) + 0x9e3779b9;
    hash = mix(hash ^ Math.floor(value / 2 ** 32)) + 0x9e3779b9;
  }
  return mix(hash) >>> 0;
}

function mix(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
