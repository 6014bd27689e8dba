/** Run as a process of its own, to be killed: refits one model for ever and prints each generation that is committed. */
import { encodeMemory } from '../../src/store/model_memory.ts';
import { createModelStore } from '../../src/store/model_store.ts';
import { someMemory } from './some_memory.ts';

const [modelsDir = '', firstGeneration = '1'] = process.argv.slice(2);
const store = createModelStore(modelsDir);
const key = { recipeId: 'line2', modelKey: 'k', roleId: 'Maße', roiId: 'roi 1' };

for (let generation = Number(firstGeneration); ; generation++) {
  const staged = await store.stageEncodedMemory(key, encodeMemory(someMemory(generation, 3000)));
  await staged.commit();
  process.stdout.write(`${generation}\n`);
}
