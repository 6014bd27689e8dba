/** Runs work under the same name one after the other, work under other names beside it. */
export interface Turns {
  take<T>(name: string, work: () => Promise<T>): Promise<T>;
}

/** In this process only; processes that share a models folder are kept apart by the lock of each model's files. */
export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>();
  return {
    take: async (name, work) => {
      const before = last.get(name) ?? Promise.resolve();
      const mine = before.then(work, work);
      last.set(name, mine);
      try {
        return await mine;
      } finally {
        if (last.get(name) === mine) last.delete(name);
      }
    },
  };
}
