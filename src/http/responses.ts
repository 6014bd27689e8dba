import { z } from 'zod';
import { scoreModes } from '../patchcore/image_score.ts';

/** What answers hold: written into `/openapi.json`, and every HTTP test checks real answers against them. */

const envelope = { request_id: z.string(), recipe_id: z.string() };
const pixels = z.number().int();

export const healthResponse = z.object({
  status: z.literal('ok'),
  device: z.string(),
  model: z.string(),
  version: z.string(),
  reason: z.string().optional(),
  ...envelope,
});

export const fitOkResponse = z.object({
  status: z.literal('ok'),
  n_embeddings: z.number().int().min(1).meta({ description: 'Patches of the good pictures.' }),
  coreset_size: z.number().int().min(1).meta({ description: 'Patches the memory keeps.' }),
  token_shape: z.tuple([z.number().int(), z.number().int()]).meta({ description: 'Patch rows and columns.' }),
  coreset_rate_requested: z.number(),
  coreset_rate_applied: z.number(),
  n_images: z.number().int().min(1),
  mm_per_px: z.number(),
  extractor: z.string(),
  role_id: z.string(),
  roi_id: z.string(),
  model_key: z.string(),
  calibration: z.enum(['none', 'kept', 'stale', 'damaged']).meta({
    description:
      'What became of a calibration made before: kept when the memory is the same as then, stale or damaged when it must be made anew.',
  }),
  score_mode: z.enum(scoreModes),
  position_weight: z.number().min(0).max(1).meta({
    description:
      'Share of the distance by place in a patch distance; 0 when places do not repeat in the pictures, or there are too few.',
  }),
  suspect_images: z.array(z.object({ name: z.string(), score: z.number() })).meta({
    description: 'Pictures posted as good that look bad to the others, worst first: are they good?',
  }),
  leave_one_out_scores: z.array(z.number().nullable()).meta({
    description: 'What each picture would score if it were not in the memory; null where that was not computed.',
  }),
  ...envelope,
});

export const calibrateNgResponse = z.object({
  status: z.literal('ok'),
  role_id: z.string(),
  roi_id: z.string(),
  model_key: z.string(),
  threshold: z.number(),
  ok_mean: z.number(),
  ng_mean: z.number().meta({ description: '0 without NG scores.' }),
  p99_ok: z.number().meta({ description: 'The chosen percentile of the OK scores.' }),
  p5_ng: z.number().nullable(),
  n_ok: z.number().int(),
  n_ng: z.number().int(),
  mm_per_px: z.number(),
  area_mm2_thr: z.number(),
  score_percentile: z.number(),
  memory_id: z.string().nullable().meta({ description: 'The memory this threshold belongs to.' }),
  image_score_percentile: z.number(),
  calibrated_at_utc: z.string(),
  in_force: z.boolean().meta({
    description: 'False: the memory that answers is borrowed from another model, and so is the threshold.',
  }),
  ok_scores_from: z.enum(['request', 'leave_one_out']),
  guarantee: z
    .object({
      alpha: z.number().meta({ description: 'Largest overkill promised.' }),
      delta: z.number().meta({ description: 'Chance, over calibrations, that the promise is broken.' }),
      n: z.number().int(),
      k: z.number().int().meta({ description: 'The threshold lies just above the k-th smallest OK score.' }),
      escape_upper_bound: z.number().nullable().meta({
        description: 'Upper bound, at confidence 1 - delta, of the share of bad parts like the posted ones that pass.',
      }),
    })
    .nullable(),
  review_threshold: z.number().nullable(),
  ...envelope,
});

const region = z.object({
  bbox: z.tuple([pixels, pixels, pixels, pixels]).meta({ description: 'x, y, width, height.' }),
  x: pixels,
  y: pixels,
  w: pixels,
  h: pixels,
  area_px: z.number(),
  area_mm2: z.number(),
  contour: z.array(z.tuple([pixels, pixels])),
});

const place = z.object({ x: pixels, y: pixels, w: pixels, h: pixels });

export const modelHealthResponse = z.object({
  status: z.literal('ok'),
  role_id: z.string(),
  roi_id: z.string(),
  model_key: z.string(),
  memory_fitted: z.boolean(),
  calibration: z
    .enum(['none', 'valid', 'stale'])
    .meta({ description: 'stale: made for another memory, not in force.' }),
  drift: z.object({
    state: z.enum(['not_watched', 'steady', 'drifted']).meta({
      description:
        'Whether parts judged OK still score like those of the calibration and are as bright as the pictures of the fit. Begins anew with every calibration and start of the service; at most one false alarm in 100,000 pictures.',
    }),
    by: z.enum(['score', 'brightness']).nullable().meta({ description: 'What has drifted.' }),
    pictures: z.number().int(),
    statistic: z.number().nullable(),
    limit: z.number().nullable(),
    since: z.number().int().nullable(),
    direction: z.enum(['higher', 'lower']).nullable(),
  }),
  ...envelope,
});

export const inferResponse = z.object({
  role_id: z.string(),
  roi_id: z.string(),
  score: z.number(),
  threshold: z.number().nullable().meta({ description: 'Null: not calibrated.' }),
  decision: z
    .enum(['ok', 'ng'])
    .nullable()
    .meta({ description: 'ng when score ≥ threshold; null without a threshold.' }),
  verdict: z.enum(['ok', 'review', 'ng']).nullable().meta({
    description: 'As decision, but review between the two thresholds of a calibration that has two.',
  }),
  score_p_value: z
    .number()
    .nullable()
    .optional()
    .meta({ description: 'Only when asked for; null without calibration.' }),
  explanations: z
    .array(
      z.object({
        region: z.number().int().nullable().meta({ description: 'Index into regions; null: the whole picture.' }),
        patch: place,
        distance: z.number(),
        nearest: z.object({ picture: z.string(), place, distance: z.number() }),
      }),
    )
    .optional()
    .meta({ description: 'Only when asked for.' }),
  heatmap_png_base64: z.string().nullable(),
  regions: z.array(region).meta({ description: 'Largest first, in pixels of the posted picture.' }),
  token_shape: z.tuple([z.number().int(), z.number().int()]),
  params: z.object({
    extractor: z.string(),
    input_size: z.union([z.number().int(), z.array(z.number().int())]),
    patch_size: z.number().int(),
    coreset_rate: z.number().nullable(),
    coreset_rate_applied: z.number().nullable(),
    k: z.number().int(),
    score_mode: z.enum(scoreModes),
    score_percentile: z.number(),
    position_weight: z.number(),
    blur_sigma: z.number(),
    mm_per_px: z.number(),
  }),
  model_key: z.string(),
  ...envelope,
});

export const problemBody = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  error: z.string(),
  detail: z.string(),
  code: z.string(),
  ...envelope,
});
