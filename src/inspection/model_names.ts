import { InspectionError } from '../errors.ts';

/**
 * The rules for the names of models, for callers that do not come over HTTP (whose schemas hold requests to the same
 * rules).
 */

const maxIdCharacters = 200;

const recipePattern = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/**
 * Checks an id. Ids are case-sensitive and keep their spaces; they reach a file name only encoded.
 *
 * @returns `text` as it is
 * @throws InspectionError `invalid_value` naming the field: blank, more than 200 characters, half a surrogate pair
 */
export function checkedId(field: 'role_id' | 'roi_id' | 'model_key', text: string): string {
  if (text.trim() === '') throw new InspectionError('invalid_value', `${field} must not be empty.`);
  const characters = [...text].length;
  if (characters > maxIdCharacters) {
    throw new InspectionError(
      'invalid_value',
      `${field} has ${characters} characters; at most ${maxIdCharacters} are allowed.`,
    );
  }
  if (!text.isWellFormed()) {
    throw new InspectionError('invalid_value', `${field} holds half a surrogate pair, which is no Unicode text.`);
  }
  return text;
}

/**
 * Trims and lower-cases a recipe's id and checks it.
 *
 * @throws InspectionError `invalid_value`: not 1 to 64 of a-z, 0-9, _ and - beginning with a letter or digit, or `last`
 */
export function normalizedRecipeId(text: string): string {
  const recipeId = text.trim().toLowerCase();
  if (!recipePattern.test(recipeId)) {
    throw new InspectionError(
      'invalid_value',
      `recipe_id ${JSON.stringify(recipeId.slice(0, 80))} is not usable: 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit.`,
    );
  }
  if (recipeId === 'last') {
    throw new InspectionError('invalid_value', 'recipe_id "last" is reserved; choose another name.');
  }
  return recipeId;
}
