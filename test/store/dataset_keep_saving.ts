/** Run as a process of its own, to be killed: saves three samples again and again and prints the names it is answered. */
import { createDatasetStore } from '../../src/store/dataset_store.ts';

const [modelsDir = '', who = ''] = process.argv.slice(2);
const store = createDatasetStore(modelsDir);
const key = { recipeId: 'line2', roleId: 'a', roiId: 'b' };

for (let turn = 0; ; turn++) {
  const contents = [0, 1, 2].map((i) => `${who} ${turn} ${i} ${'x'.repeat(100_000)}`);
  const names = await store.save(
    key,
    'ok',
    contents.map((content) => ({ bytes: new TextEncoder().encode(content), extension: 'png', meta: { content } })),
  );
  process.stdout.write(`${names.join(' ')}\n`);
}
