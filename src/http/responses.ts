import { z } from 'zod';

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

export const inferResponse = z.object({
  role_id: z.string(),
  roi_id: z.string(),
  score: z.number(),
  threshold: z.number().nullable().meta({ description: 'Null: not calibrated.' }),
  decision: z
    .enum(['ok', 'ng'])
    .nullable()
    .meta({ description: 'ng when score ≥ threshold; null without a threshold.' }),
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
    score_percentile: z.number(),
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
