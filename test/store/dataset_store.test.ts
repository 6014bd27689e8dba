import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SampleLabel } from '../../src/store/dataset_names.ts';
import { createDatasetStore, type DatasetStore, type NewSample } from '../../src/store/dataset_store.ts';
import type { DatasetKey } from '../../src/store/sample_meta.ts';

const key: DatasetKey = { recipeId: 'line2', roleId: 'Maße', roiId: 'roi 1' };
const noonMs = Date.UTC(2024, 4, 1, 12, 0, 0, 7);

let modelsDir = '';
let store: DatasetStore;
let okFolder = '';

beforeEach(async () => {
  modelsDir = await realpath(await mkdtemp(join(tmpdir(), 'okng-datasets-')));
  store = createDatasetStore(modelsDir);
  okFolder = join(modelsDir, 'recipes/line2/datasets/TWHDn2U__cm9pIDE/ok');
});
afterEach(() => rm(modelsDir, { recursive: true, force: true }));

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (of: Uint8Array) => new TextDecoder().decode(of);
const sample = (content: string, meta: NewSample['meta'] = {}): NewSample => ({
  bytes: bytes(content),
  extension: 'png',
  meta,
});
const sha256 = (content: string) => createHash('sha256').update(content).digest('hex');
const notFound = { code: 'not_found', message: expect.stringContaining('hold no file') };

async function saveOne(content: string, meta: NewSample['meta'] = {}, label: SampleLabel = 'ok'): Promise<string> {
  const [name = ''] = await store.save(key, label, [sample(content, meta)]);
  return name;
}

async function namesIn(label: SampleLabel, of: DatasetKey = key): Promise<string[]> {
  return (await store.list(of))[label].map(({ name }) => name);
}

