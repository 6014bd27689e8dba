import {
  copyFile,
  link,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeGeneration, encodeGeneration } from '../../src/store/generation_file.ts';
import { encodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore, type ModelStore } from '../../src/store/model_store.ts';
import type { ModelPlace } from '../../src/store/places.ts';
import { predecessorNpz } from './predecessor_files.ts';
import { someMemory } from './some_memory.ts';

const key = { recipeId: 'default', modelKey: 'b', roleId: 'a', roiId: 'b' };

let modelsDir = '';
let store: ModelStore;
let place: ModelPlace;
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-generations-'));
  store = createModelStore(modelsDir, { quietMs: 0, now: () => new Date('2026-01-02T03:04:05.678Z') });
  place = store.ownPlace(key);
});
afterEach(() => rm(modelsDir, { recursive: true }));

const learn = async (memory: number, of = store) =>
  (await of.stageEncodedMemory(key, encodeMemory(someMemory(memory)))).commit();

async function calibrate(threshold: number): Promise<void> {
  await store.writeCalibration(place, { threshold, memory_id: (await store.readMemory(place)).memoryId });
}

async function bound(of = store) {
  const { stamp, memoryId, metadata } = await of.readMemory(place);
  const { generation, calibration } = await of.generations.boundTo(place, {
    stamp,
    memoryId,
    generation: metadata.generation ?? 1,
  });
  const own = calibration?.memory_id === memoryId;
  return { memory: metadata.generation, generation, threshold: own ? calibration?.threshold : undefined };
}

const folder = () => join(place.folder, 'generations', place.base);
const kept = async () =>
  (await store.generations.list(place)).map(({ generation, live }) => `${generation}${live ? ' live' : ''}`);

