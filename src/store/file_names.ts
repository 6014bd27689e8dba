import { InspectionError } from '../errors.ts';
import { sha256HexNow } from './sha256.ts';

/** What ext4, NTFS and APFS allow for one name. Ours are ASCII, so bytes and characters agree. */
const LONGEST_FILE_NAME = 255;
/** What stands behind a base at most. Temp files do not carry the base in their name, so they need no room here. */
export const MODEL_FILE_SUFFIXES = { npz: '.npz', index: '_index.faiss', calibration: '_calib.json' } as const;
const LONGEST_BASE = LONGEST_FILE_NAME - MODEL_FILE_SUFFIXES.index.length;

const PLAIN_KEY = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const PLAIN_RECIPE = /^[a-z0-9][a-z0-9_-]{0,63}$/;
/** `datasets` stands beside the key folders; the rest are devices on Windows whatever their case. */
const RESERVED_FOLDER = /^(datasets|con|prn|aux|nul|com[0-9]|lpt[0-9])$/i;

function base64Url(id: string): string {
  // UTF-8 would replace every lone surrogate by the same character and let two ids share a file.
  if (/\p{Surrogate}/u.test(id)) {
    throw new InspectionError(
      'invalid_value',
      'An id holds half a surrogate pair, which is not text. Send valid Unicode.',
    );
  }
  return Buffer.from(id, 'utf8').toString('base64url');
}

/** The text `encoded` was made from, or undefined when {@link base64Url} could not have made it. */
function fromBase64Url(encoded: string): string | undefined {
  const bytes = Buffer.from(encoded, 'base64url');
  const text = bytes.toString('utf8');
  // Both encodings drop what they do not understand; only a round trip shows that nothing was lost.
  return text !== '' && Buffer.from(text, 'utf8').toString('base64url') === encoded ? text : undefined;
}

/**
 * The name that all files (and the dataset folder) of a role and ROI begin with: urlsafe base64 without padding of the
 * UTF-8 role_id, `__`, the same of roi_id.
 *
 * Different ids give different bases although `_` belongs to the alphabet: UTF-8 has no twelve 1-bits in a row (at most
 * DEL before a four-byte character: eleven) and no byte that begins with six, so an encoded id neither holds `__` nor
 * begins with `_`.
 *
 * Ids whose base would not fit a file name get `~~` and the hex sha256 of that base. `~` is not in the alphabet, so
 * these meet no other. The predecessor cannot store such ids at all. On a file system that ignores case (Windows,
 * macOS), two bases that differ in case only would meet; the contract fixes these names.
 *
 * @param roleId non-empty
 * @param roiId non-empty
 * @returns at most 243 characters of `A-Za-z0-9_-~`
 * @throws InspectionError `invalid_value` when an id holds a lone surrogate
 */
export function modelFileBase(roleId: string, roiId: string): string {
  const base = `${base64Url(roleId)}__${base64Url(roiId)}`;
  return base.length <= LONGEST_BASE ? base : `~~${sha256HexNow(base)}`;
}

/** The ids a base was made of; undefined for the shortened form and for names that {@link modelFileBase} never makes. */
export function idsOfModelFileBase(base: string): { readonly roleId: string; readonly roiId: string } | undefined {
  // In `x___y` the third underscore cannot begin the ROI, so the split is after the last of the run.
  const parts = /^([A-Za-z0-9_-]+)__([A-Za-z0-9-][A-Za-z0-9_-]*)$/.exec(base);
  const roleId = parts?.[1] === undefined ? undefined : fromBase64Url(parts[1]);
  const roiId = parts?.[2] === undefined ? undefined : fromBase64Url(parts[2]);
  return roleId === undefined || roiId === undefined ? undefined : { roleId, roiId };
}

/**
 * The name the oldest generation used: `<role>_<roi>`, every code point but ASCII letters, digits, `-` and `_` replaced
 * by `_` (its Python: `re.sub(r"[^A-Za-z0-9_-]", "_", ...)`). Several ids share one such name, so it is only read.
 *
 * @returns undefined when no such file can be meant: the name is too long for a file, or it is the base of another role
 *   and ROI, whose model must not answer for this one
 */
export function legacyFileBase(roleId: string, roiId: string): string | undefined {
  const name = `${roleId}_${roiId}`.replace(/[^A-Za-z0-9_-]/gu, '_');
  if (name.length > LONGEST_BASE) return undefined;
  const owner = idsOfModelFileBase(name);
  return owner === undefined || (owner.roleId === roleId && owner.roiId === roiId) ? name : undefined;
}

/**
 * The folder of a model_key inside its recipe: the key itself when it matches `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$` and is
 * not a reserved name (`datasets`, Windows devices, any case); otherwise `~` and its urlsafe base64, or `~~` and its hex
 * sha256 when that is too long. The three forms cannot meet: neither a plain key nor base64 holds `~`.
 *
 * @throws InspectionError `invalid_value` when the key holds a lone surrogate
 */
export function modelKeyFolder(modelKey: string): string {
  if (PLAIN_KEY.test(modelKey) && !RESERVED_FOLDER.test(modelKey)) return modelKey;
  const encoded = `~${base64Url(modelKey)}`;
  return encoded.length <= LONGEST_FILE_NAME ? encoded : `~~${sha256HexNow(modelKey)}`;
}

/**
 * Whether a folder may be one that the predecessor named with a key as it is, where {@link modelKeyFolder} names it otherwise.
 * Not what leads elsewhere, is hidden or reserved, nor what may be another key's encoded name.
 */
export function isRawKeyFolder(name: string): boolean {
  const isPlain = /^[^.~/\\:\0][^/\\:\0]*$/.test(name) && Buffer.byteLength(name) <= LONGEST_FILE_NAME;
  return isPlain && !RESERVED_FOLDER.test(name) && modelKeyFolder(name) !== name;
}

/**
 * The key a folder was named for, by us or, as it is, by the predecessor; undefined for the hashed form and for names that
 * no key's folder has.
 */
export function modelKeyOfFolder(folder: string): string | undefined {
  if (isRawKeyFolder(folder)) return folder;
  const modelKey = folder.startsWith('~') ? fromBase64Url(folder.slice(1)) : folder;
  return modelKey !== undefined && modelKeyFolder(modelKey) === folder ? modelKey : undefined;
}

/** Whether a folder under `recipes/` is named as a recipe may be. */
export function isRecipeFolder(folder: string): boolean {
  return PLAIN_RECIPE.test(folder);
}

/**
 * The folder of a recipe under `recipes/`: its id, which must already be in the contract's form.
 *
 * @throws InspectionError `invalid_value` unless the id matches `^[a-z0-9][a-z0-9_-]{0,63}$`
 */
export function recipeFolder(recipeId: string): string {
  if (!isRecipeFolder(recipeId)) {
    throw new InspectionError(
      'invalid_value',
      `recipe_id must match ^[a-z0-9][a-z0-9_-]{0,63}$, got ${JSON.stringify(recipeId)}.`,
    );
  }
  return recipeId;
}
