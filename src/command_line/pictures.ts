import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { type ErrorCode, InspectionError } from '../errors.ts';
import type { NamedBytes } from '../inspection/fit_model.ts';

/** Lower case. */
export const pictureExtensions: ReadonlySet<string> = new Set([
  '.png',
  '.jpg',
  '.jpeg',
  '.bmp',
  '.tif',
  '.tiff',
  '.webp',
]);

/**
 * The pictures that arguments name: files as they are, folders as the picture files directly inside, sorted by name.
 *
 * @throws InspectionError `not_found` for a path that is not there, `no_images` for a folder without pictures
 */
export async function picturePaths(paths: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const path of paths) {
    const entry = await stat(path).catch((cause: unknown) => {
      throw new InspectionError('not_found', `There is no file or folder ${JSON.stringify(path)}.`, { cause });
    });
    if (!entry.isDirectory()) {
      found.push(path);
      continue;
    }
    const names = (await readdir(path)).filter((name) => pictureExtensions.has(extname(name).toLowerCase())).sort();
    if (names.length === 0) {
      throw new InspectionError(
        'no_images',
        `The folder ${JSON.stringify(path)} holds no pictures (${[...pictureExtensions].join(' ')}).`,
      );
    }
    found.push(...names.map((name) => join(path, name)));
  }
  return found;
}

/**
 * One picture, its bytes in an array of their own.
 *
 * @throws InspectionError `not_found` for a file that cannot be read
 */
export async function readPicture(path: string): Promise<NamedBytes> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new InspectionError('not_found', `There is no readable file ${JSON.stringify(path)}.`, { cause });
  });
  return { name: path, bytes: new Uint8Array(bytes) };
}

/** What is wrong with one picture only; the others can still be inspected. */
const pictureErrors: ReadonlySet<ErrorCode> = new Set([
  'not_found',
  'no_images',
  'unreadable_image',
  'unsupported_media_type',
  'image_too_large',
  'body_too_large',
  'empty_mask',
]);

/** What is wrong with a path, in a sentence that names it. @throws `error` when it says nothing of this path alone */
export function pictureFault(path: string, error: unknown): string {
  if (!(error instanceof InspectionError && pictureErrors.has(error.code))) throw error;
  return error.message.includes(path) ? error.message : `${path}: ${error.message}`;
}
