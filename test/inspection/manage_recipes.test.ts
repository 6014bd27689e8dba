import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

let toy: ToyService;
beforeEach(() => {
  toy = toyService();
});
afterEach(() => toy.remove());

const line2 = { ...key, recipeId: 'line2' };
const line3 = { ...key, recipeId: 'line3', modelKey: 'night' };
const recipesFolder = () => join(toy.models.ownPlace(line2).folder, '../..');

async function fill() {
  await toy.fit();
  await toy.fit({ key: line2, mmPerPx: 2 });
  await toy.calibrate({ key: line2 });
  await toy.upload({ key: line2, pictures: [toyPicture(0, 1, 2, 3), toyPicture(4, 5, 6, 7)] });
  await toy.upload({ key: line2, label: 'ng' });
  await toy.fit({ key: line3, mmPerPx: 3 });
}

describe('listRecipes', () => {
  it('knows the default recipe before anything is stored', async () => {
    expect(await toy.recipes.list()).toEqual([{ recipeId: 'default', mmPerPx: null, models: [], datasets: [] }]);
  });

  it('tells what each recipe holds itself', async () => {
    await fill();
    const ids = { roleId: 'role', roiId: 'roi' };
    expect(await toy.recipes.list()).toMatchObject([
      { recipeId: 'default', mmPerPx: 1, models: [{ ...ids, modelKey: 'roi', hasCalibration: false }], datasets: [] },
      {
        recipeId: 'line2',
        mmPerPx: 2,
        models: [{ ...ids, modelKey: 'roi', hasCalibration: true }],
        datasets: [{ ...ids, counts: { ok: 2, ng: 1 } }],
      },
      { recipeId: 'line3', mmPerPx: 3, models: [{ ...ids, modelKey: 'night' }], datasets: [] },
    ]);
    expect(await toy.recipes.find('line3')).toMatchObject({ recipeId: 'line3', mmPerPx: 3 });
  });
});

describe('findRecipe', () => {
  it('knows no recipe that nothing was stored in, but the default one', async () => {
    expect((await toy.recipes.find('default')).recipeId).toBe('default');
    await expect(toy.recipes.find('line2')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('correctScale', () => {
  it('replaces a scale on purpose, and what comes next is held to the new one', async () => {
    await toy.fit();
    expect(await toy.recipes.correct('default', 2)).toBe(1);
    expect((await toy.recipes.find('default')).mmPerPx).toBe(2);
    await expect(toy.inspect({ mmPerPx: 1 })).rejects.toMatchObject({ code: 'mm_per_px_conflict' });
    expect((await toy.inspect({ mmPerPx: 2 })).params.mm_per_px).toBe(2);
    await toy.fit({ mmPerPx: 2 });
  });

  it('gives a recipe its scale before its first fit, and keeps what else its file says', async () => {
    expect(await toy.recipes.correct('line2', 2)).toBeNull();
    writeFileSync(join(recipesFolder(), 'line2', 'recipe_meta.json'), '{"mm_per_px": 2, "part": "flange"}');
    expect(await toy.recipes.correct('line2', 3)).toBe(2);
    expect(await toy.models.readRecipe('line2')).toEqual({ mm_per_px: 3, part: 'flange' });
  });

  it('mends a file that is damaged', async () => {
    mkdirSync(join(recipesFolder(), 'line2'), { recursive: true });
    writeFileSync(join(recipesFolder(), 'line2', 'recipe_meta.json'), '{');
    expect(await toy.recipes.correct('line2', 3)).toBeNull();
    expect((await toy.recipes.find('line2')).mmPerPx).toBe(3);
  });
});

describe('removeRecipe', () => {
  it('refuses one that holds something unless told, and says what it holds', async () => {
    await fill();
    const before = toy.files();
    await expect(toy.recipes.remove('line2')).rejects.toMatchObject({
      code: 'recipe_in_use',
      message: expect.stringMatching(/"line2" holds 1 models and 3 samples \(11 files in all\); send \?force=true/),
    });
    expect(toy.files()).toEqual(before);
  });

  it.each([
    ['a calibration', async () => toy.calibrate({ key: line2 })],
    ['samples', async () => toy.upload({ key: line2 })],
  ])('refuses one that holds nothing but %s', async (_, store) => {
    await store();
    await expect(toy.recipes.remove('line2')).rejects.toMatchObject({ code: 'recipe_in_use' });
  });

  it('removes all of it when told, and nothing of the others', async () => {
    await fill();
    const others = Object.entries(toy.files()).filter(([name]) => !name.startsWith('recipes/line2/'));
    await toy.recipes.remove('line2', true);
    expect(toy.files()).toEqual(Object.fromEntries(others));
    expect((await toy.recipes.list()).map(({ recipeId }) => recipeId)).toEqual(['default', 'line3']);
    expect((await toy.list(line2)).classes).toEqual({ ok: [], ng: [] });
    // It begins anew, with any scale; until then the default recipe's model answers.
    expect((await toy.inspect({ key: line2 })).score).toBeGreaterThan(0);
    await toy.fit({ key: line2, mmPerPx: 7 });
  });

  it('needs no telling for one that has a scale only', async () => {
    await toy.recipes.correct('line2', 2);
    await toy.recipes.remove('line2');
    await expect(toy.recipes.remove('line2')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('never removes the default recipe, whose models the others borrow', async () => {
    await toy.fit();
    const before = toy.files();
    await expect(toy.recipes.remove('default', true)).rejects.toMatchObject({ code: 'recipe_in_use' });
    expect(toy.files()).toEqual(before);
  });

  it('never reaches into another recipe, not through a link either', async () => {
    await fill();
    const before = toy.files();
    symlinkSync('line2', join(recipesFolder(), 'line4'));
    await expect(toy.recipes.remove('line4', true)).rejects.toMatchObject({ code: 'damaged_file' });
    mkdirSync(join(recipesFolder(), 'line5'));
    symlinkSync('../line2/roi', join(recipesFolder(), 'line5', 'roi'));
    await toy.recipes.remove('line5', true);
    for (const [name, content] of Object.entries(before)) expect(toy.files()[name]).toBe(content);
  });

  it('waits for nobody: while a fit runs in it, it is refused', async () => {
    await toy.fit({ key: line2, mmPerPx: 2 });
    let removal: Promise<void> = Promise.resolve();
    toy.vision.beforeEmbed = async () => {
      removal = toy.recipes.remove('line2', true);
      removal.catch(() => undefined);
      await removal.catch(() => undefined);
    };
    await toy.fit({ key: line2, mmPerPx: 2 });
    await expect(removal).rejects.toMatchObject({ code: 'fit_in_progress' });
    toy.vision.beforeEmbed = async () => undefined;
    await toy.recipes.remove('line2', true);
  });
});
