import type { z } from 'zod';
import { InspectionError } from '../errors.ts';
import { bodyStream, type RequestContext, readBody } from './context.ts';
import { type FormLimits, readForm, type UploadedFile } from './multipart.ts';
import { noteRecipe, parseJson, parseWith, textRecord } from './validation.ts';

/**
 * Reads and checks a form. The recipe it names is kept before the other fields are looked at, so that an error about one
 * of them names it.
 *
 * @param pictureFields the fields whose files are wanted; other files are ignored
 * @param listFields names of a text field that may come several times
 * @throws InspectionError what {@link readForm} and {@link parseWith} throw; `unsupported_media_type` for a packed body;
 *   `invalid_type` when a picture came as text: what its bytes were is lost, and a fit would silently go without it
 */
export async function readFormRequest<S extends z.ZodObject>(
  c: RequestContext,
  schema: S,
  pictureFields: readonly string[],
  { maxBodyBytes }: Pick<FormLimits, 'maxBodyBytes'>,
  listFields: readonly string[] = [],
): Promise<{
  readonly fields: z.output<S>;
  readonly pictures: readonly UploadedFile[];
  readonly list: readonly string[];
}> {
  requirePlainBody(c);
  const limits: FormLimits = {
    maxBodyBytes,
    textFields: Object.keys(schema.shape),
    ...(listFields.length > 0 && { listFields }),
  };
  const form = await readForm(c.req.header('content-type'), bodyStream(c), limits);
  noteRecipe(c, form.fields.get('recipe_id'));
  const fields = parseWith(schema, textRecord(form.fields));
  const asText = pictureFields.find((field) => (form.fields.get(field) ?? '') !== '');
  if (asText !== undefined) {
    throw new InspectionError(
      'invalid_type',
      `The field ${asText} came as text; send each picture as a file, with a file name.`,
    );
  }
  const pictures = form.files.filter(({ field }) => pictureFields.includes(field));
  return { fields, pictures, list: form.list ?? [] };
}

/**
 * Reads and checks a JSON body; its recipe as with a form. Any Content-Type will do, as long as the body is JSON.
 *
 * @throws InspectionError what {@link readBody}, {@link parseJson} and {@link parseWith} throw; `unsupported_media_type`
 *   for a packed body
 */
export async function readJsonRequest<S extends z.ZodType>(
  c: RequestContext,
  schema: S,
  { maxBodyBytes }: Pick<FormLimits, 'maxBodyBytes'>,
): Promise<z.output<S>> {
  requirePlainBody(c);
  const body = parseJson(await readBody(c, maxBodyBytes), c.req.header('content-type'));
  if (typeof body === 'object' && body !== null && 'recipe_id' in body) noteRecipe(c, body.recipe_id);
  return parseWith(schema, body);
}

/** Nothing is unpacked here; what is packed would only look malformed. */
function requirePlainBody(c: RequestContext): void {
  const encoding = c.req.header('content-encoding')?.trim().toLowerCase() ?? '';
  if (encoding === '' || encoding === 'identity') return;
  throw new InspectionError(
    'unsupported_media_type',
    `The body's Content-Encoding is ${JSON.stringify(encoding.slice(0, 100))}; send the body as it is, not packed.`,
  );
}
