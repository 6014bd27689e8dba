/**
 * Makes the pictures of test/fixtures/parts again: `npm run parts` (`-- --out DIR` elsewhere, `--help`). Everything in them
 * is computed here from seeds; no photograph is used.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { renderedFiles } from './parts/part_set.ts';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: fileURLToPath(new URL('../test/fixtures/parts', import.meta.url)) },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log('npm run parts -- [--out DIR]\n\nRenders the fixture parts (good and bad, with masks) from their seeds.');
  process.exit(0);
}
let bytes = 0;
let count = 0;
for await (const { path, content } of renderedFiles()) {
  const file = join(options.out, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  bytes += content.byteLength;
  count++;
  console.log(`${path}  ${(content.byteLength / 1024).toFixed(0)} KiB`);
}
console.log(`${count} files, ${(bytes / 1024 / 1024).toFixed(2)} MiB in ${options.out}`);
