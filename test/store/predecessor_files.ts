import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeFlatL2 } from '../../src/store/faiss_file.ts';
import { encodeNpz } from '../../src/store/npz.ts';
import { axisBank } from './some_memory.ts';

/** A memory as the predecessor wrote it: no fingerprint, 6 rows on a 2 × 3 grid. `turn` makes it another one. */
export function predecessorNpz(turn: number, cols = 16): Uint8Array {
  return encodeNpz({
    emb: { dtype: 'float32', shape: [6, cols], data: axisBank(6, cols, turn).data },
    token_h: { dtype: 'int64', shape: [], data: BigInt64Array.of(2n) },
    token_w: { dtype: 'int64', shape: [], data: BigInt64Array.of(3n) },
    metadata: { dtype: 'text', shape: [], data: ['{"backbone":"dinov2","input_size":448}'] },
  });
}

export const predecessorIndex = (turn: number, cols = 16) => encodeFlatL2(axisBank(6, cols, turn));

/** Writes files by their paths below a folder. */
export function writeFiles(folder: string, files: Readonly<Record<string, Uint8Array | string>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}

/** Those that are not kept generations. */
export function withoutGenerations(files: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(files).filter(([name]) => !name.split('/').includes('generations')));
}

/** Every file below a folder with its content; also when it was written, where that matters. */
export function filesBelow(folder: string, withTimes = false): Readonly<Record<string, string>> {
  const names = (readdirSync(folder, { recursive: true }) as string[]).sort();
  const plain = names.filter((name) => statSync(join(folder, name)).isFile());
  return Object.fromEntries(
    plain.map((name) => {
      const content = readFileSync(join(folder, name)).toString('base64');
      return [name, withTimes ? `${statSync(join(folder, name)).mtimeMs} ${content}` : content];
    }),
  );
}
