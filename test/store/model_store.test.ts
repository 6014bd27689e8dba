import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decodeFlatL2 } from '../../src/store/faiss_file.ts';
import { encodeMemory, readModelMemory } from '../../src/store/model_memory.ts';
import { createModelStore, type ModelStore } from '../../src/store/model_store.ts';
import { encodeNpz } from '../../src/store/npz.ts';
import { candidatePlaces, type ModelKey } from '../../src/store/places.ts';
import { sameScale } from '../../src/store/recipe_file.ts';
import { pythonWith, runPython } from './python_with.ts';
import { axisBank, someMemory } from './some_memory.ts';

const key: ModelKey = { recipeId: 'line2', modelKey: 'k', roleId: 'Maße', roiId: 'roi 1' };
const atRoot: ModelKey = { ...key, recipeId: 'default', modelKey: 'roi 1' };
const calibration = { threshold: 0.5, p5_ng: null, score_percentile: 99, area_mm2_thr: 1, mm_per_px: 0.2 };

let modelsDir = '';
let store: ModelStore;

beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-models-'));
  store = createModelStore(modelsDir);
});
afterEach(() => rm(modelsDir, { recursive: true }));

async function refit(which: ModelKey, generation: number) {
  return (await store.stageEncodedMemory(which, encodeMemory(someMemory(generation)))).commit();
}

async function generationOf(which: ModelKey): Promise<number | undefined> {
  return (await store.readMemory((await store.locate(which)).place)).metadata.generation;
}

describe('locate', () => {
  it('takes the first place with a memory and keeps to it', async () => {
    const places = candidatePlaces(modelsDir, key);
    expect(await store.locate(key)).toEqual({ place: places[0], hasMemory: false, stamp: undefined });
    // From the last place to the first: each one found hides those behind it.
    const npz = encodeMemory(someMemory(1)).npz;
    for (const place of places.toReversed()) {
      await mkdir(place.folder, { recursive: true });
      await writeFile(place.npzPath, npz);
      expect((await store.locate(key)).place).toEqual(place);
    }
  });

  it('does not take a calibration for a memory, nor a calibration from another place', async () => {
    const [own, , root] = candidatePlaces(modelsDir, key);
    if (own === undefined || root === undefined) throw new Error('too few places');
    await store.writeCalibration(own, calibration);
    expect(await store.locate(key)).toMatchObject({ place: own, hasMemory: false });
    await refit(atRoot, 1);
    const located = await store.locate(key);
    expect(located).toMatchObject({ place: root, hasMemory: true });
    expect(await store.readCalibration(located.place)).toBeUndefined();
  });

  describe('in a folder that the predecessor named with the key as it is', () => {
    const spaced: ModelKey = { ...key, modelKey: 'ROI 1' };
    const raw = (recipe: string, folder = 'ROI 1') => join(modelsDir, 'recipes', recipe, folder);
    const npzIn = (folder: string) => join(folder, 'TWHDn2U__cm9pIDE.npz');
    const put = async (folder: string, generation = 1) => {
      await mkdir(folder, { recursive: true });
      await writeFile(npzIn(folder), encodeMemory(someMemory(generation)).npz);
    };
    const found = async (which = spaced) => (await store.locate(which)).place.npzPath;

    it('finds it, behind our own and before the default recipe’s', async () => {
      await put(raw('default'));
      expect(await found()).toBe(npzIn(raw('default')));
      await put(raw('line2'));
      expect(await found()).toBe(npzIn(raw('line2')));
      // While it answers, a fit goes there.
      expect((await refit(spaced, 2)).place.segments).toEqual(['recipes', 'line2', 'ROI 1']);
      await put(raw('line2', '~Uk9JIDE'), 3);
      expect(await found()).toBe(npzIn(raw('line2', '~Uk9JIDE')));
      expect((await refit(spaced, 4)).place.segments).toEqual(['recipes', 'line2', '~Uk9JIDE']);
      expect((await store.list()).map(({ recipeId, modelKey }) => [recipeId, modelKey])).toEqual(
        ['default', 'line2', 'line2'].map((recipe) => [recipe, 'ROI 1']),
      );
    });

    it('finds it letter for letter only, through no link, and never by a path in the key', async () => {
      await put(raw('line2', 'roi 1'));
      await put(raw('line2', 'other'));
      await put(raw('line2', '~Li4'));
      await symlink(raw('line2', 'other'), raw('line2'));
      for (const modelKey of ['ROI 1', '../line2/other', './other', '~Li4', 'other/'])
        expect(await store.locate({ ...spaced, modelKey }), modelKey).toMatchObject({ hasMemory: false });
    });
  });

  it('tells by the stamp that the memory was replaced', async () => {
    const first = await refit(key, 1);
    expect(await store.locate(key)).toEqual(first);
    expect((await store.readMemory(first.place)).stamp).toBe(first.stamp);
    const second = await refit(key, 2);
    expect(second.stamp).not.toBe(first.stamp);
  });
});

