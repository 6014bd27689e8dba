import type { z } from 'zod';
import { bodyStream, type RequestContext, readBody } from './context.ts';
import { type FormLimits, readForm, type UploadedFile } from './multipart.ts';
import { noteRecipe, parseJson, parseWith, textRecord } from './validation.ts';

/**
 * Reads and checks a form. The recipe it names is kept before the other fields are looked at, so that an error about one
 * of them names it.
 *
 * @throws InspectionError what {@link readForm} and {@link parseWith} throw
 */
export async function readFormRequest<S extends z.ZodObject>(
  c: RequestContext,
  schema: S,
  { maxBodyBytes }: Pick<FormLimits, 'maxBodyBytes'>,
): Promise<{ readonly fields: z.output<S>; readonly files: readonly UploadedFile[] }> {
  const limits = { maxBodyBytes, textFields: Object.keys(schema.shape) };
  const form = await readForm(c.req.header('content-type'), bodyStream(c), limits);
  noteRecipe(c, form.fields.get('recipe_id'));
  return { fields: parseWith(schema, textRecord(form.fields)), files: form.files };
}

/**
 * Reads and checks a JSON body; its recipe as with a form.
 *
 * @throws InspectionError what {@link readBody}, {@link parseJson} and {@link parseWith} throw
 */
export async function readJsonRequest<S extends z.ZodType>(
  c: RequestContext,
  schema: S,
  { maxBodyBytes }: Pick<FormLimits, 'maxBodyBytes'>,
): Promise<z.output<S>> {
  const body = parseJson(await readBody(c, maxBodyBytes));
  if (typeof body === 'object' && body !== null && 'recipe_id' in body) noteRecipe(c, body.recipe_id);
  return parseWith(schema, body);
}
