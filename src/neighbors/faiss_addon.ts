import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { InspectionError } from '../errors.ts';

/**
 * Where faiss-node's compiled part lies, made by `npm run faiss:build` or by the package's own installation; null: nowhere.
 *
 * @param from the module on whose behalf it is looked for
 */
export function faissAddon(from: string = import.meta.url): string | null {
  try {
    const card = createRequire(from).resolve('faiss-node/package.json');
    const path = join(dirname(card), 'build', 'Release', 'faiss-node.node');
    return existsSync(path) ? path : null;
  } catch {
    // Not installed, which is as usual as not.
    return null;
  }
}

/**
 * The same where it must be there; nothing of it is loaded.
 *
 * @throws InspectionError `invalid_config`
 */
export function requireFaissAddon(from?: string): string {
  const addon = faissAddon(from);
  if (addon !== null) return addon;
  throw new InspectionError(
    'invalid_config',
    "BDI_NEIGHBORS=faiss asks for faiss-node, which is not built here: run `npm run faiss:build` (it needs Debian's libfaiss-dev and libopenblas-dev), or leave BDI_NEIGHBORS at onnx, which answers the same.",
  );
}
