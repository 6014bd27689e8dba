import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { type Dice, hostileNumbers, hostileTexts, mutated } from './dice.ts';

/**
 * Damages one file of a models folder as a broken disk, a careless copy or an enemy would.
 *
 * @param isSpared by path below the folder
 * @returns puts the file back as it was, unless the service has written it anew; null when there is none to damage
 */
export function damageAFile(dice: Dice, modelsDir: string, isSpared: (path: string) => boolean): (() => void) | null {
  const files = (unlessGone(() => readdirSync(modelsDir, { recursive: true }) as string[]) ?? [])
    .map((path) => path.split(sep).join('/'))
    // What is being written has a name of its own for each writing; it is gone before an enemy could have learned it.
    .filter((path) => !path.includes('.tmp-') && !isSpared(path) && factsOf(join(modelsDir, path))?.isFile())
    .sort();
  if (files.length === 0) return null;
  const path = join(modelsDir, dice.pick(files));
  return unlessGone(() => {
    const before = readFileSync(path);
    const isJson = path.endsWith('.json') && dice.chance(0.6);
    const damaged = dice.pick([
      () => (isJson ? otherValue(dice, before) : mutated(dice, before)),
      () => (isJson ? otherValue(dice, before) : mutated(dice, before)),
      () => before.subarray(0, dice.int(before.length + 1)),
      () => Buffer.alloc(0),
      () => dice.bytes(dice.int(300)),
      () => Buffer.concat([before, dice.bytes(1 + dice.int(50))]),
      () => null,
      () => 'folder' as const,
    ])();
    rmSync(path, { force: true });
    if (damaged === 'folder') mkdirSync(path);
    else if (damaged !== null) writeFileSync(path, damaged);
    const left = factsOf(path)?.mtimeMs;
    return () => {
      unlessGone(() => {
        if (factsOf(path)?.mtimeMs !== left) return;
        rmSync(path, { recursive: true, force: true });
        writeFileSync(path, before);
      });
    };
  });
}

const factsOf = (path: string) => statSync(path, { throwIfNoEntry: false });

/** Null when the service has removed or made something there meanwhile. */
function unlessGone<T>(work: () => T): T | null {
  try {
    return work();
  } catch (error) {
    if (['ENOENT', 'EEXIST', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

/** The same JSON with one value another. */
function otherValue(dice: Dice, bytes: Buffer): Buffer {
  const values = [...bytes.toString().matchAll(/: ?("[^"]*"|[-\d.e]+|null|true|false|\[\]|\{\})/g)];
  const { index, 0: found } = values.length === 0 ? { index: 0, 0: '' } : dice.pick(values);
  const value = dice.pick([
    'null',
    '[]',
    '{}',
    '""',
    JSON.stringify(dice.pick(hostileTexts)),
    dice.pick(hostileNumbers),
    '-1',
    '1e300',
    '"2026-99-99"',
  ]);
  const text = bytes.toString();
  return Buffer.from(`${text.slice(0, index)}: ${value}${text.slice(index + found.length)}`);
}
