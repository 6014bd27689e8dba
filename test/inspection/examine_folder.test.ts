import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InspectionError } from '../../src/errors.ts';
import type { ModelCard } from '../../src/extractors/model_card.ts';
import { type ExamineFolderParts, examineFolder } from '../../src/inspection/examine_folder.ts';
import { failure } from '../../src/inspection/findings.ts';
import { createDatasetStore } from '../../src/store/dataset_store.ts';
import { modelFileBase } from '../../src/store/file_names.ts';
import { createJobStore } from '../../src/store/job_store.ts';
import { encodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore } from '../../src/store/model_store.ts';
import { filesBelow, predecessorIndex, predecessorNpz, writeFiles } from '../store/predecessor_files.ts';
import { someMemory } from '../store/some_memory.ts';

const key = { recipeId: 'line2', modelKey: 'roi', roleId: 'Maße', roiId: 'roi 1' };
const base = modelFileBase(key.roleId, key.roiId);
const folderOfModel = 'recipes/line2/roi';
const samples = `recipes/line2/datasets/${base}/ok`;
const extractor = {
  name: 'embedded_filter_bank',
  fingerprint: 'f00d',
  width: 16,
  grid: { rows: 32, cols: 31 },
  patchSize: 14,
};

let modelsDir = '';
let picture = '';
beforeEach(async () => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-doctor-'));
  const store = createModelStore(modelsDir);
  for (const generation of [1, 2]) {
    const staged = await store.stageEncodedMemory(key, encodeMemory(someMemory(generation)));
    const { memoryId } = staged;
    const { place } = await staged.commit();
    await store.writeCalibration(place, { threshold: 0.5, memory_id: memoryId, image_score_percentile: 99 });
  }
  await store.setRecipeMmPerPx('line2', 0.2);
  const datasets = createDatasetStore(modelsDir);
  [picture = ''] = await datasets.save(key, 'ok', [
    { bytes: Buffer.from('picture 1'), extension: 'png', meta: {} },
    { bytes: Buffer.from('picture 2'), extension: 'png', meta: {} },
  ]);
});
afterEach(() => rmSync(modelsDir, { recursive: true, force: true }));

const at = (path: string) => join(modelsDir, path);
const age = (path: string) => utimesSync(at(path), 1, 1);
/** By another file: a memory and its generation may be one. */
const replace = (path: string, change: (bytes: Buffer) => Buffer) => {
  writeFileSync(at('new'), change(readFileSync(at(path))));
  renameSync(at('new'), at(path));
};
const flip = (path: string) =>
  replace(path, (bytes) => {
    const middle = Math.floor(bytes.length / 2);
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 0xff, middle);
    return bytes;
  });

const examine = (more: Partial<ExamineFolderParts> = {}, deep = false) =>
  examineFolder(
    {
      modelsDir,
      scoreRule: { k: 1, mode: 'percentile', percentile: 99, sigmaPx: 1 },
      extractors: [extractor],
      chosen: extractor,
      installed: [],
      unusable: [],
      noExtractor: null,
      verify: async () => undefined,
      examineAudit: async () => [],
      prove: async (bytes) => {
        if (!Buffer.from(bytes).toString().startsWith('picture'))
          throw new InspectionError('unreadable_image', 'No picture.');
      },
      mayRead: async () => true,
      mayWrite: async () => true,
      minFreeBytes: 0,
      nowMs: Date.now(),
      staleMs: 600_000,
      ...more,
    },
    { deep },
  );

/** What is wrong, without what is good. */
async function problems(more: Partial<ExamineFolderParts> = {}, deep = false) {
  const { findings, errors, warnings } = await examine(more, deep);
  const told = findings.filter(({ level }) => level !== 'ok');
  expect(told.map(({ what_to_do }) => what_to_do)).not.toContain(null);
  expect([errors, warnings]).toEqual(
    ['error', 'warning'].map((level) => told.filter((one) => one.level === level).length),
  );
  return told.map(({ level, place, what }) => ({ level, place, what }));
}

