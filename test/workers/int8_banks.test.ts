import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ExtractorInfo } from '../../src/extractors/extractor.ts';
import { encodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore, type MemoryAddress } from '../../src/store/model_store.ts';
import { createBankSteps } from '../../src/workers/bank_steps.ts';
import { inlineVision } from '../../src/workers/inline_vision.ts';
import { threadedVision } from '../../src/workers/threaded_vision.ts';
import type { Vision } from '../../src/workers/vision.ts';
import { heldBytes } from '../held_bytes.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { leaveDisk, openFiles, watchDisk } from '../store/disk_calls.ts';
import { packedNpz } from '../store/packed_npz.ts';
import { axisBank, someMemory } from '../store/some_memory.ts';
import type { PatchedPicture } from './all_patches.ts';
import { copyOf, drawOrder, embedPart, fitOrder, type VisionSettings, visionSettings } from './conformance.ts';

/** Banks of which only int8 is in memory, in the steps that search them. */

const modelsDir = mkdtempSync(join(tmpdir(), 'okng-int8-'));
const models = createModelStore(modelsDir);
const key = { recipeId: 'default', modelKey: 'm', roleId: 'r', roiId: 'o' };
const [bad] = partPictures('test/dent') as [PartPicture];
let settings: VisionSettings;
let info: ExtractorInfo;
let patches: PatchedPicture[];

beforeAll(async () => {
  ({ settings, info } = await visionSettings(modelsDir));
  const vision = inlineVision(settings);
  patches = [];
  for (const picture of partPictures('train/good')) patches.push(await embedPart(vision, picture));
  await vision.close();
});
afterAll(() => rmSync(modelsDir, { recursive: true }));

const withInt8 = (): VisionSettings => ({ ...settings, banks: { ...settings.banks, neighbors: 'onnx_int8' } });

/** A model of the first so many good pictures. */
async function learn(vision: Vision, pictures: number): Promise<MemoryAddress> {
  const { encoded } = await vision.fit(fitOrder(patches.slice(0, pictures), 0.1, info));
  const { place } = await (await models.stageEncodedMemory(key, encoded)).commit();
  return (await models.address(place)) as MemoryAddress;
}

/** What is told of the bad picture, but for the times. */
async function inspect(vision: Vision, address: MemoryAddress) {
  const prepared = await vision.prepare(...copyOf(bad));
  const { extractMs: _e, searchMs: _s, ...measured } = await vision.measure(prepared, address, { matches: true });
  const drawing = await vision.draw(drawOrder(prepared, measured, { threshold: 0.1 }));
  return { ...measured, score: drawing.score, regions: drawing.regions };
}

describe('a model inspected with onnx_int8', () => {
  it.each([
    ['inline', inlineVision],
    [
      'in threads',
      (given: VisionSettings) =>
        threadedVision({ ...given, networkWorkers: 1, threadsAlone: null, bankWorkers: 1, pixelWorkers: 1 }),
    ],
  ])('gives the score, the regions and the matches of onnx, positions and all: %s', async (_, open) => {
    const [plain, int8] = [open(settings), open(withInt8())];
    const address = await learn(plain, patches.length);
    expect((await plain.describe(address)).positionWeight).toBeGreaterThan(0);
    const expected = await inspect(plain, address);
    expect(expected.regions.length).toBeGreaterThan(0);
    expect(await inspect(int8, address)).toEqual(expected);
    await plain.close();
    await int8.close();
  });

  it('answers from the memory that was asked for, though another takes its place, and closes what it opened', async () => {
    watchDisk(() => undefined);
    const [plain, int8] = [inlineVision(settings), inlineVision(withInt8())];
    const first = await learn(plain, 2);
    const expected = await inspect(plain, first);
    expect(await inspect(int8, first)).toEqual(expected);
    expect(openFiles()).toBe(1);
    const second = await learn(plain, 3);
    expect(second.path).toBe(first.path);
    expect(await inspect(int8, first)).toEqual(expected);
    const other = await inspect(plain, second);
    expect(other.score).not.toBe(expected.score);
    expect(await inspect(int8, second)).toEqual(other);
    expect(openFiles()).toBe(1);
    await plain.close();
    await int8.close();
    expect(openFiles()).toBe(0);
    leaveDisk();
  });

  it('keeps a packed memory as it is, and answers the same', async () => {
    const [plain, int8] = [inlineVision(settings), inlineVision(withInt8())];
    const address = await learn(plain, 2);
    const { path } = address;
    const expected = await inspect(plain, address);
    writeFileSync(`${path}.new`, packedNpz(readFileSync(path)));
    renameSync(`${path}.new`, path);
    expect(await inspect(int8, { path, stamp: 'of the packed file' })).toEqual(expected);
    await plain.close();
    await int8.close();
  });
});

it('let go of the file that a bank was read from', async () => {
  const path = join(modelsDir, 'large.npz');
  const { bankBytes, positionBytes } = writeLargeMemory(path);
  const steps = createBankSteps({ ...withInt8().banks, bankCacheBytes: 1e9 });
  const before = await heldBytes();
  await steps.describe({ path, stamp: '' });
  const held = (await heldBytes()) - before;
  expect(held).toBeLessThan(0.28 * bankBytes + 1.1 * positionBytes);
  expect(held).toBeGreaterThan(0.25 * bankBytes + positionBytes);
  await steps.dispose();
});

/** 20,000 rows, none like another, and positions. */
function writeLargeMemory(path: string): { readonly bankBytes: number; readonly positionBytes: number } {
  const [rows, cols] = [20_000, 256];
  const grid = { rows: 32, cols: 32 };
  const bank = axisBank(rows, cols, 0);
  for (let row = 0; row < rows; row++) bank.data[row * cols + ((row + 1) % cols)] = (1e-3 * row) / rows;
  const position = {
    grid,
    rows: axisBank(2048, cols, 1),
    starts: Int32Array.from({ length: 1025 }, (_, cell) => 2 * cell),
    picture: new Int32Array(2048),
    weight: 0.5,
  };
  writeFileSync(path, encodeMemory({ ...someMemory(1), grid, bank, position }).npz);
  return { bankBytes: bank.data.byteLength, positionBytes: position.rows.data.byteLength };
}
