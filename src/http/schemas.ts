import { z } from 'zod';

/**
 * What requests may hold. A form's texts and a JSON body's values meet the same rules; an issue carries the error code
 * in `params.code` when it is not the usual one (`invalid_value`, or `missing_field` / `invalid_type` by zod's own kind).
 */

/** Ids are case-sensitive, any Unicode; they reach a file name only encoded. */
const maxIdCharacters = 200;

const id = (what: string) =>
  z
    .string(`${what} must be text.`)
    .refine((text) => text.trim() !== '', `${what} must not be empty.`)
    .refine((text) => [...text].length <= maxIdCharacters, {
      error: (issue) =>
        `${what} has ${[...(issue.input as string)].length} characters; at most ${maxIdCharacters} are allowed.`,
    })
    .refine((text) => text.isWellFormed(), `${what} holds half a surrogate pair, which is no Unicode text.`)
    .meta({ minLength: 1, maxLength: maxIdCharacters });

export const roleId = id('role_id').meta({
  description: 'The role: the part or station the ROI belongs to.',
  example: 'flange',
});
export const roiId = id('roi_id').meta({ description: 'The region of the part.', example: 'top' });

/** Empty counts as absent: the GUI sends empty texts for what it does not use. */
export const modelKey = z
  .union([z.literal('').transform(() => undefined), id('model_key')])
  .optional()
  .meta({ description: 'Name of the fitted model inside the recipe; default: roi_id.' });

/** Where a recipe may be named: payload, form or query; the header X-Recipe-Id is read beside it. */
export const recipeField = z.string('recipe_id must be text.').optional().meta({
  description: 'Recipe; trimmed and lower-cased. Default: the header X-Recipe-Id, else "default".',
});

const recipePattern = /^[a-z0-9][a-z0-9_-]{0,63}$/;

/** A recipe's id, normalised. */
export const recipeId = z
  .string()
  .transform((text) => text.trim().toLowerCase())
  .refine((text) => recipePattern.test(text), {
    error: (issue) =>
      `recipe_id ${JSON.stringify(String(issue.input).slice(0, 80))} is not usable: 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit.`,
  })
  .refine((text) => text !== 'last', 'recipe_id "last" is reserved; choose another name.');

const numberPattern = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const notFinitePattern = /^[+-]?(nan|inf|infinity)$/i;

/** A form's number: `0.1`, `1E-05`. `NaN` and `Infinity` are numbers of no use (400); other text is no number (422). */
const numberText = (what: string) =>
  z
    .string()
    .transform((text) => text.trim())
    .superRefine((text, context) => {
      if (numberPattern.test(text)) return;
      if (notFinitePattern.test(text))
        context.addIssue({ code: 'custom', message: `${what} must be a finite number; it is ${text}.` });
      else {
        context.addIssue({
          code: 'custom',
          message: `${what} must be a number; it is ${JSON.stringify(text.slice(0, 80))}.`,
          params: { code: 'invalid_type' },
        });
      }
    })
    .transform(Number);

const scaleRule = 'mm_per_px must be a finite number above 0';

const positiveScale = (value: number) => Number.isFinite(value) && value > 0;

/** Millimetres per pixel of the posted picture, in a form. */
export const mmPerPxText = numberText('mm_per_px')
  .refine(positiveScale, { error: (issue) => `${scaleRule}; it is ${String(issue.input)}.` })
  .meta({
    description: 'Millimetres per pixel of the posted pictures, above 0. One value per recipe.',
    example: '0.1',
  });

/** The same in JSON. */
export const mmPerPxNumber = z
  .number('mm_per_px must be a number.')
  .refine(positiveScale, { error: (issue) => `${scaleRule}; it is ${String(issue.input)}.` });

/** A form's boolean. */
export const booleanText = (what: string, fallback: boolean) =>
  z
    .string()
    .optional()
    .transform((text) => (text ?? '').trim().toLowerCase())
    .superRefine((text, context) => {
      if (!['', 'true', '1', 'yes', 'on', 'false', '0', 'no', 'off'].includes(text)) {
        context.addIssue({
          code: 'custom',
          message: `${what} must be true/false, 1/0, yes/no or on/off; it is ${JSON.stringify(text.slice(0, 80))}.`,
          params: { code: 'invalid_type' },
        });
      }
    })
    .transform((text) => (text === '' ? fallback : ['true', '1', 'yes', 'on'].includes(text)));

const finiteScores = (what: string) =>
  z.array(
    z
      .number(`${what} must hold finite numbers only.`)
      .refine(Number.isFinite, `${what} must hold finite numbers only.`),
    `${what} must be a list of numbers.`,
  );

/** Beyond this a calibration is a mistake, not a set of parts. */
const maxScores = 1_000_000;

export const calibrateNgRequest = z.object(
  {
    role_id: roleId,
    roi_id: roiId,
    ok_scores: finiteScores('ok_scores')
      .min(1, 'ok_scores must hold at least one score.')
      .max(maxScores, `ok_scores must hold at most ${maxScores} scores.`)
      .meta({ description: 'Scores of good parts that are not in the memory.' }),
    ng_scores: finiteScores('ng_scores')
      .max(maxScores, `ng_scores must hold at most ${maxScores} scores.`)
      .nullish()
      .meta({
        description: 'Scores of bad parts; null or absent when there are none.',
      }),
    mm_per_px: mmPerPxNumber.nullish().meta({ description: "Default: the recipe's value, else 0.2." }),
    area_mm2_thr: z
      .number('area_mm2_thr must be a number.')
      .refine((value) => Number.isFinite(value) && value >= 0, {
        error: (issue) => `area_mm2_thr must be a finite number of at least 0; it is ${String(issue.input)}.`,
      })
      .nullish()
      .meta({ description: 'Smallest reported region in mm²; default 1.0.' }),
    score_percentile: z
      .number('score_percentile must be a number.')
      .refine((value) => value >= 0 && value <= 100, {
        error: (issue) => `score_percentile must be from 0 to 100; it is ${String(issue.input)}.`,
      })
      .nullish()
      .meta({ description: 'Percentile of the OK scores, default 99.' }),
    recipe_id: recipeField,
    model_key: modelKey,
  },
  'The body must be a JSON object.',
);

export const fitOkForm = z.object({
  role_id: roleId,
  roi_id: roiId,
  mm_per_px: mmPerPxText,
  memory_fit: booleanText('memory_fit', false),
  use_dataset: booleanText('use_dataset', false),
  recipe_id: recipeField,
  model_key: modelKey,
});

export const inferForm = z.object({
  role_id: roleId,
  roi_id: roiId,
  mm_per_px: mmPerPxText,
  shape: z.string().optional(),
  include_heatmap: booleanText('include_heatmap', true),
  recipe_id: recipeField,
  model_key: modelKey,
});