describe('examineFolder', () => {
  it.each([false, true])('finds nothing in a healthy folder, and changes nothing in it (deep: %s)', async (deep) => {
    const before = filesBelow(modelsDir, true);
    expect(await problems({}, deep)).toEqual([]);
    expect(filesBelow(modelsDir, true)).toEqual(before);
    const { findings } = await examine();
    expect(findings.map(({ place, what }) => `${place}: ${what}`)).toEqual([
      `${folderOfModel}/${base}.npz: A memory of 12 × 16 on a 32 × 31 grid; calibrated.`,
      `${samples}: 2 pictures.`,
    ]);
  });

  it('finds nothing in a predecessor’s folder but what it has no meta for', async () => {
    rmSync(modelsDir, { recursive: true });
    writeFiles(modelsDir, {
      'part_3.npz': predecessorNpz(0),
      'part_3_index.faiss': predecessorIndex(0),
      'part_3_calib.json': '{"threshold":0.5}',
      [`recipes/default/datasets/${base}/ok/1.png`]: 'picture',
    });
    const of = { ...extractor, grid: { rows: 2, cols: 3 } };
    expect(await problems({ extractors: [of], chosen: of })).toEqual([
      {
        level: 'warning',
        place: `recipes/default/datasets/${base}/ok`,
        what: expect.stringMatching(/^1 pictures without a meta, such as 1\.png/),
      },
    ]);
  });

  const live = `${folderOfModel}/${base}`;
  const kept = `${folderOfModel}/generations/${base}`;
  const meta = () => picture.replace('.png', '.json');
  type Damage = readonly [string, () => void, 'warning' | 'error', string | (() => string), RegExp];
  const damages: readonly Damage[] = [
    ['a changed memory', () => flip(`${live}.npz`), 'error', `${live}.npz`, /is damaged/],
    [
      'a cut memory',
      () => replace(`${live}.npz`, (bytes) => bytes.subarray(0, 900)),
      'error',
      `${live}.npz`,
      /is damaged/,
    ],
    ['no index', () => rmSync(at(`${live}_index.faiss`)), 'warning', `${live}_index.faiss`, /index is missing/],
    [
      'a damaged index',
      () => writeFileSync(at(`${live}_index.faiss`), 'x'),
      'warning',
      `${live}_index.faiss`,
      /index is damaged/,
    ],
    [
      'another’s index',
      () => writeFileSync(at(`${live}_index.faiss`), encodeMemory(someMemory(7)).index),
      'warning',
      `${live}_index.faiss`,
      /not the memory's/,
    ],
    [
      'a damaged calibration',
      () => writeFileSync(at(`${live}_calib.json`), '{"threshold":"high"}'),
      'error',
      `${live}_calib.json`,
      /'threshold'/,
    ],
    [
      'a changed kept memory',
      () => flip(`${kept}/1/memory.npz`),
      'error',
      `${kept}/1/memory.npz`,
      /does not match its checksum/,
    ],
    ['a lost kept memory', () => rmSync(at(`${kept}/1/memory.npz`)), 'error', `${kept}/1/*.npz`, /it is missing/],
    ['a changed record', () => flip(`${kept}/1/generation.json`), 'error', `${kept}/1/generation.json`, /is damaged/],
    [
      'a memory set aside',
      () => writeFileSync(at(`${kept}/damaged-20260102T030405678Z.npz`), 'x'),
      'warning',
      `${kept}/damaged-20260102T030405678Z.npz`,
      /set aside/,
    ],
    [
      'a damaged recipe',
      () => writeFileSync(at('recipes/line2/recipe_meta.json'), '{"mm_per_px":-1}'),
      'error',
      'recipes/line2/recipe_meta.json',
      /'mm_per_px' is a number > 0/,
    ],
    [
      'a damaged meta',
      () => writeFileSync(at(`${samples}/${meta()}`), '[]'),
      'error',
      () => `${samples}/${meta()}`,
      /must be a JSON object/,
    ],
    [
      'a picture without meta',
      () => rmSync(at(`${samples}/${meta()}`)),
      'warning',
      samples,
      /1 pictures without a meta/,
    ],
    [
      'a meta without picture',
      () => {
        rmSync(at(`${samples}/${picture}`));
        age(`${samples}/${meta()}`);
      },
      'warning',
      () => `${samples}/${meta()}`,
      /A meta without a picture/,
    ],
    [
      'an index without memory',
      () => writeFileSync(at('a_index.faiss'), 'x'),
      'warning',
      'a_index.faiss',
      /index without a memory/,
    ],
    [
      'a calibration without memory',
      () => writeFileSync(at('a_calib.json'), '{"threshold":1,"memory_id":"x"}'),
      'warning',
      'a_calib.json',
      /whose memory is gone/,
    ],
    ['an unknown file', () => writeFileSync(at('notes.txt'), 'x'), 'warning', 'notes.txt', /Nothing of okng's/],
    [
      'an unknown folder',
      () => writeFiles(modelsDir, { 'recipes/Line 3/roi/a.npz': 'x' }),
      'warning',
      'recipes/Line 3',
      /Nothing of okng's/,
    ],
    ['a link', () => symlinkSync(modelsDir, at('recipes/line3')), 'warning', 'recipes/line3', /Links are not followed/],
    [
      'an old temp file',
      () => {
        writeFileSync(at('.tmp-1'), 'x');
        age('.tmp-1');
      },
      'warning',
      '.tmp-1',
      /Left by a process/,
    ],
    [
      'an old temp folder',
      () => {
        mkdirSync(at('recipes/.tmp-1'));
        age('recipes/.tmp-1');
      },
      'warning',
      'recipes/.tmp-1',
      /Left by a process/,
    ],
    [
      'an old lock',
      () => {
        writeFileSync(at(`${folderOfModel}/.tmp-lock-x`), 'x');
        age(`${folderOfModel}/.tmp-lock-x`);
      },
      'warning',
      `${folderOfModel}/.tmp-lock-x`,
      /The lock of a process/,
    ],
  ];

  it.each(damages)('finds %s, and nothing else', async (_, damage, level, place, what) => {
    damage();
    expect(await problems()).toEqual([
      { level, place: typeof place === 'string' ? place : place(), what: expect.stringMatching(what) },
    ]);
  });

  it('finds a damaged calibration beside a damaged memory', async () => {
    flip(`${live}.npz`);
    writeFileSync(at(`${live}_calib.json`), '{');
    expect(await problems()).toMatchObject([{ place: `${live}.npz` }, { level: 'error', place: `${live}_calib.json` }]);
  });

  it('finds generations of a model that has no memory any more', async () => {
    for (const name of readdirSync(at(folderOfModel)))
      if (name.startsWith(base)) rmSync(at(`${folderOfModel}/${name}`));
    expect(await problems()).toEqual([
      { level: 'warning', place: kept, what: expect.stringMatching(/Generations of a model that has no memory/) },
    ]);
  });

  it('finds a calibration of another memory', async () => {
    const store = createModelStore(modelsDir);
    await (await store.stageEncodedMemory(key, encodeMemory(someMemory(3)))).commit();
    expect(await problems()).toEqual([
      { level: 'warning', place: `${live}_calib.json`, what: expect.stringMatching(/nobody is judged by it/) },
    ]);
    expect(await problems({ scoreRule: { k: 1, mode: 'percentile', percentile: 98, sigmaPx: 1 } })).toHaveLength(1);
  });

  it('has nothing against what is being written', async () => {
    writeFiles(modelsDir, { '.tmp-1': 'x', [`${folderOfModel}/.tmp-lock-x`]: 'x', [`${samples}/young.json`]: '{}' });
    writeFileSync(at('b_calib.json'), '{"threshold":1,"memory_id":null}');
    expect(await problems()).toEqual([]);
  });

  it('finds pictures that are none, or others than were uploaded, only when it looks deep', async () => {
    writeFileSync(at(`${samples}/${picture}`), 'picture 3');
    writeFiles(modelsDir, { [`${samples}/z.png`]: 'cut', [`${samples}/z.json`]: '{}' });
    expect(await problems()).toEqual([]);
    expect(await problems({}, true)).toEqual([
      {
        level: 'error',
        place: `${samples}/${picture}`,
        what: expect.stringMatching(/not the picture that was uploaded/),
      },
      { level: 'error', place: `${samples}/z.png`, what: 'No picture.' },
    ]);
  });

  it('finds memories whose extractor is not here, or not the one that would run', async () => {
    const other = { ...extractor, name: 'other', fingerprint: 'beef' };
    expect(await problems({ extractors: [other], chosen: other })).toEqual([
      { level: 'error', place: `${live}.npz`, what: expect.stringMatching(/embedded_filter_bank/) },
    ]);
    expect(await problems({ extractors: [extractor, other], chosen: other })).toEqual([
      { level: 'warning', place: `${live}.npz`, what: expect.stringMatching(/the service would run other/) },
    ]);
  });

  it('finds extractors that are of no use', async () => {
    const installed = [{ name: 'vit' } as ModelCard];
    const verify = async () => {
      throw new InspectionError('invalid_model_card', 'Another file.');
    };
    expect(await problems({ installed, verify })).toEqual([]);
    expect(await problems({ installed, verify }, true)).toEqual([
      { level: 'error', place: 'extractors/vit', what: 'Another file.' },
    ]);
    expect(
      await problems({ unusable: [{ folder: 'a', problem: 'No model file.' }], noExtractor: 'There is none.' }),
    ).toEqual([
      { level: 'warning', place: 'extractors/a', what: 'No model file.' },
      { level: 'error', place: 'extractors', what: 'There is none.' },
    ]);
  });

  it('finds what this user may not read, and folders that it may not write in', async () => {
    const isIndex = (path: string) => path.endsWith('.faiss');
    expect(await problems({ mayRead: async (path) => !isIndex(path) })).toEqual([
      { level: 'error', place: `${live}_index.faiss`, what: 'This user may not read it.' },
    ]);
    expect(await problems({ mayWrite: async (path) => !path.endsWith('ok') })).toEqual([
      { level: 'error', place: samples, what: 'This user may not write in it.' },
    ]);
    expect(await problems({ mayRead: async (path) => path !== join(modelsDir, '.') })).toMatchObject([{ place: '.' }]);
  });

  it('finds a disk with too little space, for the floor or for the next fit', async () => {
    const space = (free: number) => problems({ minFreeBytes: 1_000_000, freeBytes: async () => free });
    expect(await space(999_999)).toMatchObject([
      { level: 'error', place: '.', what: expect.stringMatching(/BDI_MIN_FREE_MIB/) },
    ]);
    expect(await space(1_000_001)).toMatchObject([
      { level: 'warning', place: '.', what: expect.stringMatching(/next fit/) },
    ]);
    expect(await space(1_100_000)).toEqual([]);
  });

  it('takes over what is found about an audit, where there is one', async () => {
    const of = { examineAudit: async () => [failure('audit/a.jsonl', 'Line 3: Another.', 'Look.')] };
    expect(await problems(of)).toEqual([]);
    writeFiles(modelsDir, { 'audit/a.jsonl': 'x' });
    expect(await problems(of)).toEqual([{ level: 'error', place: 'audit/a.jsonl', what: 'Line 3: Another.' }]);
  });

  describe('the jobs', () => {
    const [id, lost] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'];
    beforeEach(() =>
      createJobStore(modelsDir).save(
        {
          ...{ id, kind: 'fit_ok', state: 'succeeded', key, requestId: 'r', progress: null, error: null, repeat: null },
          ...{ createdAtUtc: '2026-01-02T03:04:05.678Z', startedAtUtc: null, endedAtUtc: null, resultBytes: 2 },
        },
        '{}',
      ),
    );

    it('are counted', async () => {
      expect(await problems()).toEqual([]);
      expect((await examine()).findings).toContainEqual(expect.objectContaining({ place: 'jobs', what: '1 jobs.' }));
    });

    it('are told where they cannot be read, and results whose record is gone', async () => {
      writeFiles(modelsDir, { 'jobs/x.json': '{', [`jobs/${lost}.result.json`]: '{}' });
      const before = filesBelow(modelsDir, true);
      expect(await problems()).toEqual([
        { level: 'warning', place: 'jobs/x.json', what: expect.stringMatching(/cannot be read/) },
        { level: 'warning', place: `jobs/${lost}.result.json`, what: expect.stringMatching(/has been removed/) },
      ]);
      expect(filesBelow(modelsDir, true)).toEqual(before);
    });

    it('are one finding where the folder cannot be read', async () => {
      rmSync(at(`jobs/${id}.json`));
      symlinkSync(`${id}.json`, at(`jobs/${id}.json`));
      expect(await problems()).toContainEqual({
        level: 'error',
        place: 'jobs',
        what: expect.stringMatching(/cannot be used now/),
      });
    });
  });

  it('says that there is no folder', async () => {
    rmSync(modelsDir, { recursive: true });
    expect(await problems()).toMatchObject([{ level: 'error', place: '.', what: 'There is no models folder.' }]);
  });
});
