import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The pictures of parts that this repository makes (`npm run parts`). */
export const partsFolder = fileURLToPath(new URL('./fixtures/parts', import.meta.url));

/** Millimetres per pixel of those pictures. */
export const partsMmPerPx = 0.1;

export interface PartPicture {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The pictures of one folder, sorted by name, such as `train/good` or `test/scratch`. */
export function partPictures(folder: string): readonly PartPicture[] {
  const names = readdirSync(join(partsFolder, folder)).sort();
  return names.map((name) => ({ name, bytes: new Uint8Array(readFileSync(join(partsFolder, folder, name))) }));
}

/** The kinds of defects there are. */
export function defectKinds(): readonly string[] {
  return readdirSync(join(partsFolder, 'test'))
    .filter((kind) => kind !== 'good')
    .sort();
}
