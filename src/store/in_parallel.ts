/**
 * Does the work for every item, at most `limit` at a time, begun in the order of the items.
 *
 * @returns the results in the order of the items
 * @throws the first failure (in time), after everything already begun has ended and without beginning anything more
 */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results = new Array<Result>(items.length);
  const failures: unknown[] = [];
  let next = 0;
  async function workThrough(): Promise<void> {
    while (next < items.length && failures.length === 0) {
      const turn = next++;
      try {
        results[turn] = await work(items[turn] as Item);
      } catch (error) {
        failures.push(error);
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, workThrough));
  if (failures.length > 0) throw failures[0];
  return results;
}