describe('stageEncodedMemory', () => {
  it('writes nothing that answers before the commit', async () => {
    await refit(key, 1);
    const staged = await store.stageEncodedMemory(key, encodeMemory(someMemory(2)));
    expect(await generationOf(key)).toBe(1);
    const located = await staged.commit();
    expect(await generationOf(key)).toBe(2);
    expect((await store.readMemory(located.place)).memoryId).toBe(staged.memoryId);
    expect((await readdir(staged.place.folder)).sort()).toEqual([
      'TWHDn2U__cm9pIDE.npz',
      'TWHDn2U__cm9pIDE_index.faiss',
      'generations',
    ]);
  });

  it('leaves the old model when discarded', async () => {
    await refit(key, 1);
    await (await store.stageEncodedMemory(key, encodeMemory(someMemory(2)))).discard();
    expect(await generationOf(key)).toBe(1);
    expect(await readdir((await store.locate(key)).place.folder)).toHaveLength(3);
  });

  it('never shows a reader half of two memories', async () => {
    await refit(key, 0);
    let done = false;
    const writer = (async () => {
      for (let generation = 1; generation <= 200; generation++) await refit(key, generation);
      done = true;
    })();
    const seen = new Set<number>();
    while (!done) {
      const { metadata, bank } = await store.readMemory((await store.locate(key)).place);
      // The bank tells its generation; decodeMemory has already compared the memory id.
      expect(bank).toEqual(axisBank(12, 16, (metadata.generation ?? -1) % 16));
      seen.add(metadata.generation ?? -1);
    }
    await writer;
    expect(seen.size).toBeGreaterThan(2);
    expect(await generationOf(key)).toBe(200);
  });

  it('leaves the old or the new model when the process is killed', { timeout: 120_000 }, async () => {
    const script = fileURLToPath(new URL('./keep_refitting.ts', import.meta.url));
    let lowest = 1;
    for (let round = 0; round < 20; round++) {
      const child = spawn(process.execPath, ['--import', 'tsx', script, modelsDir, `${lowest}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      let committed = Number((await lines.next()).value);
      expect(committed).toBe(lowest);
      const closed = once(child, 'close');
      // A fit of this size takes about 10 ms here: the moments of the kill spread over staging and commit.
      setTimeout(() => child.kill('SIGKILL'), 1.7 * round);
      for (let line = await lines.next(); line.done !== true; line = await lines.next()) committed = Number(line.value);
      await closed;

      const { place } = await store.locate(key);
      const memory = await store.readMemory(place);
      const generation = memory.metadata.generation ?? -1;
      // What was reported stays; the one under way may have become the answer, or not.
      expect([committed, committed + 1]).toContain(generation);
      expect(memory.bank).toEqual(axisBank(3000, 16, generation % 16));
      const names = await readdir(place.folder);
      if (names.includes(basename(place.indexPath))) {
        expect(decodeFlatL2(await readFile(place.indexPath), '')).toEqual(memory.bank);
      }
      lowest = generation + 1;
    }
    const { place } = await store.locate(key);
    // What lies in temp folders goes with them, at the next change.
    const temps = (await readdir(place.folder, { recursive: true, withFileTypes: true })).filter(
      (entry) => entry.isFile() && entry.name.startsWith('.tmp-') && !entry.parentPath.includes('.tmp-'),
    );
    console.log(`20 kills left ${temps.length} temp files`);
    // Twenty rounds may take minutes on a busy machine; none of what they left is older than an hour.
    expect(await store.removeStaleTemps(Date.now(), 3_600_000)).toBe(0);
    expect(await store.removeStaleTemps(Date.now(), 0)).toBe(temps.length);
    expect((await readdir(place.folder)).some((name) => name.startsWith('.tmp-'))).toBe(false);
  });
});

describe('ensureIndex', () => {
  it('rebuilds an index that is missing, damaged or of another memory, and no other', async () => {
    const { place } = await refit(key, 1);
    const memory = await store.readMemory(place);
    const good = await readFile(place.indexPath);
    const other = encodeMemory(someMemory(2)).index;
    expect(await store.ensureIndex(place, memory)).toBe('good');
    for (const [bytes, state] of [
      [undefined, 'was_missing'],
      [good.subarray(0, 100), 'was_damaged'],
      [new Uint8Array(0), 'was_damaged'],
      [other, 'was_different'],
    ] as const) {
      await (bytes === undefined ? rm(place.indexPath) : writeFile(place.indexPath, bytes));
      expect(await store.ensureIndex(place, memory)).toBe(state);
      expect(await readFile(place.indexPath)).toEqual(good);
    }
  });

  it('does not put an old index beside a new memory', async () => {
    const { place } = await refit(key, 1);
    const old = await store.readMemory(place);
    await refit(key, 2);
    const index = await readFile(place.indexPath);
    expect(await store.ensureIndex(place, old)).toBe('outdated');
    expect(await readFile(place.indexPath)).toEqual(index);
    expect(await readdir(place.folder)).toHaveLength(3);
  });
});

describe('calibration', () => {
  it('comes back as written, keys we do not know included', async () => {
    const { place } = await store.locate(key);
    expect(await store.readCalibration(place)).toBeUndefined();
    await store.writeCalibration(place, { ...calibration, memory_id: 'm', note: 'kept' });
    expect(await store.readCalibration(place)).toEqual({ ...calibration, memory_id: 'm', note: 'kept' });
  });

  it('is never written with NaN', async () => {
    const { place } = await store.locate(key);
    await store.writeCalibration(place, calibration);
    await expect(store.writeCalibration(place, { ...calibration, threshold: Number.NaN })).rejects.toThrow(
      /'threshold' is NaN/,
    );
    await expect(store.writeCalibration(place, { ...calibration, x: [{ y: Infinity }] })).rejects.toThrow(
      /'y' is Infinity/,
    );
    expect(await store.readCalibration(place)).toEqual(calibration);
  });

  it.each([
    '',
    '{',
    '[]',
    '{}',
    '{"threshold": null}',
    '{"threshold": "1"}',
    '{"threshold": NaN}',
    '{"threshold": 1e999}',
    '{"threshold": 1, "mm_per_px": 0}',
    '{"threshold": 1, "score_percentile": 101}',
    '\xff{"threshold": 1}',
  ])('refuses %j by the file name', async (json) => {
    const { place } = await store.locate(key);
    await mkdir(place.folder, { recursive: true });
    await writeFile(place.calibrationPath, json, 'latin1');
    await expect(store.readCalibration(place)).rejects.toMatchObject({
      code: 'damaged_file',
      message: expect.stringMatching(/'TWHDn2U__cm9pIDE_calib.json' is damaged/),
    });
  });

  it('reads a calibration of the predecessor, odd extras left out', async () => {
    const { place } = await store.locate(key);
    await mkdir(place.folder, { recursive: true });
    await writeFile(place.calibrationPath, '{"threshold": 17.48, "ok_mean": "?", "p5_ng": null, "version": 1}');
    expect(await store.readCalibration(place)).toEqual({ threshold: 17.48, p5_ng: null, version: 1 });
  });
});

describe('recipe', () => {
  it('keeps the first scale, takes equal ones, refuses others', async () => {
    expect(await store.readRecipe('line2')).toEqual({});
    expect(await store.setRecipeMmPerPx('line2', 0.2)).toBe(0.2);
    expect(await store.setRecipeMmPerPx('line2', 0.2 * (1 + 9e-7))).toBe(0.2);
    await expect(store.setRecipeMmPerPx('line2', 0.2001)).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    expect(await store.readRecipe('line2')).toEqual({ mm_per_px: 0.2 });
    expect(await store.setRecipeMmPerPx('default', 0.3)).toBe(0.3);
  });

  it('is given another scale on purpose only, in turn with what sets the first', async () => {
    await Promise.all([store.setRecipeMmPerPx('line2', 0.2), store.replaceRecipeMmPerPx('line2', 0.3)]);
    expect(await store.readRecipe('line2')).toEqual({ mm_per_px: 0.3 });
    await expect(store.setRecipeMmPerPx('line2', 0.2)).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    for (const scale of [0, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(store.replaceRecipeMmPerPx('line2', scale)).rejects.toMatchObject({ code: 'invalid_value' });
    expect(await store.readRecipe('line2')).toEqual({ mm_per_px: 0.3 });
  });

  it('lets one of many at once be the first', async () => {
    const scales = [0.1, 0.2, 0.3, 0.4];
    const answers = await Promise.allSettled(scales.map((scale) => store.setRecipeMmPerPx('line2', scale)));
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected']);
    expect((await store.readRecipe('line2')).mm_per_px).toBe(0.1);
  });

  it('keeps what else the file holds, and names a damaged one', async () => {
    const path = join(modelsDir, 'recipes', 'line2', 'recipe_meta.json');
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, '{"mm_per_px": null, "owner": "plant 3"}');
    await store.setRecipeMmPerPx('line2', 0.5);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ mm_per_px: 0.5, owner: 'plant 3' });
    await writeFile(path, '{"mm_per_px": -1}');
    await expect(store.setRecipeMmPerPx('line2', 0.5)).rejects.toMatchObject({ code: 'damaged_file' });
    await expect(store.setRecipeMmPerPx('line2', Number.NaN)).rejects.toMatchObject({ code: 'invalid_value' });
    await expect(store.readRecipe('../x')).rejects.toMatchObject({ code: 'invalid_value' });
  });

  describe('with the change that its scale comes with', () => {
    const done = 'The memory was replaced';
    const metaFile = () => join(modelsDir, 'recipes', 'line2', 'recipe_meta.json');
    const namesIn = (folder: string) => readdir(folder).catch(() => [] as string[]);

    it('is set after the change, in one turn with it', async () => {
      const order: string[] = [];
      const change = (name: string) => ({
        done,
        commit: async () => {
          order.push(`${name} begins, ${(await store.readRecipe('line2')).mm_per_px ?? 'no scale'}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
          order.push(`${name} ends`);
        },
      });
      const [first, second, other] = await Promise.allSettled([
        store.setRecipeMmPerPx('line2', 0.2, change('first')),
        store.setRecipeMmPerPx('line2', 0.2, change('second')),
        store.setRecipeMmPerPx('line2', 0.3, change('other')),
      ]);
      expect(order).toEqual(['first begins, no scale', 'first ends', 'second begins, 0.2', 'second ends']);
      expect([first, second]).toMatchObject([{ value: 0.2 }, { value: 0.2 }]);
      expect(other).toMatchObject({ reason: { code: 'mm_per_px_conflict' } });
    });

    it('stays unset when the change fails', async () => {
      const commit = () => Promise.reject(new Error('no'));
      await expect(store.setRecipeMmPerPx('line2', 0.2, { done, commit })).rejects.toThrow('no');
      expect(await namesIn(dirname(metaFile()))).toEqual([]);
      expect(await store.setRecipeMmPerPx('line2', 0.3)).toBe(0.3);
    });

    it.each([
      ['a file stands where its folder must', 'recipes'],
      ['a folder stands where its file must', 'recipes/line2/recipe_meta.json/x'],
    ])('keeps the change from being made when %s', async (_, path) => {
      await mkdir(dirname(join(modelsDir, path)), { recursive: true });
      await writeFile(join(modelsDir, path), '');
      let made = false;
      const commit = async () => {
        made = true;
      };
      await expect(store.setRecipeMmPerPx('line2', 0.2, { done, commit })).rejects.toMatchObject({
        code: 'damaged_file',
      });
      expect(made).toBe(false);
    });

    it('says that the change was made when only the scale could not be written', async () => {
      const commit = async () => {
        // Nothing but someone else's hand can bring this about.
        await mkdir(metaFile());
      };
      await expect(store.setRecipeMmPerPx('line2', 0.2, { done, commit })).rejects.toMatchObject({
        code: 'storage_unavailable',
        message: expect.stringMatching(/^The memory was replaced, but mm_per_px 0\.2 of recipe 'line2' could not be/),
      });
      expect(await namesIn(dirname(metaFile()))).toEqual(['recipe_meta.json']);
    });
  });

  it('compares scales by their relative difference', () => {
    expect(sameScale(1000, 1000.0009)).toBe(true);
    expect(sameScale(1000, 1000.0011)).toBe(false);
    expect(sameScale(1e-5, 1.1e-5)).toBe(false);
  });
});

