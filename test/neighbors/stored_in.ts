import type { StoredRows } from '../../src/neighbors/neighbors.ts';
import { type Matrix, selectRows } from '../../src/patchcore/matrix.ts';

/** Rows that stay in memory, for an engine that reads them. */
export function storedIn(bank: Matrix): StoredRows {
  return { read: async (rows) => selectRows(bank, rows), close: async () => undefined };
}
