import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decodeNpy } from '../src/store/npy.ts';

/** Reference data that is not part of the repository: `../shared` beside it, where it exists. */
export const sharedFolder = fileURLToPath(new URL('../../shared', import.meta.url));
export const hasShared = existsSync(sharedFolder);
if (!hasShared) console.log('../shared is not here: the tests against reference data are skipped');

/** A file of `../shared`. */
export function sharedFile(name: string): string {
  return `${sharedFolder}/${name}`;
}

/** A numeric .npy file of `../shared`. */
export function readSharedNpy(name: string): { readonly shape: readonly number[]; readonly data: Float32Array } {
  const array = decodeNpy(new Uint8Array(readFileSync(sharedFile(name))), name, name);
  if (array.dtype === 'text') throw new Error(`${name} holds text`);
  return { shape: array.shape, data: Float32Array.from(array.data as ArrayLike<number>) };
}