describe('list', () => {
  it('finds every memory and gives the ids back', async () => {
    expect(await createModelStore(join(modelsDir, 'absent')).list()).toEqual([]);
    await refit(atRoot, 1);
    const { place } = await refit({ ...key, modelKey: '../k' }, 1);
    await store.writeCalibration(place, calibration);
    await copyFile(place.npzPath, join(modelsDir, 'old_name.npz'));
    await mkdir(join(modelsDir, 'recipes', 'line2', 'datasets'));
    await writeFile(join(modelsDir, 'recipes', 'line2', 'datasets', 'YQ__Yg.npz'), '');
    await writeFile(join(modelsDir, '.tmp-x.npz'), '');
    const models = await store.list();
    const ids = { roleId: 'Maße', roiId: 'roi 1' };
    expect(models).toMatchObject([
      { ...ids, recipeId: 'default', modelKey: 'roi 1', hasCalibration: false },
      { roleId: undefined, recipeId: 'default', place: { base: 'old_name' } },
      { ...ids, recipeId: 'line2', modelKey: '../k', hasCalibration: true, place },
    ]);
    expect(models).toHaveLength(3);
  });
});

describe('damaged memory', () => {
  it('is refused where it lies, not passed over for another place', async () => {
    await refit(atRoot, 1);
    const { place } = await refit(key, 2);
    const whole = await readFile(place.npzPath);
    for (const length of [0, 1, 30, 100, 500, whole.length - 30, whole.length - 1]) {
      await writeFile(place.npzPath, whole.subarray(0, length));
      const located = await store.locate(key);
      expect(located.place).toEqual(place);
      await expect(store.readMemory(located.place), `${length}`).rejects.toMatchObject({
        code: 'damaged_file',
        message: expect.not.stringContaining(modelsDir),
      });
    }
  });
});

