import { basename } from 'node:path';
import { InspectionError } from '../errors.ts';
import { createMatrix, type Matrix } from '../patchcore/matrix.ts';
import { errnoOf, storageError } from './atomic_write.ts';
import { type DiskFile, disk } from './disk.ts';
import { inParallel } from './in_parallel.ts';
import type { StoredMemory } from './model_memory.ts';
import { stampText } from './stored_file.ts';

/** Rows as near as this are read by one call, with what lies between them: a call takes as long as that. */
const nearBytes = 32 * 1024;
/** Of one call, unless one row is longer. */
const pieceBytes = 512 * 1024;
const callsAtOnce = 4;

/** The bank of a memory in its open file: whoever replaces the file meanwhile does not change what is read here. */
export interface BankRows {
  /**
   * @param rows ascending, each once
   * @returns those rows in their order
   * @throws InspectionError `storage_unavailable`; `not_ready` when someone has cut the file short in place
   */
  read(rows: Int32Array): Promise<Matrix>;
  /** To be called when nothing is being read. */
  close(): Promise<void>;
}

/**
 * Opens the file that a memory was read from, to read its rows again.
 *
 * @returns null where the rows do not lie in the file as they are in memory (deflated, of another type, not at a multiple of 4
 *   bytes), where the file has been replaced since or no more files can be open, and on Windows, where an open file could not be
 *   replaced by the next fit
 * @throws InspectionError `storage_unavailable`
 */
export async function openBankRows(
  npzPath: string,
  { bank: { cols }, bankAt, stamp }: Pick<StoredMemory, 'bank' | 'bankAt' | 'stamp'>,
): Promise<BankRows | null> {
  if (bankAt === null || process.platform === 'win32') return null;
  let file: DiskFile | undefined;
  try {
    file = await disk.open(npzPath, 'r');
    if (stampText(await file.stat({ bigint: true })) === stamp) {
      return bankRows(file, { cols, at: bankAt }, basename(npzPath));
    }
    await file.close();
    return null;
  } catch (error) {
    await file?.close();
    if (['ENOENT', 'EMFILE', 'ENFILE'].includes(errnoOf(error) ?? '')) return null;
    throw storageError(error);
  }
}

interface BankPlace {
  readonly cols: number;
  /** Where its first row begins. */
  readonly at: number;
}

function bankRows(file: DiskFile, { cols, at }: BankPlace, fileName: string): BankRows {
  const rowBytes = 4 * cols;
  return {
    read: async (rows) => {
      const data = new Float32Array(rows.length * cols);
      await inParallel(pieces(rows, rowBytes), callsAtOnce, async ({ start, end }) => {
        const first = rows[start] as number;
        const bytes = new Uint8Array(((rows[end - 1] as number) + 1 - first) * rowBytes);
        await readAll(file, bytes, at + first * rowBytes, fileName);
        for (let i = start; i < end; i++) {
          const row = new Float32Array(bytes.buffer, ((rows[i] as number) - first) * rowBytes, cols);
          data.set(row, i * cols);
        }
      });
      return createMatrix(rows.length, cols, data);
    },
    close: () => file.close(),
  };
}

/** From which of `rows` to which (that one not among them) one call reads. */
function pieces(rows: Int32Array, rowBytes: number): { readonly start: number; readonly end: number }[] {
  const found: { start: number; end: number }[] = [];
  let piece: { start: number; end: number } | undefined;
  for (const [i, row] of rows.entries()) {
    const isNear =
      piece !== undefined &&
      (row - (rows[i - 1] as number) - 1) * rowBytes <= nearBytes &&
      (row + 1 - (rows[piece.start] as number)) * rowBytes <= pieceBytes;
    if (piece === undefined || !isNear) {
      piece = { start: i, end: i };
      found.push(piece);
    }
    piece.end = i + 1;
  }
  return found;
}

async function readAll(file: DiskFile, bytes: Uint8Array, at: number, fileName: string): Promise<void> {
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, at + filled).catch((error: unknown) => {
      throw storageError(error);
    });
    if (bytesRead === 0) {
      throw new InspectionError(
        'not_ready',
        `The stored file '${fileName}' became shorter while its memory was in use: something other than okng writes in the models folder. Stop it and try again.`,
      );
    }
    filled += bytesRead;
  }
}
