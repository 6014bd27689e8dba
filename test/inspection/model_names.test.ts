import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { recipeId, roleId } from '../../src/http/schemas.ts';
import { checkedId, normalizedRecipeId } from '../../src/inspection/model_names.ts';

/** What a rule makes of a text: the text to go on with, or null for a refusal. */
function outcome(rule: (text: string) => string, text: string): string | null {
  try {
    return rule(text);
  } catch (error) {
    expect(error).toMatchObject({ code: 'invalid_value' });
    return null;
  }
}

const overHttp =
  (schema: z.ZodType<string>) =>
  (text: string): string | null =>
    schema.safeParse(text).data ?? null;

describe('names of models', () => {
  const near = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 260 }),
    fc.string({ unit: fc.constantFrom('a', 'Z', '0', '_', '-', ' ', 'ß', '\ud800', '😀'), maxLength: 210 }),
    fc.constantFrom('', ' ', 'last', ' LAST ', 'Line1', 'default', 'a'.repeat(64), 'a'.repeat(65), '😀'.repeat(200)),
  );

  it('are judged and changed as over HTTP', () => {
    fc.assert(
      fc.property(near, (text) => {
        expect(outcome(normalizedRecipeId, text)).toBe(overHttp(recipeId)(text));
        expect(outcome((id) => checkedId('role_id', id), text)).toBe(overHttp(roleId)(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('are told by field, value and limit', () => {
    expect(normalizedRecipeId(' Line1 ')).toBe('line1');
    expect(() => normalizedRecipeId('Last')).toThrow(/"last" is reserved/);
    expect(() => normalizedRecipeId('a/b')).toThrow(/"a\/b" is not usable: 1 to 64/);
    expect(() => checkedId('roi_id', '  ')).toThrow(/roi_id must not be empty/);
    expect(() => checkedId('model_key', 'x'.repeat(201))).toThrow(/model_key has 201 characters; at most 200/);
    expect(() => checkedId('role_id', '\ud800')).toThrow(/role_id holds half a surrogate/);
  });
});
