import { readdir, readFile } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { InspectionError } from '../errors.ts';
import { seededRandom } from '../evaluation/seeded_random.ts';
import { shuffled } from '../inspection/evaluate_set.ts';
import { goodKind, type PictureSet, type SetPicture, type TestPicture } from '../inspection/picture_set.ts';
import { pictureExtensions } from './pictures.ts';

/**
 * Reads a folder of pictures for `evaluate`; pictures themselves are read when they are needed.
 *
 * - As MVTec AD has it: `train/good`, `test/good`, `test/<kind>`, and, where there are masks,
 *   `ground_truth/<kind>/<picture's name>.*` or `<picture's name>_mask.*`.
 * - Plain: `ok` and `ng`. Half of `ok`, chosen by the seed, is trained on, the other half tested.
 *
 * Names are in natural order, 2 before 10.
 *
 * @throws InspectionError `not_found` when the folder is neither
 */
export async function readPictureSet(folder: string, seed: number): Promise<PictureSet> {
  const name = basename(resolve(folder));
  const [parts, plain] = [await namesIn(folder), await namesIn(join(folder, 'ok'))];
  if (parts.includes('train') && parts.includes('test')) {
    const train = await picturesIn(folder, `train/${goodKind}`);
    const test: TestPicture[] = [];
    for (const kind of await namesIn(join(folder, 'test'))) test.push(...(await testPictures(folder, kind)));
    return { name, train, test };
  }
  if (plain.length > 0 && parts.includes('ng')) {
    const ok = shuffled(await picturesIn(folder, 'ok'), seededRandom(seed));
    const half = Math.ceil(ok.length / 2);
    const asTest = (kind: string) => (picture: SetPicture) => ({ ...picture, kind, readMask: null });
    return {
      name,
      train: ok.slice(0, half),
      test: [...ok.slice(half).map(asTest(goodKind)), ...(await picturesIn(folder, 'ng')).map(asTest('ng'))],
    };
  }
  throw new InspectionError(
    'not_found',
    `${JSON.stringify(folder)} is no set of pictures: it needs train/good and test/<kind> folders, or ok and ng.`,
  );
}

async function testPictures(folder: string, kind: string): Promise<readonly TestPicture[]> {
  const masks = new Map<string, string>();
  if (kind !== goodKind) {
    for (const mask of await namesIn(join(folder, 'ground_truth', kind))) {
      masks.set(stemOf(mask).replace(/_mask$/, ''), join(folder, 'ground_truth', kind, mask));
    }
  }
  return (await picturesIn(folder, `test/${kind}`)).map((picture) => {
    const mask = masks.get(stemOf(picture.file));
    return { ...picture, kind, readMask: mask === undefined ? null : () => bytesOf(mask) };
  });
}

async function picturesIn(folder: string, part: string): Promise<readonly SetPicture[]> {
  const names = (await namesIn(join(folder, part))).filter((name) =>
    pictureExtensions.has(extname(name).toLowerCase()),
  );
  return names.map((name) => ({ file: `${part}/${name}`, read: () => bytesOf(join(folder, part, name)) }));
}

/** Empty when there is no such folder. */
async function namesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => !name.startsWith('.')).sort(new Intl.Collator('en', { numeric: true }).compare);
}

const stemOf = (path: string) => basename(path, extname(path));

const bytesOf = async (path: string) => new Uint8Array(await readFile(path));
