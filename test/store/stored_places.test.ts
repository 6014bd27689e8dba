import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AUDIT_FOLDER } from '../../src/audit/audit_files.ts';
import { modelFileBase } from '../../src/store/file_names.ts';
import { entriesBelow, isStoredFolder, storedFileOf } from '../../src/store/stored_places.ts';
import { writeFiles } from './predecessor_files.ts';

const base = modelFileBase('Maße', 'roi 1');
const hashed = modelFileBase('x'.repeat(200), 'roi');

describe('storedFileOf', () => {
  it.each([
    [`${base}.npz`, 'model', 'default'],
    [`${base}_index.faiss`, 'model', 'default'],
    ['part_3_calib.json', 'model', 'default'],
    [`generations/${base}/3/memory.npz`, 'generation', 'default'],
    [`generations/${base}/damaged-20260102T030405678Z.npz`, 'generation', 'default'],
    [`recipes/line2/~Uk9JIDE/${hashed}.npz`, 'model', 'line2'],
    [`recipes/line2/ROI 1/${base}.npz`, 'model', 'line2'],
    [`recipes/line2/Maße.2/generations/${base}/1/memory.npz`, 'generation', 'line2'],
    [`recipes/line2/generations/${base}.npz`, 'model', 'line2'],
    [`recipes/line2/roi/generations/${base}/12/generation.json`, 'generation', 'line2'],
    ['recipes/line2/recipe_meta.json', 'recipe', 'line2'],
    [`recipes/line2/datasets/${base}/ok/Teil ä.JPG`, 'picture', 'line2'],
    [`recipes/line2/datasets/${base}/ng/Teil ä.json`, 'meta', 'line2'],
    [`${AUDIT_FOLDER}/2026-01-02.jsonl`, 'audit', null],
    ['jobs/0.json', 'job', null],
    ['extractors/vit/card.json', 'extractor', null],
    ['extractors/known_downloads.json', 'extractor', null],
    ['extractors/vit/model.safetensors.part', 'download', null],
  ])('knows %s', (path, kind, recipeId) => {
    expect(storedFileOf(path)).toMatchObject({ kind, recipeId, segments: path.split('/') });
    for (let depth = 1; depth < path.split('/').length; depth++) {
      expect(isStoredFolder(path.split('/').slice(0, depth))).toBe(true);
    }
  });

  it('tells which model a file belongs to', () => {
    const segments = ['recipes', 'line2', 'roi'];
    for (const name of ['.npz', '_index.faiss', '_calib.json'].map((suffix) => base + suffix)) {
      expect(storedFileOf([...segments, name].join('/'))?.model).toEqual({ segments, base });
      expect(storedFileOf(name)?.model).toEqual({ segments: [], base });
    }
    expect(storedFileOf([...segments, 'generations', base, '1', 'memory.npz'].join('/'))?.model).toEqual({
      segments,
      base,
    });
    expect(storedFileOf(`generations/${base}/1/memory.npz`)?.model).toEqual({ segments: [], base });
    expect(storedFileOf('jobs/0.json')?.model).toBeNull();
  });

  it.each([
    '',
    '/etc/passwd',
    '../a.npz',
    'a/../b.npz',
    './a.npz',
    'recipes/../../a.npz',
    'recipes/line2/../roi/a.npz',
    `recipes/line2/datasets/${base}/ok/../../x.png`,
    `recipes/line2/datasets/${base}/ok/a\0.png`,
    `recipes/line2/datasets/${base}/ok/.png`,
    `recipes/line2/datasets/${base}/ok/${'ä'.repeat(126)}.png`,
    `recipes/line2/datasets/${base}/maybe/a.png`,
    'recipes/Line2/roi/a.npz',
    'recipes/line2/datasets/a.npz',
    'recipes/line2/con/a.npz',
    'recipes/line2/.hidden/a.npz',
    'recipes/line2/~x y/a.npz',
    'recipes/line2/C:x/a.npz',
    'recipes/line2/ROI 1/notes.txt',
    'recipes/line2/ROI 1/deeper/a.npz',
    'audit//x',
    'audit/..',
    'audit/a\\b',
    'audit/C:x',
    'extractors/a/b/c',
    'generations/x/../../y',
    '.tmp-1',
    'notes.txt',
    'C:\\a.npz',
  ])('has no place for %j', (path) => {
    expect(storedFileOf(path)).toBeUndefined();
  });
});

describe('entriesBelow', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'okng-places-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('tells what everything is, follows no link and looks into no other folder', async () => {
    writeFiles(folder, { [`${base}.npz`]: 'x', '.tmp-1': 'x', 'other/deep/a.npz': 'x', 'recipes/r/readme': 'x' });
    mkdirSync(join(folder, 'recipes', '.tmp-2'));
    symlinkSync(folder, join(folder, 'recipes', 's'));
    const found: [string, string][] = [];
    for await (const entry of entriesBelow(folder)) found.push([entry.is, entry.path]);
    expect(found).toEqual([
      ['temp', '.tmp-1'],
      ['stored', `${base}.npz`],
      ['unknown', 'other'],
      ['folder', 'recipes'],
      ['temp', 'recipes/.tmp-2'],
      ['folder', 'recipes/r'],
      ['unknown', 'recipes/r/readme'],
      ['special', 'recipes/s'],
    ]);
  });

  it('finds nothing where there is no folder', async () => {
    expect((await entriesBelow(join(folder, 'absent')).next()).done).toBe(true);
  });
});