const numpy = pythonWith('numpy');
const faiss = pythonWith('faiss');

describe.skipIf(numpy === undefined)('numpy', () => {
  it('reads our memory', async () => {
    const { place } = await refit(key, 5);
    const script = `
import sys, json, numpy as np
z = np.load(sys.argv[1], allow_pickle=False)
m = json.loads(str(z['metadata']))
print(sorted(z.files), z['emb'].dtype, z['emb'].shape, int(z['emb'].argmax(1)[0]), int(z['token_h']), int(z['token_w']), m['role_id'], m['generation'])`;
    expect(runPython(numpy ?? '', script, place.npzPath)).toBe(
      "['emb', 'metadata', 'token_h', 'token_w'] float32 (12, 16) 5 32 31 Maße 5",
    );
  });

  it('writes a memory under the oldest name that we answer from', async () => {
    const script = `
import sys, json, numpy as np
e = np.eye(3, 8, dtype=np.float32)
np.savez_compressed(sys.argv[1], emb=e, token_h=np.int64(32), token_w=np.int64(32), metadata=json.dumps({'extractor': 'vit'}))`;
    runPython(numpy ?? '', script, join(modelsDir, 'Ma_e_roi_1.npz'));
    const located = await store.locate(key);
    expect(located.hasMemory).toBe(true);
    const memory = await readModelMemory(located.place.npzPath);
    expect(memory).toMatchObject({
      bank: axisBank(3, 8, 0),
      grid: { rows: 32, cols: 32 },
      metadata: { extractor: 'vit' },
    });
    expect(await store.ensureIndex(located.place, memory)).toBe('was_missing');
    expect(basename(located.place.indexPath)).toBe('Ma_e_roi_1_index.faiss');
  });
});

