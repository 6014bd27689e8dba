import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createJobStore, type JobRecord, jobStates } from '../../src/store/job_store.ts';

let modelsDir: string;
const folder = () => join(modelsDir, 'jobs');

beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-jobs-'));
});
afterEach(() => rmSync(modelsDir, { recursive: true, force: true }));

const ids = [
  '11111111-1111-4111-8111-111111111111',
  '22222222-2222-4222-8222-222222222222',
  '33333333-3333-4333-8333-333333333333',
] as const;

function someRecord(changes: Partial<JobRecord> = {}): JobRecord {
  return {
    id: ids[0],
    kind: 'fit_ok',
    state: 'succeeded',
    key: { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' },
    requestId: 'r 1',
    createdAtUtc: '2026-01-02T03:04:05.678Z',
    startedAtUtc: '2026-01-02T03:04:06.000Z',
    endedAtUtc: '2026-01-02T03:04:07.000Z',
    progress: { step: 'coreset', done: 3, total: 4 },
    error: null,
    resultBytes: 0,
    repeat: { key: 'k', fingerprint: 'f' },
    ...changes,
  };
}

const list = async () => (await createJobStore(modelsDir).list()).records;

describe('a record', () => {
  it('comes back as it was, whatever its texts', async () => {
    const text = fc.string({ unit: 'binary' }).filter((value) => value.isWellFormed());
    const record = fc.record({
      state: fc.constantFrom(...jobStates),
      key: fc.record({ recipeId: text, modelKey: text, roleId: text, roiId: text }),
      requestId: text,
      startedAtUtc: fc.constantFrom(null, '2026-01-02T03:04:06.000Z'),
      progress: fc.constantFrom(null, { step: 'pictures', done: 0, total: 2 }),
      error: fc.option(fc.record({ code: text, sentence: text }), { nil: null }),
      repeat: fc.option(fc.record({ key: text, fingerprint: text }), { nil: null }),
    });
    await fc.assert(
      fc.asyncProperty(record, async (changes) => {
        await createJobStore(modelsDir).save(someRecord(changes));
        expect(await list()).toEqual([someRecord(changes)]);
      }),
      { numRuns: 30 },
    );
  });

  it('is one small file in the words of the service, readable by a human', async () => {
    await createJobStore(modelsDir).save(someRecord());
    expect(readdirSync(folder())).toEqual([`${ids[0]}.json`]);
    expect(JSON.parse(readFileSync(join(folder(), `${ids[0]}.json`), 'utf8'))).toEqual({
      id: ids[0],
      kind: 'fit_ok',
      state: 'succeeded',
      recipe_id: 'default',
      model_key: 'top',
      role_id: 'flange',
      roi_id: 'top',
      request_id: 'r 1',
      created_at_utc: '2026-01-02T03:04:05.678Z',
      started_at_utc: '2026-01-02T03:04:06.000Z',
      ended_at_utc: '2026-01-02T03:04:07.000Z',
      progress: { step: 'coreset', done: 3, total: 4 },
      error: null,
      result_bytes: 0,
      repeat: { key: 'k', fingerprint: 'f' },
    });
  });

  it('is replaced as a whole', async () => {
    const store = createJobStore(modelsDir);
    await store.save(someRecord({ state: 'running', endedAtUtc: null }));
    await store.save(someRecord());
    expect(await list()).toEqual([someRecord()]);
  });
});

describe('the list', () => {
  it('is empty before there is a folder, and makes none', async () => {
    expect(await createJobStore(join(modelsDir, 'not yet')).list()).toEqual({ records: [], damaged: [] });
    expect(readdirSync(modelsDir)).toEqual([]);
  });

  it('has the oldest first', async () => {
    const store = createJobStore(modelsDir);
    const times = ['2026-01-02T03:04:07.000Z', '2026-01-02T03:04:05.000Z', '2026-01-02T03:04:06.000Z'];
    for (const [i, createdAtUtc] of times.entries())
      await store.save(someRecord({ id: ids[i] as string, createdAtUtc }));
    expect((await list()).map(({ id }) => id)).toEqual([ids[1], ids[2], ids[0]]);
  });

  it('names what is no record, passes it over and leaves it', async () => {
    const store = createJobStore(modelsDir);
    await store.save(someRecord());
    const wrong = {
      'cut.json': '{"id":',
      'other.json': JSON.stringify({ hello: 1 }),
      // Under this name it would be removed in place of the file it says it is.
      [`${ids[1]}.json`]: readFileSync(join(folder(), `${ids[0]}.json`), 'utf8'),
    };
    for (const [name, text] of Object.entries(wrong)) writeFileSync(join(folder(), name), text);
    writeFileSync(join(folder(), 'notes.txt'), 'hello');
    const before = readdirSync(folder());
    expect(await store.list()).toEqual({
      records: [someRecord()],
      damaged: expect.toSatisfy((names: string[]) => names.sort().join() === Object.keys(wrong).sort().join()),
    });
    expect(readdirSync(folder())).toEqual(before);
  });
});

describe('a result', () => {
  it('lies beside its record, and goes with it', async () => {
    const store = createJobStore(modelsDir);
    await store.save(someRecord({ resultBytes: 7 }), '{"n":1}');
    await store.save(someRecord({ id: ids[1] }));
    expect(await store.readResult(ids[0])).toEqual({ n: 1 });
    expect(await store.readResult(ids[1])).toBeUndefined();
    await store.remove([ids[0], ids[2]]);
    expect(readdirSync(folder())).toEqual([`${ids[1]}.json`]);
  });

  it('that a removal left behind is removed with the next look; what is not ours stays', async () => {
    const store = createJobStore(modelsDir);
    await store.save(someRecord({ resultBytes: 7 }), '{"n":1}');
    writeFileSync(join(folder(), `${ids[1]}.result.json`), '{}');
    writeFileSync(join(folder(), 'mine.result.json'), '{}');
    expect((await store.list()).damaged).toEqual([]);
    expect(readdirSync(folder())).toEqual([`${ids[0]}.json`, `${ids[0]}.result.json`, 'mine.result.json']);
  });

  it('that cannot be read is named', async () => {
    const store = createJobStore(modelsDir);
    await store.save(someRecord({ resultBytes: 7 }), '{"n":1}');
    writeFileSync(join(folder(), `${ids[0]}.result.json`), '{"n"');
    await expect(store.readResult(ids[0])).rejects.toMatchObject({
      code: 'damaged_file',
      message: expect.stringContaining(`${ids[0]}.result.json`),
    });
  });
});

it('writes nothing through a link that leads out of the models folder', async () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'okng-elsewhere-'));
  symlinkSync(elsewhere, folder());
  await expect(createJobStore(modelsDir).save(someRecord())).rejects.toMatchObject({ code: 'damaged_file' });
  expect(readdirSync(elsewhere)).toEqual([]);
  rmSync(elsewhere, { recursive: true });
});

it('sweeps the temp files of killed processes', async () => {
  mkdirSync(folder());
  for (const name of ['.tmp-old', '.tmp-young']) writeFileSync(join(folder(), name), 'half a record');
  utimesSync(join(folder(), '.tmp-old'), new Date(0), new Date(0));
  expect(await createJobStore(modelsDir).removeStaleTemps(Date.now(), 60_000)).toBe(1);
  expect(readdirSync(folder())).toEqual(['.tmp-young']);
  expect((await createJobStore(modelsDir).list()).records).toEqual([]);
});
