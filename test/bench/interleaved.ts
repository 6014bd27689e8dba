import { setImmediate } from 'node:timers/promises';

export interface Turns {
  readonly repetitions: number;
  /** Rounds before the first that counts; none before a single repetition, which only shows that the work works. */
  readonly warmup?: number;
  readonly signal: AbortSignal;
}

type Works = Readonly<Record<string, () => Promise<unknown>>>;

/**
 * Does several pieces of work in turn, A B C A B C …, so that a machine that speeds up or slows down does so for all of
 * them.
 *
 * @returns of each piece what it gave, one per repetition
 * @throws the signal's reason, before the next piece of work
 */
export async function interleaved<W extends Works>(
  works: W,
  { repetitions, warmup = 1, signal }: Turns,
): Promise<{ readonly [K in keyof W]: readonly Awaited<ReturnType<W[K]>>[] }> {
  const results = Object.entries(works).map(([name, work]) => ({ name, work, given: [] as unknown[] }));
  for (let round = repetitions === 1 ? 0 : -warmup; round < repetitions; round++) {
    for (const { work, given } of results) {
      // Lets a Ctrl-C in between works that never wait.
      await setImmediate();
      signal.throwIfAborted();
      const result = await work();
      if (round >= 0) given.push(result);
    }
  }
  const entries = results.map(({ name, given }) => [name, given]);
  return Object.fromEntries(entries) as { [K in keyof W]: Awaited<ReturnType<W[K]>>[] };
}

/** The work's milliseconds instead of its result. */
export function timed(work: () => unknown): () => Promise<number> {
  return async () => {
    const started = performance.now();
    await work();
    return performance.now() - started;
  };
}