describe('save', () => {
  it('lays the bytes and the meta where the contract says, under the name that is answered', async () => {
    const [name = '', second = ''] = await store.save(key, 'ok', [
      sample('one'),
      { ...sample('two'), extension: 'jpeg' },
    ]);
    expect(name).toMatch(/\.png$/);
    expect(second).toMatch(/\.jpeg$/);
    expect((await readdir(okFolder)).sort()).toEqual(
      [name, name.replace('.png', '.json'), second, second.replace('.jpeg', '.json')].sort(),
    );
    expect(await readFile(join(okFolder, name), 'utf8')).toBe('one');
    expect(text(await store.read(key, 'ok', second))).toBe('two');
  });

  it('keeps the datasets of the default recipe in its folder, too', async () => {
    await store.save({ recipeId: 'default', roleId: 'a', roiId: 'b' }, 'ng', [sample('x')]);
    expect(await readdir(join(modelsDir, 'recipes/default/datasets/YQ__Yg/ng'))).toHaveLength(2);
  });

  it('adds the defaults and the sha256 to an empty meta', async () => {
    store = createDatasetStore(modelsDir, { nowMs: () => noonMs, token: () => '0123456789ab' });
    const [name = ''] = await store.save(key, 'ng', [{ ...sample('x'), perceptual: 'beef' }]);
    expect(await store.readMeta(key, 'ng', name)).toEqual({
      role_id: 'Maße',
      roi_id: 'roi 1',
      label: 'ng',
      filename: '20240501-120000-007-0000-0123456789ab.png',
      recipe_id: 'line2',
      created_at_utc: '2024-05-01T12:00:00.007Z',
      okng: { sha256: sha256('x'), perceptual: 'beef' },
    });
  });

  it("keeps the client's own values, whatever they are, and only okng from its hands", async () => {
    const sent = {
      role_id: null,
      label: ['x'],
      filename: '../../etc/passwd',
      shape: { kind: 'circle', cx: 1.5 },
      mm_per_px: 1e-5,
      'größe 😀': '\u0000',
      okng: { sha256: sha256('another'), perceptual: 'old' },
    };
    const name = await saveOne('x', sent);
    const meta = await store.readMeta(key, 'ok', name);
    expect(meta).toMatchObject({ ...sent, okng: { sha256: sha256('x') } });
    expect(meta.okng).toEqual({ sha256: sha256('x') });
    expect(meta).toMatchObject({ roi_id: 'roi 1', recipe_id: 'line2' });
  });

  it('gives every JSON object back as it was sent', async () => {
    const anyMeta = fc.dictionary(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.constantFrom('__proto__', 'constructor', 'toJSON', 'role_id', 'filename'),
      ),
      fc.jsonValue({ stringUnit: 'binary' }),
    );
    await fc.assert(
      fc.asyncProperty(anyMeta, async (sent) => {
        // As a client's JSON text is read: -0 and objects without a prototype do not come that way.
        const meta = JSON.parse(JSON.stringify(sent).replaceAll('-0', '0'));
        const name = await saveOne('x', meta);
        const { okng: _, ...stored } = await store.readMeta(key, 'ok', name);
        const { okng: __, ...expected } = meta;
        for (const field of Object.keys(expected)) expect(stored[field]).toEqual(expected[field]);
        expect(Object.keys(stored)).toEqual(expect.arrayContaining(Object.keys(expected)));
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ['a number beyond all numbers', { far: JSON.parse('1e999') }, "'far' is Infinity"],
    ['a nest', JSON.parse(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), 'nested too deep'],
  ])('refuses %s in a meta and stores none of the pictures', async (_, meta, said) => {
    await expect(store.save(key, 'ok', [sample('x'), sample('y', meta)])).rejects.toMatchObject({
      code: 'invalid_value',
      message: expect.stringContaining(said),
    });
    expect(await namesIn('ok')).toEqual([]);
  });

  it('writes a deeply nested meta in as many bytes as it came in', async () => {
    const name = await saveOne('x', { a: JSON.parse(`${'['.repeat(1000)}${']'.repeat(1000)}`) });
    expect((await readFile(join(okFolder, name.replace('.png', '.json')))).length).toBeLessThan(3000);
  });

  it('shows nothing while staged, nothing after a discard, all after a commit', async () => {
    const staged = await store.stage(key, 'ok', [sample('x'), sample('y')]);
    expect(await namesIn('ok')).toEqual([]);
    await staged.discard();
    expect(await readdir(okFolder)).toEqual([]);
    const again = await store.stage(key, 'ok', [sample('x'), sample('y')]);
    await again.commit();
    expect(await namesIn('ok')).toEqual(again.names);
  });

  it('gives many uploads at once names of their own and keeps every one', async () => {
    const others = createDatasetStore(modelsDir);
    const uploads = Array.from({ length: 20 }, (_, i) =>
      (i % 2 === 0 ? store : others).save(key, 'ok', [sample(`${i} first`), sample(`${i} second`)]),
    );
    const saved = await Promise.all(uploads);
    expect(await namesIn('ok')).toEqual(saved.flat().sort());
    for (const [i, [first = '', second = '']] of saved.entries()) {
      expect(text(await store.read(key, 'ok', first))).toBe(`${i} first`);
      expect(text(await store.read(key, 'ok', second))).toBe(`${i} second`);
      expect(first < second).toBe(true);
    }
  });

  it('refuses ids that cannot be names', async () => {
    await expect(store.save({ ...key, recipeId: '../x' }, 'ok', [])).rejects.toMatchObject({ code: 'invalid_value' });
    await expect(store.list({ ...key, roiId: '\ud800' })).rejects.toMatchObject({ code: 'invalid_value' });
    expect(await readdir(modelsDir)).toEqual([]);
  });
});

describe('list', () => {
  it('is empty before anything is stored, and makes no folder', async () => {
    expect(await createDatasetStore(join(modelsDir, 'absent')).list(key)).toEqual({ ok: [], ng: [] });
    expect(await store.list(key)).toEqual({ ok: [], ng: [] });
    expect(await readdir(modelsDir)).toEqual([]);
  });

  it('tells names in order, sizes and metas, each label, role, ROI and recipe by itself', async () => {
    const first = await saveOne('four');
    const second = await saveOne('seventy');
    const bad = await saveOne('', {}, 'ng');
    await store.save({ ...key, recipeId: 'other' }, 'ok', [sample('x')]);
    await store.save({ ...key, roiId: 'other' }, 'ok', [sample('x')]);
    expect(await store.list(key)).toEqual({
      ok: [
        { name: first, hasMeta: true, sizeBytes: 4 },
        { name: second, hasMeta: true, sizeBytes: 7 },
      ],
      ng: [{ name: bad, hasMeta: true, sizeBytes: 0 }],
    });
  });

  it("finds the predecessor's pictures and nothing that is none", async () => {
    await mkdir(join(okFolder, 'folder.png'), { recursive: true });
    for (const name of [
      '20240501-101112-345678.png',
      '20240501-101112-345678.json',
      'Teil ñ 1.JPG',
      'z.tiff',
      'notes.txt',
      'calib.json',
      '.hidden.png',
      '.tmp-1.png',
      'Thumbs.db',
    ]) {
      await writeFile(join(okFolder, name), '{}');
    }
    await symlink('z.tiff', join(okFolder, 'link.png'));
    expect(await store.list(key)).toEqual({
      ok: [
        { name: '20240501-101112-345678.png', hasMeta: true, sizeBytes: 2 },
        { name: 'Teil ñ 1.JPG', hasMeta: false, sizeBytes: 2 },
        { name: 'z.tiff', hasMeta: false, sizeBytes: 2 },
      ],
      ng: [],
    });
    expect(text(await store.read(key, 'ok', 'Teil ñ 1.JPG'))).toBe('{}');
    expect(await store.readMeta(key, 'ok', '20240501-101112-345678.png')).toEqual({});
  });
});

describe('read and readMeta', () => {
  it('answer a picture without meta with the defaults', async () => {
    await mkdir(okFolder, { recursive: true });
    await writeFile(join(okFolder, 'old.png'), 'x');
    await utimes(join(okFolder, 'old.png'), noonMs / 1000, noonMs / 1000);
    expect(await store.readMeta(key, 'ok', 'old.png')).toMatchObject({
      role_id: 'Maße',
      label: 'ok',
      filename: 'old.png',
      created_at_utc: expect.stringMatching(/^2024-05-01T12:00:00\.00[67]Z$/),
    });
    const { metaProblem } = await store.readSample(key, 'ok', 'old.png');
    expect(metaProblem).toBeUndefined();
  });

  it('know no meta without its picture', async () => {
    const name = await saveOne('x');
    await rm(join(okFolder, name));
    await expect(store.readMeta(key, 'ok', name)).rejects.toMatchObject(notFound);
    await expect(store.readMeta(key, 'ok', name.replace('.png', '.json'))).rejects.toMatchObject(notFound);
    expect(await namesIn('ok')).toEqual([]);
  });

  it.each([
    ['half a text', '{"shape":'],
    ['a list', '[]'],
    ['null', 'null'],
    ['nothing', ''],
    ['no UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d)],
  ])('name a meta that holds %s, while listing and scoring go on', async (_, content) => {
    const name = await saveOne('x', { shape: 1 });
    const metaName = name.replace('.png', '.json');
    await writeFile(join(okFolder, metaName), content);
    const said = expect.stringContaining(`The stored file '${metaName}' is damaged`);
    await expect(store.readMeta(key, 'ok', name)).rejects.toMatchObject({ code: 'damaged_file', message: said });
    const { bytes: stored, meta, metaProblem } = await store.readSample(key, 'ok', name);
    expect(text(stored)).toBe('x');
    expect(meta).toMatchObject({ role_id: 'Maße', filename: name });
    expect(meta).not.toHaveProperty('shape');
    expect(metaProblem).toEqual(said);
    expect(await namesIn('ok')).toEqual([name]);
    expect(await store.fingerprints(key, 'ok')).toEqual(new Map());
  });

  it('take a name of one label, role, ROI and recipe for no other', async () => {
    const name = await saveOne('x');
    await saveOne('y', {}, 'ng');
    for (const [other, label] of [
      [key, 'ng'],
      [{ ...key, recipeId: 'default' }, 'ok'],
      [{ ...key, roleId: 'Masse' }, 'ok'],
    ] as const) {
      await expect(store.read(other, label, name)).rejects.toMatchObject(notFound);
      await expect(store.readMeta(other, label, name)).rejects.toMatchObject(notFound);
      await expect(store.readSample(other, label, name)).rejects.toMatchObject(notFound);
      expect(await store.remove(other, label, name)).toBe(false);
    }
    expect(await namesIn('ok')).toEqual([name]);
  });
});

describe('hostile names', () => {
  const secret = 'secret.png';

  it.each([
    '../secret.png',
    '../ok/secret.png',
    './secret.png',
    '/etc/passwd',
    '..',
    '.',
    '',
    'secret.png\0',
    'secret.png\0.png',
    '..\\secret.png',
    `${'a'.repeat(296)}.png`,
    `${'ñ'.repeat(200)}.png`,
    '\ud800.png',
    'ＳＥＣＲＥＴ.png',
    'secre\u0301t.png',
    '%2e%2e%2fsecret.png',
    '.hidden.png',
    '.tmp-1.png',
    'link.png',
    'outside.png',
    'circle.png',
    'nowhere.png',
    'folder.png',
    'SECRET.PNG',
  ])('%j reaches nothing', async (name) => {
    await saveOne('inside');
    const outside = join(okFolder, '..', secret);
    for (const path of [
      outside,
      join(modelsDir, secret),
      join(okFolder, '.hidden.png'),
      join(okFolder, '.tmp-1.png'),
    ]) {
      await writeFile(path, 'secret');
    }
    await writeFile(join(okFolder, secret), 'a neighbour');
    await mkdir(join(okFolder, 'folder.png'));
    await symlink(secret, join(okFolder, 'link.png'));
    await symlink(join(modelsDir, secret), join(okFolder, 'outside.png'));
    await symlink('circle.png', join(okFolder, 'circle.png'));
    await symlink('absent.png', join(okFolder, 'nowhere.png'));
    const before = (await readdir(modelsDir, { recursive: true })).sort();

    await expect(store.read(key, 'ok', name)).rejects.toMatchObject({
      ...notFound,
      message: expect.not.stringContaining(modelsDir),
    });
    await expect(store.readMeta(key, 'ok', name)).rejects.toMatchObject(notFound);
    await expect(store.readSample(key, 'ok', name)).rejects.toMatchObject(notFound);
    expect(await store.remove(key, 'ok', name)).toBe(false);
    expect((await readdir(modelsDir, { recursive: true })).sort()).toEqual(before);
  });

  it('are shortened in the sentence', async () => {
    const { message } = await store.read(key, 'ok', `${'a'.repeat(40_000)}.png`).catch((error) => error);
    expect(message.length).toBeLessThan(500);
  });

  it('follow no link that stands where a meta should', async () => {
    const name = await saveOne('x');
    const metaPath = join(okFolder, name.replace('.png', '.json'));
    await writeFile(join(modelsDir, 'secret.json'), '{"password":1}');
    await rm(metaPath);
    await symlink(join(modelsDir, 'secret.json'), metaPath);
    expect(await store.readMeta(key, 'ok', name)).not.toHaveProperty('password');
    expect(await store.list(key)).toMatchObject({ ok: [{ name, hasMeta: false }] });
    expect(await store.clear(key, 'ok')).toBe(1);
    expect(await readFile(join(modelsDir, 'secret.json'), 'utf8')).toBe('{"password":1}');
  });

  it.each([
    ['the label', 'recipes/line2/datasets/TWHDn2U__cm9pIDE/ok', 'recipes/other/datasets/TWHDn2U__cm9pIDE/ok'],
    ['the datasets', 'recipes/line2/datasets', 'recipes/other/datasets'],
    ['the recipe', 'recipes/line2', 'recipes/other'],
  ])('%s being a link, nothing of the other recipe is read, written or removed', async (_, link, target) => {
    const other = { ...key, recipeId: 'other' };
    const [name = ''] = await store.save(other, 'ok', [sample('theirs')]);
    await mkdir(join(modelsDir, link, '..'), { recursive: true });
    await symlink(join(modelsDir, target), join(modelsDir, link));
    const refused = { code: 'damaged_file', message: expect.stringMatching(/recipes\/line2.* leads elsewhere/) };
    await expect(store.save(key, 'ok', [sample('x')])).rejects.toMatchObject(refused);
    await expect(store.list(key)).rejects.toMatchObject(refused);
    await expect(store.read(key, 'ok', name)).rejects.toMatchObject(refused);
    await expect(store.remove(key, 'ok', name)).rejects.toMatchObject(refused);
    await expect(store.clear(key, 'ok')).rejects.toMatchObject(refused);
    await expect(store.fingerprints(key, 'ok')).rejects.toMatchObject(refused);
    expect(await namesIn('ok', other)).toEqual([name]);
    expect(await readdir(join(modelsDir, 'recipes/other/datasets/TWHDn2U__cm9pIDE/ok'))).toHaveLength(2);
  });

  it('are no trouble in a models folder that is a link itself', async () => {
    const link = `${modelsDir}-link`;
    await symlink(modelsDir, link);
    try {
      const linked = createDatasetStore(link);
      const [name = ''] = await linked.save(key, 'ok', [sample('x')]);
      expect(text(await linked.read(key, 'ok', name))).toBe('x');
    } finally {
      await rm(link);
    }
  });
});

describe('remove and clear', () => {
  it('take the picture and its meta, once', async () => {
    const [first = '', second = ''] = await store.save(key, 'ok', [sample('x'), sample('y')]);
    expect(await store.remove(key, 'ok', first)).toBe(true);
    expect(await store.remove(key, 'ok', first)).toBe(false);
    expect((await readdir(okFolder)).sort()).toEqual([second.replace('.png', '.json'), second]);
    await expect(store.read(key, 'ok', first)).rejects.toMatchObject(notFound);
  });

  it('leave a meta that another picture shares', async () => {
    await mkdir(okFolder, { recursive: true });
    for (const name of ['a.png', 'a.jpg', 'a.json']) await writeFile(join(okFolder, name), '{"n":1}');
    expect(await store.remove(key, 'ok', 'a.jpg')).toBe(true);
    expect(await store.readMeta(key, 'ok', 'a.png')).toEqual({ n: 1 });
    expect(await store.remove(key, 'ok', 'a.png')).toBe(true);
    expect(await readdir(okFolder)).toEqual([]);
  });

  it('clear one label of one recipe and nothing that is no sample', async () => {
    await store.save(key, 'ok', [sample('x'), sample('y')]);
    const bad = await saveOne('z', {}, 'ng');
    const [theirs] = await store.save({ ...key, recipeId: 'other' }, 'ok', [sample('x')]);
    for (const name of ['foreign.bmp', 'notes.txt']) await writeFile(join(okFolder, name), '');
    expect(await store.clear(key, 'ok')).toBe(3);
    expect(await readdir(okFolder)).toEqual(['notes.txt']);
    expect(await store.clear(key, 'ok')).toBe(0);
    expect(await namesIn('ng')).toEqual([bad]);
    expect(await namesIn('ok', { ...key, recipeId: 'other' })).toEqual([theirs]);
  });

  it('count one picture once, however many remove it at the same time', async () => {
    const name = await saveOne('x');
    const removals = await Promise.all(Array.from({ length: 5 }, () => store.remove(key, 'ok', name)));
    expect(removals.filter(Boolean)).toHaveLength(1);
  });
});

describe('fingerprints', () => {
  it('tell what the metas hold, of this label only', async () => {
    const [first = '', second = ''] = await store.save(key, 'ok', [{ ...sample('x'), perceptual: 'f0' }, sample('x')]);
    await saveOne('x', {}, 'ng');
    await writeFile(join(okFolder, 'foreign.png'), 'x');
    await writeFile(join(okFolder, 'foreign.json'), '{"okng":{"sha256":"not one"}}');
    await writeFile(join(okFolder, 'bare.png'), 'x');
    const expected = new Map([
      [first, { sha256: sha256('x'), perceptual: 'f0' }],
      [second, { sha256: sha256('x') }],
    ]);
    expect(await store.fingerprints(key, 'ok')).toEqual(expected);
    expect(await store.fingerprints(key, 'ok')).toEqual(expected);
    expect(await store.fingerprints({ ...key, roiId: 'none' }, 'ok')).toEqual(new Map());
  });

  it('follow what is added and removed, and what is restored', async () => {
    const [first = '', second = ''] = await store.save(key, 'ok', [sample('x'), sample('y')]);
    const metaPath = join(okFolder, first.replace('.png', '.json'));
    await rename(metaPath, join(modelsDir, 'kept'));
    await writeFile(metaPath, '{');
    expect([...(await store.fingerprints(key, 'ok')).keys()]).toEqual([second]);
    await rename(join(modelsDir, 'kept'), metaPath);
    const third = await saveOne('z');
    expect([...(await store.fingerprints(key, 'ok')).keys()]).toEqual([first, second, third]);
    await store.remove(key, 'ok', second);
    expect([...(await store.fingerprints(key, 'ok')).keys()]).toEqual([first, third]);
    expect([...(await createDatasetStore(modelsDir).fingerprints(key, 'ok')).keys()]).toEqual([first, third]);
  });

  it('take a file that comes back under its name for a new one', async () => {
    await mkdir(okFolder, { recursive: true });
    for (const content of ['x', 'y']) {
      await writeFile(join(okFolder, 'a.png'), content);
      await writeFile(join(okFolder, 'a.json'), JSON.stringify({ okng: { sha256: sha256(content) } }));
      expect(await store.fingerprints(key, 'ok')).toEqual(new Map([['a.png', { sha256: sha256(content) }]]));
      await store.remove(key, 'ok', 'a.png');
      expect(await store.fingerprints(key, 'ok')).toEqual(new Map());
    }
  });

  it('stay right for more folders than are remembered', async () => {
    const keys = Array.from({ length: 20 }, (_, i) => ({ ...key, roiId: `roi ${i}` }));
    for (const [i, one] of keys.entries()) await store.save(one, 'ok', [sample(`${i}`)]);
    for (const [i, one] of [...keys.entries(), ...keys.entries()]) {
      const shas = [...(await store.fingerprints(one, 'ok')).values()].map((fingerprint) => fingerprint.sha256);
      expect(shas).toEqual([sha256(`${i}`)]);
    }
  });
});

describe('removeStaleFiles', () => {
  it('takes old temps and metas of ours without a picture, in every recipe, and nothing else', async () => {
    const names = [];
    for (const recipeId of ['default', 'line2']) {
      const [kept = '', lost = ''] = await store.save({ ...key, recipeId }, 'ng', [sample('x'), sample('y')]);
      const folder = join(modelsDir, 'recipes', recipeId, 'datasets/TWHDn2U__cm9pIDE/ng');
      await rm(join(folder, lost));
      for (const name of ['.tmp-old', 'theirs.json', '20240501-101112-345678.json']) {
        await writeFile(join(folder, name), '');
      }
      names.push({ folder, kept, lost });
    }
    expect(await store.removeStaleFiles(Date.now(), 600_000)).toBe(0);
    expect(await store.removeStaleFiles(Date.now() + 601_000, 600_000)).toBe(4);
    for (const { folder, kept } of names) {
      expect((await readdir(folder)).sort()).toEqual(
        ['20240501-101112-345678.json', kept.replace('.png', '.json'), kept, 'theirs.json'].sort(),
      );
    }
  });

  it('follows no link and needs no folder', async () => {
    const elsewhere = join(modelsDir, 'elsewhere');
    await mkdir(join(elsewhere, 'datasets/YQ__Yg/ok'), { recursive: true });
    await writeFile(join(elsewhere, 'datasets/YQ__Yg/ok/.tmp-1'), '');
    await mkdir(join(modelsDir, 'recipes'));
    await symlink(elsewhere, join(modelsDir, 'recipes/line2'));
    const noRecipe = join(modelsDir, 'recipes/Not A Recipe/datasets/YQ__Yg/ok');
    await mkdir(noRecipe, { recursive: true });
    await writeFile(join(noRecipe, '.tmp-1'), '');
    expect(await store.removeStaleFiles(Date.now() + 1000, 0)).toBe(0);
    expect(await readdir(join(elsewhere, 'datasets/YQ__Yg/ok'))).toEqual(['.tmp-1']);
    expect(await createDatasetStore(join(modelsDir, 'absent')).removeStaleFiles(Date.now(), 0)).toBe(0);
  });
});

it('behaves like a Map of each label of each dataset', async () => {
  const keys = [key, { ...key, recipeId: 'default' }, { ...key, roiId: 'other' }];
  const place = { dataset: fc.nat(keys.length - 1), label: fc.constantFrom<SampleLabel>('ok', 'ng') };
  const step = fc.oneof(
    fc.record({ kind: fc.constant('save' as const), ...place, contents: fc.array(fc.string(), { maxLength: 3 }) }),
    fc.record({ kind: fc.constant('remove' as const), ...place, pick: fc.nat(9) }),
    fc.record({ kind: fc.constant('clear' as const), ...place }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 10 }), async (steps) => {
      await rm(modelsDir, { recursive: true, force: true });
      const expected = new Map<string, Map<string, string>>();
      const everName = ['never.png'];
      for (const change of steps) {
        const { dataset, label } = change;
        const at = `${dataset} ${label}`;
        const here = expected.get(at) ?? new Map<string, string>();
        expected.set(at, here);
        if (change.kind === 'save') {
          const names = await store.save(
            keys[dataset] ?? key,
            label,
            change.contents.map((content) => sample(content)),
          );
          for (const [i, name] of names.entries()) here.set(name, change.contents[i] ?? '');
          everName.push(...names);
        } else if (change.kind === 'remove') {
          const name = everName[change.pick % everName.length] ?? '';
          expect(await store.remove(keys[dataset] ?? key, label, name)).toBe(here.delete(name));
        } else {
          expect(await store.clear(keys[dataset] ?? key, label)).toBe(here.size);
          here.clear();
        }
      }
      for (const [dataset, one] of keys.entries()) {
        const listed = await store.list(one);
        for (const label of ['ok', 'ng'] as const) {
          const here = expected.get(`${dataset} ${label}`) ?? new Map<string, string>();
          expect(listed[label].map(({ name }) => name)).toEqual([...here.keys()].sort());
          expect([...(await store.fingerprints(one, label)).keys()]).toEqual([...here.keys()].sort());
          for (const name of everName) {
            const content = await store.read(one, label, name).then(text, (error) => error.code);
            expect(content).toBe(here.has(name) ? here.get(name) : 'not_found');
          }
        }
      }
    }),
    { numRuns: 30 },
  );
});

describe('listDatasets', () => {
  it('tells the datasets of one recipe that hold samples, and how many', async () => {
    await store.save(key, 'ok', [sample('a'), sample('b')]);
    await store.save(key, 'ng', [sample('c')]);
    await store.save({ ...key, roiId: 'roi 2' }, 'ng', [sample('d')]);
    await store.save({ ...key, recipeId: 'line3' }, 'ok', [sample('e')]);
    const emptied = { ...key, roiId: 'roi 3' };
    await store.save(emptied, 'ok', [sample('f')]);
    await store.clear(emptied, 'ok');
    expect(await store.listDatasets('line2')).toEqual([
      { roleId: 'Maße', roiId: 'roi 1', counts: { ok: 2, ng: 1 } },
      { roleId: 'Maße', roiId: 'roi 2', counts: { ok: 0, ng: 1 } },
    ]);
    expect(await store.listDatasets('absent')).toEqual([]);
  });

  it('counts what another service left by the same rule, and knows no ids of a hashed name', async () => {
    const long = { ...key, roleId: 'x'.repeat(200) };
    await store.save(long, 'ok', [sample('a')]);
    await mkdir(okFolder, { recursive: true });
    for (const name of ['old.JPG', 'old.json', 'notes.txt']) await writeFile(join(okFolder, name), '');
    const listed = await store.listDatasets('line2');
    const hashed = listed.find(({ roleId }) => roleId === undefined);
    const plain = listed.find(({ roleId }) => roleId === key.roleId);
    expect(hashed).toEqual({ roleId: undefined, roiId: undefined, counts: { ok: 1, ng: 0 } });
    expect(plain?.counts).toEqual({ ok: 1, ng: 0 });
  });
});
