import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { decodeFlatL2 } from '../../src/store/faiss_file.ts';
import { encodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore } from '../../src/store/model_store.ts';
import { power, spendPower } from './power.ts';
import { someMemory } from './some_memory.ts';

spendPower();

let modelsDir = '';
beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-crash-'));
});
afterEach(async () => {
  await rm(modelsDir, { recursive: true, force: true });
});

it('leaves a whole memory and no foreign index wherever the power fails', async () => {
  const key = { recipeId: 'default', modelKey: 'b', roleId: 'a', roiId: 'b' };
  const found: string[] = [];
  for (let changes = 0; !found.at(-1)?.endsWith('done'); changes++) {
    await rm(modelsDir, { recursive: true });
    const store = createModelStore(modelsDir);
    const refit = async (generation: number) =>
      (await store.stageEncodedMemory(key, encodeMemory(someMemory(generation)))).commit();
    await refit(1);
    power.left = changes;
    const done = await refit(2).then(
      () => power.left >= 0,
      () => false,
    );
    power.left = Number.POSITIVE_INFINITY;

    const { place } = await store.locate(key);
    const memory = await store.readMemory(place);
    const names = await readdir(modelsDir);
    const hasIndex = names.includes(basename(place.indexPath));
    if (hasIndex) expect(decodeFlatL2(await readFile(place.indexPath), '')).toEqual(memory.bank);
    found.push(`${memory.metadata.generation}${hasIndex ? ' with index' : ''}${done ? ', done' : ''}`);
  }
  // The generation is written, the old index removed; the npz, the index; the generation is marked, an old one pruned.
  expect([...new Set(found)]).toEqual(['1 with index', '1', '2', '2 with index', '2 with index, done']);
});

it('never leaves a scale without the memory it came with, nor a new memory after a failure of staging', async () => {
  const key = { recipeId: 'line2', modelKey: 'b', roleId: 'a', roiId: 'b' };
  const encoded = encodeMemory(someMemory(1));
  const found: string[] = [];
  for (let changes = 0; !found.at(-1)?.endsWith('done'); changes++) {
    const store = createModelStore(modelsDir);
    power.left = changes;
    const tryFit = async () => {
      const staged = await store.stageEncodedMemory(key, encoded);
      await store.setRecipeMmPerPx('line2', 0.5, { done: 'The memory was replaced', commit: () => staged.commit() });
    };
    const message = await tryFit().then(
      () => 'done',
      (error: Error) => error.message,
    );
    power.left = Number.POSITIVE_INFINITY;
    const { hasMemory } = await store.locate(key);
    const { mm_per_px: scale } = await store.readRecipe('line2');
    found.push(`${hasMemory ? 'memory' : 'none'}, ${scale ?? 'no scale'}: ${message.split(',')[0]}`);
    await rm(modelsDir, { recursive: true });
  }
  expect([...new Set(found)]).toEqual([
    'none, no scale: no power',
    'memory, no scale: no power',
    'memory, no scale: The memory was replaced',
    'memory, 0.5: done',
  ]);
});
