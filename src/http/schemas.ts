import { z } from 'zod';
import { type SampleLabel, sampleLabels } from '../inspection/dataset_sample.ts';
import { jobKinds, jobStates } from '../inspection/jobs.ts';
import { scaleLimits } from '../inspection/recipe_scale.ts';
import { type ScoreMode, scoreModes } from '../patchcore/image_score.ts';

/**
 * What requests may hold. A form's texts and a JSON body's values meet the same rules; an issue carries the error code
 * in `params.code` when it is not the usual one (`invalid_value`, or `missing_field` / `invalid_type` by zod's own kind).
 */

/** Ids are case-sensitive, any Unicode; they reach a file name only encoded. */
const maxIdCharacters = 200;

const id = (what: string, { emptyIsAbsent = false } = {}) =>
  z
    .string(`${what} must be text.`)
    .refine((text) => text.trim() !== '' || (emptyIsAbsent && text === ''), `${what} must not be empty.`)
    .refine((text) => [...text].length <= maxIdCharacters, {
      error: (issue) =>
        `${what} has ${[...(issue.input as string)].length} characters; at most ${maxIdCharacters} are allowed.`,
    })
    .refine((text) => text.isWellFormed(), `${what} holds half a surrogate pair, which is no Unicode text.`)
    .meta({ ...(!emptyIsAbsent && { minLength: 1 }), maxLength: maxIdCharacters });

export const roleId = id('role_id').meta({
  description: 'The role: the part or station the ROI belongs to.',
  example: 'flange',
});
export const roiId = id('roi_id').meta({ description: 'The region of the part.', example: 'top' });

/** Empty counts as absent: the GUI sends empty texts for what it does not use. So does null, which .NET writes. */
export const modelKey = id('model_key', { emptyIsAbsent: true })
  .transform((text) => (text === '' ? undefined : text))
  .nullish()
  .meta({ description: 'Name of the fitted model inside the recipe; default: roi_id.' });

