import { basename, dirname, join, resolve, sep } from 'node:path';

/**
 * Where the heatmap of each picture goes: `<folder>/<sub-folders>/<picture>_heatmap.png`, where the picture keeps its
 * extension and the sub-folders are those below the deepest folder that holds all the pictures. Different pictures never
 * get the same file.
 *
 * @param pictures paths, relative ones to the working folder
 * @returns by the path as it was given
 */
export function heatmapFiles(folder: string, pictures: readonly string[]): ReadonlyMap<string, string> {
  const folders = pictures.map((picture) => foldersOf(picture));
  const [first = []] = folders;
  const differ = first.findIndex((name, depth) => folders.some((other) => other[depth] !== name));
  const shared = differ === -1 ? first.length : differ;
  return new Map(
    pictures.map((picture, i) => [
      picture,
      join(folder, ...(folders[i] as string[]).slice(shared), `${basename(picture)}_heatmap.png`),
    ]),
  );
}

/** The folders that lead to a file, from the root on; a drive of Windows counts as one, under its letter. */
function foldersOf(file: string): string[] {
  const [drive = '', ...names] = dirname(resolve(file)).split(sep);
  return [drive.replace(':', ''), ...names];
}