describe('generations', () => {
  it('are kept up to three, the live one among them, each with its own calibration', async () => {
    for (const memory of [1, 2, 3, 4]) {
      await learn(memory);
      await calibrate(memory / 10);
    }
    expect(await kept()).toEqual(['4 live', '3', '2']);
    expect(await bound()).toEqual({ memory: 4, generation: 4, threshold: 0.4 });
    await store.generations.rollBack(place, 2);
    expect(await bound()).toEqual({ memory: 2, generation: 2, threshold: 0.2 });
    expect(await kept()).toEqual(['4', '3', '2 live']);
    // For the predecessor, who looks beside the memory only.
    expect(JSON.parse(await readFile(place.calibrationPath, 'utf8'))).toMatchObject({ threshold: 0.2 });
  });

  it('never give a number twice, after a rollback neither, and never prune the live one', async () => {
    const few = createModelStore(modelsDir, { keep: 1 });
    for (const memory of [1, 2, 3]) await learn(memory);
    await store.generations.rollBack(place, 1);
    const read = await store.readMemory(place);
    const { own, next } = await store.generations.numbersOf(place, { ...read, generation: 1 });
    expect([own, next]).toEqual([1, 4]);
    await learn(4, few);
    expect(await kept()).toEqual(['4 live']);
    // A file that says a number which was given before gets the next one.
    await learn(2);
    expect(await bound()).toMatchObject({ memory: 2, generation: 5 });
  });

  it('take no room of their own where the file system has hard links', async () => {
    await learn(1);
    expect((await stat(place.npzPath)).ino).toBe((await stat(join(folder(), '1', 'memory.npz'))).ino);
  });

  it('are found again by all their bytes where the live file is a copy, as after a restored backup', async () => {
    await learn(1);
    await calibrate(0.1);
    await learn(2);
    await calibrate(0.2);
    await rm(place.calibrationPath);
    for (const [memory, threshold] of [
      [1, 0.1],
      [2, 0.2],
    ] as const) {
      await rm(place.npzPath);
      await copyFile(join(folder(), `${memory}`, 'memory.npz'), place.npzPath);
      await utimes(place.npzPath, memory, memory);
      for (let again = 0; again < 2; again++) expect(await bound()).toEqual({ memory, generation: memory, threshold });
    }
    await calibrate(0.3);
    expect(await kept()).toEqual(['2 live', '1']);
    // Known by its stamp from now on.
    const { npz_stamp: stamp } = (await store.generations.list(place))[0] ?? {};
    expect(stamp).toBe((await store.address(place))?.stamp);
  });

  it('of a memory that was found there begin with the next change, its calibration with it', async () => {
    await writeFile(place.npzPath, predecessorNpz(0));
    await writeFile(place.calibrationPath, '{"threshold":0.7}');
    const read = await store.readMemory(place);
    const asked = { ...read, generation: 1 };
    expect(await store.generations.boundTo(place, asked)).toEqual({ generation: 1, calibration: { threshold: 0.7 } });
    expect(await store.generations.list(place)).toEqual([]);
    await learn(2);
    expect(await store.generations.list(place)).toMatchObject([
      { generation: 2, made_by: 'fit', calibration: null },
      { generation: 1, made_by: 'found', calibration: { threshold: 0.7 } },
    ]);
    await store.generations.rollBack(place, 1);
    expect(await readFile(place.npzPath)).toEqual(Buffer.from(predecessorNpz(0)));
    expect(await readFile(place.calibrationPath, 'utf8')).toContain('0.7');
  });

  it('do not lend their calibration to a memory that someone put in their place', async () => {
    await learn(1);
    await calibrate(0.1);
    // As numpy writes: into the file that is there, which the generation shares.
    await writeFile(place.npzPath, encodeMemory(someMemory(7)).npz);
    expect(await bound()).toEqual({ memory: 7, generation: 7, threshold: undefined });
    await calibrate(0.7);
    expect(await bound()).toEqual({ memory: 7, generation: 7, threshold: 0.7 });
    // With the same stamp, as on a file system of coarse times.
    const touch = () => utimes(place.npzPath, 1000, 1000);
    await touch();
    await calibrate(0.7);
    await writeFile(place.npzPath, encodeMemory(someMemory(8)).npz);
    await touch();
    expect(await bound()).toEqual({ memory: 8, generation: 8, threshold: undefined });
    await writeFile(place.npzPath, encodeMemory(someMemory(7)).npz);
    // What lay in the shared file is lost; what is left of the generation is not restored.
    await expect(store.generations.rollBack(place, 1)).rejects.toMatchObject({ code: 'damaged_file' });
    expect(await bound()).toEqual({ memory: 7, generation: 7, threshold: 0.7 });
  });

  it('that are not kept are named with those that are', async () => {
    await learn(1);
    await learn(2);
    const refused = store.generations.rollBack(place, 9);
    await expect(refused).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('kept are 1, 2'),
    });
    expect(await bound()).toMatchObject({ generation: 2 });
  });

  it('refuse a calibration made for a memory that is live no more', async () => {
    const { stamp } = await learn(1);
    await learn(2);
    const late = store.writeCalibration(place, { threshold: 1 }, stamp);
    await expect(late).rejects.toMatchObject({ code: 'not_ready' });
    expect(await store.readCalibration(place)).toBeUndefined();
  });

  it('take over a calibration that an okng without generations wrote beside the memory', async () => {
    await learn(1);
    const { memoryId } = await store.readMemory(place);
    await writeFile(place.calibrationPath, JSON.stringify({ threshold: 0.6, memory_id: memoryId }));
    expect(await bound()).toMatchObject({ threshold: 0.6 });
    await learn(2);
    await store.generations.rollBack(place, 1);
    expect(await bound()).toMatchObject({ generation: 1, threshold: 0.6 });
  });
});

