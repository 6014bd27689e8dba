import { mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { selectRows } from '../../src/patchcore/matrix.ts';
import { type BankRows, openBankRows } from '../../src/store/bank_rows.ts';
import { encodeMemory, readModelMemory, type StoredMemory } from '../../src/store/model_memory.ts';
import { encodeNpz } from '../../src/store/npz.ts';
import { patchRows } from '../bench/subjects/patch_rows.ts';
import { type DiskCall, leaveDisk, openFiles, watchDisk } from './disk_calls.ts';
import { packedNpz } from './packed_npz.ts';
import { axisBank, someMemory } from './some_memory.ts';

let folder = '';
let path = '';
let memory: StoredMemory;
let rows: BankRows | null = null;
let reads: DiskCall[] = [];

async function open(): Promise<BankRows> {
  rows = await openBankRows(path, memory);
  return rows as BankRows;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'okng-rows-'));
  path = join(folder, 'a.npz');
  const bank = patchRows(3000, 96, 1) as ReturnType<typeof axisBank>;
  writeFileSync(path, encodeMemory({ ...someMemory(1), bank }).npz);
  memory = await readModelMemory(path);
  reads = [];
  watchDisk((call) => {
    if (call.name === 'read') reads.push(call);
    return undefined;
  });
});
afterEach(async () => {
  await rows?.close();
  rows = null;
  expect(openFiles()).toBe(0);
  leaveDisk();
  rmSync(folder, { recursive: true });
});

describe('the rows of a stored bank', () => {
  it('are those that were in memory, whichever are asked for', async () => {
    const bank = await open();
    const some = fc
      .tuple(fc.array(fc.nat(2999), { maxLength: 60 }), fc.nat(2999), fc.nat(100))
      .map(([far, first, near]) => [...far, ...Array.from({ length: near }, (_, i) => Math.min(2999, first + i))])
      .map((numbers) => Int32Array.from(new Set(numbers)).sort());
    await fc.assert(
      fc.asyncProperty(some, async (wanted) => {
        expect(await bank.read(wanted)).toEqual(selectRows(memory.bank, wanted));
      }),
      { numRuns: 25 },
    );
    expect((await bank.read(Int32Array.from({ length: 3000 }, (_, i) => i))).data).toEqual(memory.bank.data);
  });

  it('are read by one call as long as they lie near each other, and half a MiB by one call', async () => {
    const bank = await open();
    await bank.read(Int32Array.of(10, 11, 12, 14, 90));
    expect(reads).toHaveLength(1);
    await bank.read(Int32Array.of(10, 11, 500, 501, 2999));
    expect(reads).toHaveLength(1 + 3);
    await bank.read(Int32Array.from({ length: 3000 }, (_, i) => i));
    expect(reads).toHaveLength(4 + Math.ceil((3000 * 96 * 4) / 2 ** 19));
  });

  it('are those of the file that was read, though it is replaced or removed meanwhile', async () => {
    const bank = await open();
    writeFileSync(join(folder, 'b.npz'), encodeMemory(someMemory(2, 3000, 96)).npz);
    renameSync(join(folder, 'b.npz'), path);
    expect(await bank.read(Int32Array.of(5, 2000))).toEqual(selectRows(memory.bank, [5, 2000]));
    rmSync(path);
    expect(await bank.read(Int32Array.of(7, 2500))).toEqual(selectRows(memory.bank, [7, 2500]));
  });

  it('are not those of a file that has taken its place before', async () => {
    const bytes = readFileSync(path);
    writeFileSync(join(folder, 'b.npz'), bytes);
    renameSync(join(folder, 'b.npz'), path);
    expect(await openBankRows(path, memory)).toBeNull();
    rmSync(path);
    expect(await openBankRows(path, memory)).toBeNull();
  });

  it('cannot be read where they do not lie as they do in memory', async () => {
    const arrays = {
      token_h: { dtype: 'int64' as const, shape: [], data: BigInt64Array.of(2n) },
      token_w: { dtype: 'int64' as const, shape: [], data: BigInt64Array.of(3n) },
    };
    const { data } = axisBank(6, 16, 0);
    const shape = [6, 16];
    const kinds = {
      float64: encodeNpz({ emb: { dtype: 'float64', shape, data: Float64Array.from(data) }, ...arrays }),
      packed: packedNpz(encodeNpz({ emb: { dtype: 'float32', shape, data }, ...arrays })),
    };
    for (const [kind, bytes] of Object.entries(kinds)) {
      writeFileSync(path, bytes);
      const stored = await readModelMemory(path);
      expect(stored.bank.data, kind).toEqual(data);
      expect(stored.bankAt, kind).toBeNull();
      expect(await openBankRows(path, stored), kind).toBeNull();
    }
  });

  it.each([
    ['storage_unavailable', () => watchDisk(({ name }) => failOn(name, 'read'))],
    ['not_ready', () => truncateSync(path, 100_000)],
  ])('are told as %s when they cannot be read, by the name of the file', async (code, spoil) => {
    const bank = await open();
    spoil();
    const error = await bank.read(Int32Array.of(2999)).catch((caught: Error) => caught);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).not.toContain(folder);
  });

  it.each(['open', 'stat'] as const)('are told as storage_unavailable when %s fails', async (failing) => {
    watchDisk(({ name }) => failOn(name, failing));
    await expect(openBankRows(path, memory)).rejects.toMatchObject({ code: 'storage_unavailable' });
  });

  it.each(['EMFILE', 'ENFILE'])('are not asked for where no more files can be open (%s)', async (code) => {
    watchDisk(({ name }) => failOn(name, 'open', code));
    expect(await openBankRows(path, memory)).toBeNull();
  });
});

function failOn(name: string, failing: string, code = 'EIO'): undefined {
  if (name === failing) throw Object.assign(new Error(code), { code });
}