/** Where a recipe may be named: payload, form or query; the header X-Recipe-Id is read beside it. */
export const recipeField = z.string('recipe_id must be text.').nullish().meta({
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

const scaleRule = `mm_per_px must be from ${scaleLimits.minimum} to ${scaleLimits.maximum}, finite and above 0`;

const sensibleScale = (value: number) => value >= scaleLimits.minimum && value <= scaleLimits.maximum;

/** Millimetres per pixel of the posted picture, in a form. */
export const mmPerPxText = numberText('mm_per_px')
  .refine(sensibleScale, { error: (issue) => `${scaleRule}; it is ${String(issue.input)}.` })
  .meta({
    description: `Millimetres per pixel of the posted pictures, from ${scaleLimits.minimum} to ${scaleLimits.maximum}. One value per recipe.`,
    example: '0.1',
  });

/** The same in JSON. */
export const mmPerPxNumber = z
  .number('mm_per_px must be a number.')
  .refine(sensibleScale, { error: (issue) => `${scaleRule}; it is ${String(issue.input)}.` })
  .meta(scaleLimits);

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

/** No score is near it, and the sum of as many as may be sent stays a number. */
const maxScoreSize = 1e100;

/** Beyond this a calibration is a mistake, not a set of parts. */
const maxScores = 1_000_000;

/** A JSON list of scores, looked at as a whole: an issue for every wrong score takes seconds per million of them. */
const scoreList = (what: string, { least }: { readonly least: number }) =>
  z
    .custom<readonly number[]>()
    .superRefine((value, context) => {
      const fault = faultOfScores(what, value, least);
      if (fault !== null) context.addIssue({ code: 'custom', ...fault });
    })
    .meta({ type: 'array', items: { type: 'number' }, minItems: least, maxItems: maxScores });

function faultOfScores(what: string, value: unknown, least: number) {
  const wrongType = { code: 'invalid_type' };
  if (!Array.isArray(value)) return { message: `${what} must be a list of numbers.`, params: wrongType };
  if (value.length < least) return { message: `${what} must hold at least one score.` };
  if (value.length > maxScores) return { message: `${what} must hold at most ${maxScores} scores.` };
  if (value.some((score) => typeof score !== 'number'))
    return { message: `${what} must hold finite numbers only.`, params: wrongType };
  const tooLarge = (value as number[]).find((score) => !(Math.abs(score) <= maxScoreSize));
  if (tooLarge === undefined) return null;
  return {
    message: `${what} must hold finite numbers from -${maxScoreSize} to ${maxScoreSize} only; one is ${tooLarge}.`,
  };
}

/** A number of JSON strictly between 0 and 1. */
const shareNumber = (what: string) =>
  z
    .number(`${what} must be a number.`)
    .refine((value) => value > 0 && value < 1, {
      error: (issue) => `${what} must be above 0 and below 1; it is ${String(issue.input)}.`,
    })
    .nullish();

/** How a calibration chooses its threshold. */
const thresholdRule = {
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
  max_overkill: shareNumber('max_overkill').meta({
    description:
      'Largest share of good parts that may be judged NG. Given: the threshold is the lowest that promises it with the confidence, in place of the percentile rule.',
    example: 0.05,
  }),
  confidence: shareNumber('confidence').meta({ description: 'Of the promise of max_overkill; default 0.95.' }),
  review_threshold: z.number('review_threshold must be a number.').nullish().meta({
    description: 'From this score up to the threshold the verdict is review. Not above the threshold.',
  }),
};

export const calibrateNgRequest = z
  .object(
    {
      role_id: roleId,
      roi_id: roiId,
      ok_scores: scoreList('ok_scores', { least: 1 })
        .optional()
        .meta({ description: 'Scores of good parts that are not in the memory. Required unless use_leave_one_out.' }),
      use_leave_one_out: z.boolean('use_leave_one_out must be true or false.').nullish().meta({
        description:
          'True: take the scores that the good pictures of the fit would have if they were not in the memory, in place of ok_scores. Pictures that look bad are left out.',
      }),
      ng_scores: scoreList('ng_scores', { least: 0 }).nullish().meta({
        description: 'Scores of bad parts; null or absent when there are none.',
      }),
      mm_per_px: mmPerPxNumber.nullish().meta({ description: "Default: the recipe's value, else 0.2." }),
      ...thresholdRule,
      recipe_id: recipeField,
      model_key: modelKey,
    },
    'The body must be a JSON object.',
  )
  .superRefine((request, context) => {
    if (request.ok_scores !== undefined || request.use_leave_one_out === true) return;
    context.addIssue({
      code: 'custom',
      message: 'The field ok_scores is missing.',
      params: { code: 'missing_field' },
    });
  });

/** Which model a GET means. */
export const modelQuery = z.object({ role_id: roleId, roi_id: roiId, recipe_id: recipeField, model_key: modelKey });

const generationNumber = (what: string) =>
  z
    .int(`${what} must be a whole number of at least 1.`)
    .positive(`${what} must be a whole number of at least 1.`)
    .nullish();

/** `generation` under either name, one of them required. */
export const rollbackRequest = z
  .object(
    {
      generation: generationNumber('generation').meta({
        description:
          'Its number, as GET /models/{role_id}/{roi_id}/generations tells it. Required unless model_generation is given.',
      }),
      model_generation: generationNumber('model_generation').meta({
        description: 'The same as generation, by the name it has in answers.',
      }),
      recipe_id: recipeField,
      model_key: modelKey,
    },
    'The body must be a JSON object.',
  )
  .transform(({ generation, model_generation, ...names }, context) => {
    const number = generation ?? model_generation;
    if (number == null) {
      context.addIssue({
        code: 'custom',
        message: 'The field generation is missing.',
        params: { code: 'missing_field' },
      });
      return z.NEVER;
    }
    if (model_generation != null && model_generation !== number) {
      context.addIssue({
        code: 'custom',
        message: `generation is ${number} and model_generation is ${model_generation}; they name the same thing. Send one of them.`,
      });
    }
    return { ...names, generation: number };
  });

const scoreModeText = z
  .string()
  .optional()
  .transform((text) => (text ?? '').trim().toLowerCase())
  .superRefine((text, context) => {
    if (text === '' || (scoreModes as readonly string[]).includes(text)) return;
    context.addIssue({
      code: 'custom',
      message: `score_mode must be one of ${scoreModes.join(', ')}; it is ${JSON.stringify(text.slice(0, 80))}.`,
    });
  })
  .transform((text) => (text === '' ? undefined : (text as ScoreMode)));

export const fitOkForm = z.object({
  role_id: roleId,
  roi_id: roiId,
  mm_per_px: mmPerPxText,
  memory_fit: booleanText('memory_fit', false).meta({
    description: 'True: keep every patch instead of a coreset. Default false.',
  }),
  score_mode: scoreModeText.meta({
    description:
      'How maps of this memory become scores: percentile (of the map, BDI_SCORE_PERCENTILE) or top_share (mean of its highest 1 %). Default: the service setting.',
  }),
  positions: booleanText('positions', true).meta({
    description:
      'False: never compare patches by their place, also when the pictures show that parts always lie the same way. Default true.',
  }),
  shape: z.string().optional().meta({
    description:
      'The ROI of the pictures, as in /infer; give it when inspections will. Patches that have no say inside it stay out of the memory, and leave-one-out scores are made inside it. A stored sample whose meta has a shape of its own goes by that.',
  }),
  use_dataset: booleanText('use_dataset', false).meta({
    description: 'True: fit from the stored OK samples of this role and ROI instead of posted pictures. Default false.',
  }),
  recipe_id: recipeField,
  model_key: modelKey,
});

export const inferForm = z.object({
  role_id: roleId,
  roi_id: roiId,
  mm_per_px: mmPerPxText,
  shape: z.string().optional().meta({
    description:
      'The ROI in pixels of the picture, as JSON text: kind rect (x, y, w, h), circle (cx, cy, r) or annulus (cx, cy, r, r_inner). Missing numbers, another kind, empty text or no shape mean the whole picture.',
    example: '{"kind":"circle","cx":192,"cy":192,"r":150}',
  }),
  include_heatmap: booleanText('include_heatmap', true).meta({
    description: 'False: no heatmap in the answer. Default true.',
  }),
  explain: booleanText('explain', false).meta({
    description:
      'True: say for the largest regions which good picture came nearest, where, and how far. Default false.',
  }),
  score_p_value: booleanText('score_p_value', false).meta({
    description: 'True: say how unusual the score is among the OK scores of the calibration. Default false.',
  }),
  recipe_id: recipeField,
  model_key: modelKey,
});

/** Several values separated by commas; empty text and absence mean all. */
const listOf = <const T extends readonly [string, ...string[]]>(what: string, values: T) =>
  z
    .string()
    .default('')
    .transform((text) =>
      text
        .split(',')
        .map((part) => part.trim().toLowerCase())
        .filter((part) => part !== ''),
    )
    .pipe(
      z.array(
        z.enum(values as readonly [T[number], ...T[number][]], {
          error: (issue) =>
            `${what} must be one of ${values.join(', ')}, or several with commas; it is ${JSON.stringify(String(issue.input).slice(0, 80))}.`,
        }),
      ),
    );

const jobListLimits = { usual: 50, most: 200 } as const;

/** Which jobs `GET /jobs` lists. */
export const jobsQuery = z.object({
  state: listOf('state', jobStates).meta({ description: `Any of ${jobStates.join(', ')}, with commas. Default: all.` }),
  kind: listOf('kind', jobKinds).meta({ description: `Any of ${jobKinds.join(', ')}, with commas. Default: all.` }),
  limit: z
    .string()
    .trim()
    .default(String(jobListLimits.usual))
    .refine((text) => /^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= jobListLimits.most, {
      error: (issue) =>
        `limit must be a whole number from 1 to ${jobListLimits.most}; it is ${JSON.stringify(String(issue.input).slice(0, 80))}.`,
    })
    .transform(Number)
    .meta({ description: `How many, the newest first; 1 to ${jobListLimits.most}, default ${jobListLimits.usual}.` }),
});

const labelText = z
  .string()
  .refine((text) => (sampleLabels as readonly string[]).includes(text), {
    error: (issue) =>
      `label must be ${sampleLabels.join(' or ')}; it is ${JSON.stringify(String(issue.input).slice(0, 80))}.`,
  })
  .transform((text) => text as SampleLabel)
  .meta({ description: 'Class of the sample: ok or ng.', example: 'ok' });

/** Which dataset a request means: one per recipe, role and ROI. */
const datasetMembers = { role_id: roleId, roi_id: roiId, recipe_id: recipeField };

export const datasetQuery = z.object(datasetMembers);
export const datasetLabelQuery = z.object({ ...datasetMembers, label: labelText });
export const sampleQuery = datasetLabelQuery.extend({
  filename: z
    .string()
    .refine((text) => text !== '', 'filename must not be empty.')
    .meta({ description: 'The name that the list tells.' }),
});

const thumbnailSides = { least: 16, usual: 160, most: 1024 } as const;

export const thumbnailQuery = sampleQuery.extend({
  max_side: z
    .string()
    .trim()
    .default(String(thumbnailSides.usual))
    .refine(
      (text) => /^\d{1,4}$/.test(text) && Number(text) >= thumbnailSides.least && Number(text) <= thumbnailSides.most,
      {
        error: (issue) =>
          `max_side must be a whole number from ${thumbnailSides.least} to ${thumbnailSides.most}; it is ${JSON.stringify(String(issue.input).slice(0, 80))}.`,
      },
    )
    .transform(Number)
    .meta({
      description: `Longest side in pixels, ${thumbnailSides.least} to ${thumbnailSides.most}; default ${thumbnailSides.usual}.`,
    }),
});

export const uploadForm = z.object(datasetMembers);

const defaultMmPerPx = mmPerPxNumber.nullish().meta({
  description: 'For samples whose meta gives none, where the recipe has none either; default 0.2.',
});

export const calibrateDatasetRequest = z.object(
  {
    role_id: roleId,
    roi_id: roiId,
    default_mm_per_px: defaultMmPerPx,
    require_ng: z
      .boolean('require_ng must be true or false.')
      .nullish()
      .meta({ description: 'False: calibrate without a bad part as well. Default true.' }),
    ...thresholdRule,
    recipe_id: recipeField,
    model_key: modelKey,
  },
  'The body must be a JSON object.',
);

export const inferDatasetRequest = z.object(
  {
    role_id: roleId,
    roi_id: roiId,
    labels: z
      .array(labelText, 'labels must be a list of ok and ng.')
      .nullish()
      .meta({ description: 'Classes to inspect; absent, null or empty: both.' }),
    include_heatmap: z
      .boolean('include_heatmap must be true or false.')
      .nullish()
      .meta({ description: 'True: every item has its heatmap. Default false.' }),
    default_mm_per_px: defaultMmPerPx,
    recipe_id: recipeField,
    model_key: modelKey,
  },
  'The body must be a JSON object.',
);

export const reviewRequest = z.object(datasetMembers, 'The body must be a JSON object.');

export const recipeChange = z.object({ mm_per_px: mmPerPxNumber }, 'The body must be a JSON object.');

export const recipeRemoval = z.object({
  force: booleanText('force', false).meta({
    description: 'True: also when the recipe holds models, calibrations or samples. Default false.',
  }),
});