describe('a damaged record', () => {
  const damage = async () => {
    const path = join(folder(), '1', 'generation.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('"threshold": 0.1', '"threshold": 0.9'));
  };

  it('is not believed: the copy beside the memory counts, and without one nobody is judged', async () => {
    await learn(1);
    await calibrate(0.1);
    await damage();
    expect(await bound()).toMatchObject({ threshold: 0.1 });
    await rm(place.calibrationPath);
    await expect(bound()).rejects.toMatchObject({ code: 'damaged_file', message: expect.stringContaining('checksum') });
  });

  it('is mended by a calibration', async () => {
    await learn(1);
    await calibrate(0.1);
    await damage();
    await calibrate(0.4);
    expect(await bound()).toEqual({ memory: 1, generation: 2, threshold: 0.4 });
  });

  it('is told from a good one in every byte', () => {
    const record = {
      generation: 1,
      made_by: 'fit' as const,
      created_at_utc: 'c',
      live_since_utc: null,
      memory_id: 'm',
      npz_bytes: 1,
      npz_sha256: 's',
      npz_stamp: 't',
      calibration: { threshold: 1, note: 'kept' },
    };
    const good = encodeGeneration(record);
    expect(decodeGeneration(good, 'g')).toEqual(record);
    const text = Buffer.from(good).toString();
    for (const [at, letter] of [...text].entries()) {
      if (/\s/.test(letter)) continue;
      const other = text.slice(0, at) + (letter === 'x' ? 'y' : 'x') + text.slice(at + 1);
      expect(() => decodeGeneration(Buffer.from(other), 'g'), `${at}`).toThrow(/'g' is damaged/);
    }
  });
});

describe('replaceDamaged', () => {
  const stampNow = async () => (await store.address(place))?.stamp ?? '';
  const names = async () => (await readdir(folder())).sort();

  it('lets the newest good generation answer and keeps what was damaged, by a name with the time', async () => {
    await learn(1);
    await calibrate(0.1);
    await learn(2);
    await learn(3);
    await writeFile(join(folder(), '2', 'memory.npz'), 'rotten');
    await writeFile(place.npzPath, 'torn');
    expect(await store.generations.replaceDamaged(place, await stampNow())).toEqual({ generation: 1 });
    expect(await bound()).toEqual({ memory: 1, generation: 1, threshold: 0.1 });
    expect(await names()).toEqual(['1', 'damaged-2-20260102T030405678Z', 'damaged-3-20260102T030405678Z']);
    expect(await readFile(join(folder(), 'damaged-3-20260102T030405678Z', 'memory.npz'), 'utf8')).toBe('torn');
    // Their numbers were told in answers.
    await learn(2);
    expect(await bound()).toMatchObject({ generation: 4 });
  });

  it('restores the very memory when only the live file was hit', async () => {
    await learn(1);
    await calibrate(0.1);
    await writeFile(join(modelsDir, 'torn'), 'torn');
    await rename(join(modelsDir, 'torn'), place.npzPath);
    expect(await store.generations.replaceDamaged(place, await stampNow())).toEqual({ generation: 1 });
    expect(await bound()).toEqual({ memory: 1, generation: 1, threshold: 0.1 });
    expect(await names()).toEqual(['1', 'damaged-20260102T030405678Z.npz', 'damaged-20260102T030405678Z_calib.json']);
  });

  it('changes nothing without a good one', async () => {
    await learn(1);
    await writeFile(place.npzPath, 'torn');
    expect(await store.generations.replaceDamaged(place, await stampNow())).toBe('no_good_one');
    expect(await readFile(place.npzPath, 'utf8')).toBe('torn');
    expect(await names()).toEqual(['1']);
  });

  it('touches no memory that can be read, or that is another one by now', async () => {
    await learn(1);
    await learn(2);
    expect(await store.generations.replaceDamaged(place, await stampNow())).toBe('changed');
    expect(await store.generations.replaceDamaged(place, 'of before')).toBe('changed');
    expect(await bound()).toMatchObject({ generation: 2 });
  });

  it('waits for one that is still being written', async () => {
    const patient = createModelStore(modelsDir, { quietMs: 400 });
    await learn(1);
    await learn(2);
    const whole = await readFile(place.npzPath);
    await unlink(place.npzPath);
    await writeFile(place.npzPath, whole.subarray(0, 100));
    const replaced = patient.generations.replaceDamaged(place, await stampNow());
    await sleep(100);
    await writeFile(place.npzPath, whole);
    expect(await replaced).toBe('changed');
    expect(await bound()).toMatchObject({ memory: 2 });
  });
});

it('sweeps what killed processes left among the generations', async () => {
  await learn(1);
  await link(place.npzPath, join(folder(), '.tmp-a'));
  await link(place.npzPath, join(folder(), '1', '.tmp-b'));
  await writeFile(join(place.folder, `.tmp-lock-${place.base}`), 'left');
  expect(await store.removeStaleTemps(Date.now() + 1000, 0)).toBe(3);
  expect(await readdir(join(folder(), '1'))).toEqual(['generation.json', 'memory.npz']);
  expect((await store.list()).map(({ place: { base } }) => base)).toEqual([basename(place.npzPath, '.npz')]);
});
