import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Matrix, UnitRowMatrix } from '../../../src/patchcore/matrix.ts';
import { type BankRows, openBankRows } from '../../../src/store/bank_rows.ts';
import { fileStamp } from '../../../src/store/stored_file.ts';

/** A bank's rows in an open file, which has no name any more: however the benchmark ends, nothing stays behind. */
export async function bankFile(bank: Matrix): Promise<BankRows | null> {
  const folder = mkdtempSync(join(tmpdir(), 'okng-bench-'));
  try {
    const path = join(folder, 'bank');
    writeFileSync(path, bank.data);
    const stamp = (await fileStamp(path)) as string;
    return await openBankRows(path, { bank: bank as UnitRowMatrix, bankAt: 0, stamp });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
