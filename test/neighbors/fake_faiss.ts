import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Writes an addon that stands in for faiss-node, and gives its path. `fake_faiss.cjs` tells what lies beside it then. */
export function writeFakeFaiss(folder: string): string {
  const path = join(folder, 'addon.cjs');
  const fake = fileURLToPath(new URL('./fake_faiss.cjs', import.meta.url));
  writeFileSync(path, `module.exports = require(${JSON.stringify(fake)})(__dirname);`);
  return path;
}
