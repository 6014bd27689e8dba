import { type DistinctRows, distinctPart } from './distinct_rows.ts';
import { beginQuery, compare, endQuery, type Ranking } from './exact_ranking.ts';
import type { StoredRows } from './neighbors.ts';

/** Of the rows that wait, unless one row is longer. */
const mostBytes = 8 * 1024 * 1024;
const mostPairs = 2 ** 17;

/** Candidates whose rows are not in memory: they wait until many can be read together. */
export interface StoredCandidates {
  /**
   * One query after the other; each distinct row once for a query.
   *
   * @returns whether so many wait that they must be ranked before the next one
   */
  add(query: number, row: number): boolean;
  /** Reads the rows that wait and ranks them. */
  rank(): Promise<void>;
  /** The same for the last ones, whose query is complete with them. */
  end(): Promise<void>;
}

/** @param bank where its distinct rows stood, by which `stored` knows them */
export function storedCandidates(
  ranking: Ranking,
  bank: Pick<DistinctRows, 'places' | 'starts'>,
  stored: StoredRows,
): StoredCandidates {
  const mostRows = Math.max(1, Math.floor(mostBytes / (4 * ranking.queries.cols)));
  // Query, row, query, row and so on.
  const pairs: number[] = [];
  const rows: number[] = [];
  const isWaiting = new Uint8Array(bank.starts.length);
  const placeOf = new Int32Array(bank.starts.length);
  let current = -1;
  const rank = async (): Promise<void> => {
    const distinct = Int32Array.from(rows).sort();
    const matrix = await stored.read(distinct.map((row) => bank.places[bank.starts[row] as number] as number));
    const part = distinctPart(bank, distinct, matrix);
    for (const [place, row] of distinct.entries()) placeOf[row] = place;
    for (let i = 0; i < pairs.length; i += 2) {
      const [query, row] = [pairs[i] as number, pairs[i + 1] as number];
      if (query !== current) {
        if (current >= 0) endQuery(ranking, current);
        beginQuery(ranking);
        current = query;
      }
      compare(ranking, part, query, placeOf[row] as number);
    }
    for (const row of rows) isWaiting[row] = 0;
    pairs.length = 0;
    rows.length = 0;
  };
  return {
    add: (query, row) => {
      pairs.push(query, row);
      if (isWaiting[row] === 0) rows.push(row);
      isWaiting[row] = 1;
      return pairs.length === 2 * mostPairs || rows.length === mostRows;
    },
    rank,
    end: async () => {
      await rank();
      if (current >= 0) endQuery(ranking, current);
    },
  };
}
