import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRecipeStore, type RecipeStore } from '../../src/store/recipe_store.ts';

let modelsDir = '';
let store: RecipeStore;
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-recipes-'));
  store = createRecipeStore(modelsDir);
});
afterEach(() => rm(modelsDir, { recursive: true }));

async function file(...segments: readonly string[]): Promise<void> {
  await mkdir(join(modelsDir, ...segments.slice(0, -1)), { recursive: true });
  await writeFile(join(modelsDir, ...segments), '');
}

describe('list', () => {
  it('is the default recipe alone where nothing was stored', async () => {
    expect(await store.list()).toEqual(['default']);
  });

  it('tells the folders that are named as recipes are, sorted, and no links', async () => {
    await file('recipes', 'line2', 'recipe_meta.json');
    await file('recipes', 'a-b_1', 'x', 'm.npz');
    await file('recipes', 'Not A Recipe', 'x');
    await file('recipes', '.tmp-1', 'x');
    await file('recipes', 'notes.txt');
    await symlink('line2', join(modelsDir, 'recipes', 'link'));
    expect(await store.list()).toEqual(['a-b_1', 'default', 'line2']);
  });
});

describe('countFiles', () => {
  it('counts what the recipe holds, however deep, but not what it is, nor temps and links', async () => {
    await file('recipes', 'line2', 'recipe_meta.json');
    expect(await store.countFiles('line2')).toBe(0);
    await file('recipes', 'line2', 'top', 'a_calib.json');
    await file('recipes', 'line2', 'top', '.tmp-x');
    await file('recipes', 'line2', 'datasets', 'a__b', 'ok', '1.png');
    await symlink('../a_calib.json', join(modelsDir, 'recipes', 'line2', 'top', 'link'));
    expect(await store.countFiles('line2')).toBe(2);
    expect(await store.countFiles('absent')).toBe(0);
  });
});

describe('remove', () => {
  it('removes the folder and says whether it was there', async () => {
    await file('recipes', 'line2', 'datasets', 'a__b', 'ok', '1.png');
    await file('recipes', 'line3', 'recipe_meta.json');
    expect(await store.remove('line2')).toBe(true);
    expect(await store.remove('line2')).toBe(false);
    expect(await readdir(join(modelsDir, 'recipes'))).toEqual(['line3']);
  });

  it('refuses a link, and an id that is none', async () => {
    await file('recipes', 'line2', 'recipe_meta.json');
    await symlink('line2', join(modelsDir, 'recipes', 'link'));
    await expect(store.remove('link')).rejects.toMatchObject({ code: 'damaged_file' });
    await expect(store.remove('../line2')).rejects.toMatchObject({ code: 'invalid_value' });
    expect(await readdir(join(modelsDir, 'recipes', 'line2'))).toEqual(['recipe_meta.json']);
  });

  it('is ended by the next sweep where it was cut short', async () => {
    await file('recipes', '.tmp-1', 'top', 'a.npz');
    expect(await store.removeStaleFolders()).toBe(1);
    expect(await readdir(join(modelsDir, 'recipes'))).toEqual([]);
  });
});