it.skipIf(faiss === undefined)('FAISS finds each row of our bank in our index', async () => {
  const { place } = await refit(key, 5);
  const script = `
import sys, faiss
i = faiss.read_index(sys.argv[1])
d, n = i.search(i.reconstruct_n(0, i.ntotal), 1)
print(i.d, n[:, 0].tolist(), float(d.max()))`;
  expect(runPython(faiss ?? '', script, place.indexPath)).toBe('16 [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] 0.0');
});

it('reads a memory in float64, as a tool writes that forgot the type', async () => {
  const npz = encodeNpz({
    emb: { dtype: 'float64', shape: [1, 2], data: Float64Array.of(0.6, 0.8) },
    token_h: { dtype: 'int64', shape: [], data: BigInt64Array.of(1n) },
    token_w: { dtype: 'int64', shape: [], data: BigInt64Array.of(1n) },
  });
  await writeFile(join(modelsDir, 'a.npz'), npz);
  expect((await readModelMemory(join(modelsDir, 'a.npz'))).bank.data).toEqual(Float32Array.of(0.6, 0.8));
});

it('does not write through a link that leads out of the models folder', async () => {
  const outside = await mkdtemp(join(tmpdir(), 'okng-outside-'));
  await mkdir(join(modelsDir, 'recipes', 'line2'), { recursive: true });
  await symlink(outside, join(modelsDir, 'recipes', 'line2', 'k'));
  await expect(refit(key, 1)).rejects.toMatchObject({ code: 'damaged_file' });
  await expect(store.writeCalibration((await store.locate(key)).place, calibration)).rejects.toThrow(/link 'k'/);
  expect(await readdir(outside)).toEqual([]);
  await rm(outside, { recursive: true });
});

it('keeps the calibration through a refit', async () => {
  const { place } = await refit(key, 1);
  await store.writeCalibration(place, calibration);
  await refit(key, 2);
  expect(await store.readCalibration(place)).toEqual(calibration);
});
