import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createMatrix } from '../../src/patchcore/matrix.ts';
import { encodeMemory } from '../../src/store/model_memory.ts';
import { type BankSettings, createBankSteps } from '../../src/workers/bank_steps.ts';
import type { ExtractedPicture } from '../../src/workers/extracted_picture.ts';
import { leaveDisk, openFiles, watchDisk } from '../store/disk_calls.ts';
import { someMemory } from '../store/some_memory.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-banks-'));
afterAll(() => rmSync(folder, { recursive: true }));

const settings: BankSettings = { threads: 1, bankCacheBytes: 1e9, neighbors: 'onnx' };
const grid = { rows: 1, cols: 2 };

function writeMemory(name: string) {
  const path = join(folder, name);
  writeFileSync(path, encodeMemory({ ...someMemory(1, 4, 3), grid }).npz);
  return { path, stamp: '' };
}

function extracted(...numbers: readonly number[]): ExtractedPicture {
  return {
    embeddings: createMatrix(2, numbers.length / 2, Float32Array.from(numbers)),
    grid,
    cells: Int32Array.of(0, 1),
    extractorName: 'faulty',
    extractMs: 0,
  };
}

describe('a search', () => {
  it('tells the distance of every patch, whatever its length', async () => {
    const steps = createBankSteps(settings);
    const { distances } = await steps.search(extracted(0, 5, 0, 0.1, -0.1, 0), writeMemory('a.npz'));
    // Rows along axes 1, 2, 0, 1: the second patch lies 45 degrees from the nearest.
    expect(distances[0]).toBeCloseTo(0, 6);
    expect(distances[1]).toBeCloseTo(2 * Math.sin(Math.PI / 8), 6);
    await steps.dispose();
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('judges no picture with %d among its numbers', async (number) => {
    const steps = createBankSteps(settings);
    await expect(steps.search(extracted(0, 1, 0, 0, number, 1), writeMemory('a.npz'))).rejects.toMatchObject({
      code: 'not_a_number',
      message: expect.stringContaining('The extractor faulty gives numbers'),
    });
    await steps.dispose();
  });

  it('refuses embeddings of another width', async () => {
    const steps = createBankSteps(settings);
    await expect(steps.search(extracted(0, 1, 0, 1), writeMemory('a.npz'))).rejects.toMatchObject({
      code: 'extractor_mismatch',
    });
    await steps.dispose();
  });
});

it('keeps no more than 256 files open, however many memories are asked for', async () => {
  watchDisk(() => undefined);
  const steps = createBankSteps({ ...settings, neighbors: 'onnx_int8' });
  for (let i = 0; i < 300; i++) await steps.describe(writeMemory(`${i}.npz`));
  expect(openFiles()).toBe(256);
  await steps.dispose();
  expect(openFiles()).toBe(0);
  leaveDisk();
});
