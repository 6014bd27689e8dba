import type { z } from 'zod';
import { type ErrorCode, InspectionError } from '../errors.ts';
import type { FitRequest } from '../inspection/fit_model.ts';
import type { RequestContext } from './context.ts';
import { recipeId } from './schemas.ts';

/**
 * Checks values against a schema.
 *
 * @throws InspectionError `missing_field` (absent), `invalid_type` (there, but of the wrong kind) or the issue's own
 *   code, else `invalid_value`. Several problems: the gravest kind names the code, the text lists all (at most ten).
 */
export function parseWith<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => describe(issue));
  const code = codesByGravity.find((candidate) => problems.some((one) => one.code === candidate)) ?? 'invalid_value';
  const sentences = [...new Set(problems.map((one) => one.sentence))].slice(0, 10);
  throw new InspectionError(code, sentences.join(' '));
}

/** A form's or query's texts as a record for {@link parseWith}. */
export function textRecord(fields: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries(fields);
}

/**
 * The recipe of a request: the payload's, form's or query's value, else the header's, else `default`. Empty text counts
 * as absent.
 *
 * @throws InspectionError `invalid_value`
 */
export function resolveRecipe(...candidates: readonly (string | null | undefined)[]): string {
  const named = candidates.find((candidate) => candidate != null && candidate.trim() !== '');
  return named == null ? 'default' : parseWith(recipeId, named);
}

/**
 * Keeps the recipe that the first naming candidate names for the bodies of answers, errors included. One that cannot be a
 * recipe leaves what was kept before: refusing it is left to {@link resolveRecipe}, which the endpoint calls.
 */
export function noteRecipe(c: RequestContext, ...candidates: readonly unknown[]): void {
  const named = candidates.find((candidate) => typeof candidate === 'string' && candidate.trim() !== '');
  const recipe = recipeId.safeParse(named);
  if (recipe.success) c.set('recipeId', recipe.data);
}

/** The model that a request's fields mean; the recipe they name goes into the answer's body as well. */
export function requestedModel(
  c: RequestContext,
  fields: {
    readonly role_id: string;
    readonly roi_id: string;
    readonly recipe_id?: string | null | undefined;
    readonly model_key?: string | null | undefined;
  },
): FitRequest['key'] {
  return { ...requestedDataset(c, fields), modelKey: fields.model_key ?? fields.roi_id };
}

/** The dataset that a request's fields mean; the recipe they name goes into the answer's body as well. */
export function requestedDataset(
  c: RequestContext,
  fields: {
    readonly role_id: string;
    readonly roi_id: string;
    readonly recipe_id?: string | null | undefined;
  },
): Omit<FitRequest['key'], 'modelKey'> {
  const recipeId = resolveRecipe(fields.recipe_id, c.req.query('recipe_id'), c.req.header('x-recipe-id'));
  c.set('recipeId', recipeId);
  return { recipeId, roleId: fields.role_id, roiId: fields.roi_id };
}

/**
 * Parses JSON text strictly: UTF-8, one value, no NaN.
 *
 * @param contentType what the caller says the bytes are; named in the refusal when it is not JSON
 * @throws InspectionError `invalid_json`
 */
export function parseJson(bytes: Uint8Array, contentType = 'application/json'): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const reason = cause instanceof SyntaxError ? cause.message.slice(0, 200) : 'it is not UTF-8';
    const found = bytes.byteLength === 0 ? 'it is empty' : reason;
    const hint = /json/i.test(contentType)
      ? ''
      : ` This endpoint reads application/json; the request's Content-Type is ${contentType.slice(0, 100)}.`;
    throw new InspectionError('invalid_json', `The body is not valid JSON: ${found}.${hint}`, { cause });
  }
}

const codesByGravity: readonly ErrorCode[] = ['missing_field', 'invalid_type', 'invalid_value'];

interface FieldProblem {
  readonly code: ErrorCode;
  readonly sentence: string;
}

function describe(issue: z.core.$ZodIssue): FieldProblem {
  const field = issue.path.map(String).join('.');
  const own = 'params' in issue ? (issue.params as { code?: ErrorCode } | undefined)?.code : undefined;
  if (own !== undefined) return { code: own, sentence: issue.message };
  if (issue.code === 'invalid_type' || issue.code === 'invalid_union') {
    if (issue.input === undefined && field !== '')
      return { code: 'missing_field', sentence: `The field ${field} is missing.` };
    // JSON has no NaN, so a non-finite number can only come from an overflow such as 1e999.
    if (issue.code === 'invalid_type' && issue.expected === 'number' && typeof issue.input === 'number')
      return { code: 'invalid_value', sentence: issue.message };
    return { code: 'invalid_type', sentence: issue.message };
  }
  return { code: 'invalid_value', sentence: issue.message };
}
