import { randomWord } from '../../src/patchcore/random.ts';

/** Independent uniform numbers between 0 and 1, neither included; the same for the same seed. */
export function uniformStream(seed: number): () => number {
  let index = 0;
  return () => (randomWord(seed, index++) + 0.5) / 2 ** 32;
}

/** Independent standard normal numbers (Box-Muller); the same for the same seed. */
export function normalStream(seed: number): () => number {
  const uniform = uniformStream(seed);
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Share of a standard normal distribution below z, to about 1e-15 (Marsaglia 2004's series; |z| ≤ 7). */
export function normalCdf(z: number): number {
  let sum = z;
  let term = z;
  for (let i = 3; sum + term !== sum; i += 2) {
    term *= (z * z) / i;
    sum += term;
  }
  return 0.5 + (sum * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI);
}

/** `count` draws. */
export function draws(count: number, draw: () => number): number[] {
  return Array.from({ length: count }, draw);
}
