import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sampleFile, sampleThumbnail } from '../../src/inspection/manage_dataset.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const one = () => toyPicture(0, 30, 60, 90);
const two = () => toyPicture(10, 40, 70, 100);
const torn = { name: 'torn.png', bytes: new Uint8Array(3) };

describe('uploadSamples', () => {
  it('stores the bytes as they came, each with its meta, sorted as they were sent', async () => {
    const { saved } = await toy.upload({ pictures: [one(), two()], metas: [{ note: 'first' }, { label: 'mine' }] });
    const { ok, ng } = await toy.datasets.list(key);
    expect(ok.map(({ name }) => name)).toEqual(saved);
    expect(ng).toEqual([]);
    expect(await toy.datasets.read(key, 'ok', saved[1] as string)).toEqual(two().bytes);
    expect(await toy.datasets.readMeta(key, 'ok', saved[0] as string)).toMatchObject({ note: 'first', label: 'ok' });
    expect(await toy.datasets.readMeta(key, 'ok', saved[1] as string)).toMatchObject({ label: 'mine' });
  });

  it('keeps what finds copies again: the hash of the bytes and the sketch', async () => {
    const { saved } = await toy.upload();
    const sha256 = createHash('sha256').update(one().bytes).digest('hex');
    expect(await toy.datasets.readMeta(key, 'ok', saved[0] as string)).toMatchObject({
      okng: { sha256, perceptual: expect.stringMatching(/^s8:/) },
    });
  });

  it.each([
    ['no pictures', { pictures: [] }, 'missing_field', /images is missing/],
    ['a picture that is none', { pictures: [one(), torn] }, 'unreadable_image', /torn\.png/],
    [
      'fewer metas than pictures',
      { pictures: [one(), two()], metas: [{}] },
      'invalid_value',
      /1 metas came with 2 images/,
    ],
    ['more metas than pictures', { metas: [{}, {}] }, 'invalid_value', /2 metas came with 1 images/],
    ['a scale that is none', { metas: [{ mm_per_px: 0 }] }, 'invalid_value', /mm_per_px/],
    [
      'metas of two scales',
      { pictures: [one(), two()], metas: [{ mm_per_px: 1 }, { mm_per_px: 2 }] },
      'mm_per_px_conflict',
      /mm_per_px 1 and 2/,
    ],
  ])('refuses %s and stores nothing', async (_, request, code, message) => {
    const upload = toy.upload(request);
    await expect(upload).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(toy.files()).toEqual({});
  });

  it('sets the scale of the recipe once, and is held to it', async () => {
    const first = await toy.upload({ metas: [{ mm_per_px: '5E-1' }] });
    expect(first.mmPerPx).toBe(0.5);
    expect(await toy.models.readRecipe('default')).toEqual({ mm_per_px: 0.5 });
    const before = toy.files();
    await expect(toy.upload({ metas: [{ mm_per_px: 0.6 }] })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    expect(toy.files()).toEqual(before);
    expect((await toy.upload({ metas: [{ mm_per_px: 0.5 }] })).mmPerPx).toBe(0.5);
    await expect(toy.fit({ mmPerPx: 0.6 })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    // Another recipe has its own.
    const elsewhere = { ...key, recipeId: 'line2' };
    expect((await toy.upload({ key: elsewhere, metas: [{ mm_per_px: 0.6 }] })).mmPerPx).toBe(0.6);
  });

  it('sets no scale where none is said', async () => {
    expect((await toy.upload()).mmPerPx).toBeNull();
    expect(await toy.models.readRecipe('default')).toEqual({});
  });

  it('lets only one of two first uploads with different scales win, and stores nothing of the other', async () => {
    const outcomes = await Promise.allSettled([
      toy.upload({ metas: [{ mm_per_px: 1 }] }),
      toy.upload({ pictures: [two()], metas: [{ mm_per_px: 2 }] }),
    ]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect((await toy.datasets.list(key)).ok).toHaveLength(1);
    expect(Object.keys(toy.files()).filter((name) => name.includes('.tmp-'))).toEqual([]);
  });

  it('looks at no picture where the scale is refused anyway', async () => {
    await toy.upload({ metas: [{ mm_per_px: 1 }] });
    const proven = toy.vision.calls.prove;
    await expect(toy.upload({ metas: [{ mm_per_px: 2 }] })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    expect(toy.vision.calls.prove).toBe(proven);
  });

  it('ends when nobody waits for it any more, with nothing stored', async () => {
    const gone = AbortSignal.abort();
    await expect(toy.upload({}, gone)).rejects.toMatchObject({ code: 'request_aborted' });
    expect(toy.files()).toEqual({});
  });

  it('tells which of the pictures were there before, in either class, and which came twice', async () => {
    const { saved: first } = await toy.upload();
    const { saved: bad } = await toy.upload({ label: 'ng', pictures: [toyPicture(1, 30, 60, 90)] });
    const { saved, duplicates } = await toy.upload({ pictures: [one(), two(), two()] });
    const [again, twin, twinToo] = saved;
    expect(duplicates).toEqual([
      {
        label: 'ok',
        filename: again,
        exact: [{ label: 'ok', filename: first[0] }],
        near: [{ label: 'ng', filename: bad[0] }],
      },
      { label: 'ok', filename: twin, exact: [{ label: 'ok', filename: twinToo }], near: [] },
      { label: 'ok', filename: twinToo, exact: [{ label: 'ok', filename: twin }], near: [] },
    ]);
  });
});

describe('listDataset', () => {
  it('tells the samples of each class and the groups of duplicates, until one is removed', async () => {
    const { saved } = await toy.upload({ pictures: [one(), two(), one()] });
    const { saved: bad } = await toy.upload({ label: 'ng', pictures: [toyPicture(10, 41, 70, 100)] });
    const { classes, duplicates } = await toy.list();
    expect(classes.ok.map(({ name, hasMeta }) => [name, hasMeta])).toEqual(saved.map((name) => [name, true]));
    expect(classes.ng).toHaveLength(1);
    expect(duplicates).toEqual([
      {
        kind: 'exact',
        samples: [
          { label: 'ok', filename: saved[0] },
          { label: 'ok', filename: saved[2] },
        ],
      },
      {
        kind: 'near',
        samples: [
          { label: 'ok', filename: saved[1] },
          { label: 'ng', filename: bad[0] },
        ],
      },
    ]);
    await toy.datasets.remove(key, 'ok', saved[0] as string);
    expect((await toy.list()).duplicates.map(({ kind }) => kind)).toEqual(['near']);
  });

  it('takes what another service stored as it is: without a meta, and no one’s duplicate', async () => {
    const { saved } = await toy.upload();
    const folder = join(
      toy.parts.models.ownPlace({ ...key, recipeId: 'x' }).folder,
      '../../default/datasets/cm9sZQ__cm9p/ok',
    );
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, '20200101-000000-000000.png'), one().bytes);
    const { classes, duplicates } = await toy.list();
    expect(classes.ok.map(({ name, hasMeta }) => [name, hasMeta])).toEqual([
      ['20200101-000000-000000.png', false],
      [saved[0], true],
    ]);
    expect(duplicates).toEqual([]);
  });
});

describe('sampleFile and sampleThumbnail', () => {
  it('give the bytes, with the type that the bytes are and not the name', async () => {
    const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
    for (const [bytes, mediaType] of [
      [png, 'image/png'],
      [Uint8Array.of(1, 2, 3, 4), 'application/octet-stream'],
    ] as const) {
      const [filename] = await toy.datasets.save(key, 'ok', [{ bytes, extension: 'bmp', meta: {} }]);
      const sample = { label: 'ok', filename: filename as string } as const;
      expect(await sampleFile(toy.parts, key, sample)).toEqual({ bytes, mediaType });
      expect((await sampleThumbnail(toy.parts, key, sample, 64)).length).toBeGreaterThan(0);
    }
  });

  it('know no other names', async () => {
    const sample = { label: 'ok', filename: '../../secret.png' } as const;
    await expect(sampleFile(toy.parts, key, sample)).rejects.toMatchObject({ code: 'not_found' });
    await expect(sampleThumbnail(toy.parts, key, sample, 64)).rejects.toMatchObject({ code: 'not_found' });
  });
});
