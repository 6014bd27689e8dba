import { z } from 'zod';
import { sampleLabels } from '../inspection/dataset_sample.ts';
import { jobStates } from '../inspection/jobs.ts';
import { generationMakers } from '../inspection/manage_models.ts';
import { memoryOrigins } from '../inspection/memory_origin.ts';
import { scoreModes } from '../patchcore/image_score.ts';

/** What answers hold: written into `/openapi.json`, and every HTTP test checks real answers against them. */

const envelope = { request_id: z.string(), recipe_id: z.string() };
const pixels = z.number().int();

export const healthResponse = z.object({
  status: z.literal('ok'),
  device: z.string(),
  model: z.string(),
  neighbors: z.string().meta({ description: 'What searches the memories.' }),
  version: z.string(),
  reason: z.string().optional(),
  ...envelope,
});

export const aliveResponse = z.object({ status: z.string(), ...envelope });
export const readinessResponse = aliveResponse.extend({ problems: z.array(z.string()) });

export const fitOkResponse = z.object({
  status: z.literal('ok'),
  n_embeddings: z.number().int().min(1).meta({ description: 'Patches of the good pictures.' }),
  coreset_size: z.number().int().min(1).meta({ description: 'Patches the memory keeps.' }),
  token_shape: z.tuple([z.number().int(), z.number().int()]).meta({ description: 'Patch rows and columns.' }),
  coreset_rate_requested: z.number(),
  coreset_rate_applied: z.number(),
  thinned: z
    .object({
      patches_seen: z.number().int(),
      patches_kept: z.number().int(),
      radius: z.number().meta({
        description: 'Every patch seen lies at most this far from one that was kept: Euclidean, of unit rows, 0 to 2.',
      }),
    })
    .nullable()
    .meta({
      description: 'What the coreset was chosen from if the patches were more than BDI_FIT_PATCHES; else null.',
    }),
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

const calibrationMembers = {
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
  model_generation: z.number().int().nullable().meta({ description: "That memory's number; null: none was fitted." }),
  image_score_percentile: z.number(),
  calibrated_at_utc: z.string(),
  in_force: z.boolean().meta({
    description: 'False: the memory that answers is borrowed from another model, and so is the threshold.',
  }),
  ok_scores_from: z.enum(['request', 'leave_one_out', 'dataset']),
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
};

export const calibrateNgResponse = z.object(calibrationMembers);

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

const driftMember = z.object({
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
});

export const modelHealthResponse = z.object({
  status: z.literal('ok'),
  role_id: z.string(),
  roi_id: z.string(),
  model_key: z.string(),
  memory_fitted: z.boolean(),
  calibration: z
    .enum(['none', 'valid', 'stale'])
    .meta({ description: 'stale: made for another memory, not in force.' }),
  drift: driftMember,
  ...envelope,
});

const memoryOrigin = z.enum(memoryOrigins).meta({
  description: 'unknown: the memory does not say which extractor made it, as those of other services do not.',
});

const modelGeneration = z.number().int().positive();

const calibStale = z.boolean().meta({
  description:
    'There is a calibration, but of another memory or score rule. It judges nobody, unless BDI_KEEP_CALIBRATION is set.',
});

export const inferResponse = z.object({
  role_id: z.string(),
  roi_id: z.string(),
  score: z.number(),
  threshold: z.number().nullable().meta({ description: 'Null: not calibrated.' }),
  calib_stale: calibStale,
  model_generation: modelGeneration.meta({
    description: 'The memory that was asked: its number among those that this model has had. No two have the same.',
  }),
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
  in_memory: z.boolean().nullable().meta({
    description:
      'True: the memory was fitted from this very picture, so its score is lower than that of its like. Null: the memory does not say from what it was fitted.',
  }),
  token_shape: z.tuple([z.number().int(), z.number().int()]),
  params: z.object({
    extractor: z.string(),
    memory_origin: memoryOrigin,
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

export const modelListResponse = z.object({
  status: z.literal('ok'),
  models: z
    .array(
      z.object({
        recipe_id: z.string(),
        role_id: z.string().nullable().meta({ description: 'Null: the name of its file does not tell.' }),
        roi_id: z.string().nullable(),
        model_key: z.string().nullable(),
        file: z.string().meta({ description: "The memory's, below the models folder." }),
        model_generation: modelGeneration.nullable(),
        memory_id: z.string().nullable(),
        memory_origin: memoryOrigin.nullable(),
        extractor: z.string().nullable(),
        rows: z.number().int().nullable().meta({ description: 'Patches that the memory holds.' }),
        width: z.number().int().nullable().meta({ description: 'Numbers per patch.' }),
        token_shape: z.tuple([z.number().int(), z.number().int()]).nullable(),
        n_images: z.number().int().nullable(),
        fitted_at_utc: z.string().nullable(),
        calib_present: z.boolean(),
        calib_stale: calibStale,
        threshold: z.number().nullable(),
        problem: z
          .string()
          .nullable()
          .meta({ description: 'Why the memory cannot be read; all that it tells is null.' }),
      }),
    )
    .meta({ description: 'By place: the root first, then recipe by recipe.' }),
  ...envelope,
});

const modelIds = { role_id: z.string(), roi_id: z.string(), model_key: z.string() };

export const generationListResponse = z.object({
  status: z.literal('ok'),
  ...modelIds,
  generations: z
    .array(
      z.object({
        model_generation: modelGeneration,
        live: z.boolean().meta({ description: 'It is the one that answers.' }),
        made_by: z.enum(generationMakers).meta({
          description: 'found: it lay in the models folder, made by the predecessor or an okng without generations.',
        }),
        created_at_utc: z.string(),
        live_since_utc: z.string().nullable().meta({ description: 'When it was last made the one that answers.' }),
        memory_id: z.string(),
        memory_bytes: z.number().int(),
        threshold: z.number().nullable().meta({ description: 'Of its own calibration; null: it has none.' }),
      }),
    )
    .meta({ description: 'Newest first. A model that was not changed since it was found has none yet.' }),
  ...envelope,
});

export const rollbackResponse = z.object({
  status: z.literal('ok'),
  ...modelIds,
  model_generation: modelGeneration.meta({ description: 'The one that answers now.' }),
  previous_model_generation: modelGeneration.nullable().meta({ description: 'The one that answered before.' }),
  memory_id: z.string(),
  threshold: z.number().nullable().meta({ description: 'In force now, as when this generation answered before.' }),
  calib_stale: calibStale,
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

const jobMembers = {
  id: z.string(),
  kind: z.string().meta({ description: 'The endpoint whose work it is.' }),
  state: z.enum(jobStates).meta({
    description: 'interrupted: the service ended, or was shut down, before the job did; send the request again.',
  }),
  step: z.string().nullable().meta({ description: 'What it is doing, such as pictures or coreset.' }),
  done: z.number().int().nullable().meta({ description: 'Of the step, from 0 to total.' }),
  total: z.number().int().nullable(),
  eta_s: z.number().nullable().meta({
    description: 'Seconds until the step is expected to end; null when that cannot be told, and when it does not run.',
  }),
  created_at_utc: z.string(),
  started_at_utc: z.string().nullable(),
  ended_at_utc: z.string().nullable(),
  status_code: z.number().int().nullable().meta({
    description: 'The status that the request would have been answered with; null before the end.',
  }),
  error: problemBody.nullable().meta({ description: 'The body it would have had, when it did not succeed.' }),
  role_id: z.string(),
  roi_id: z.string(),
  model_key: z.string(),
  recipe_id: z.string(),
};

export const jobResponse = z.object({ ...jobMembers, request_id: z.string() });

export const jobWithResult = jobResponse.extend({
  result: z.record(z.string(), z.unknown()).nullable().meta({
    description: 'The body that the request would have been answered with; null unless the job has succeeded.',
  }),
});

export const jobListResponse = z.object({
  status: z.literal('ok'),
  jobs: z.array(z.object(jobMembers)).meta({ description: 'The newest first.' }),
  ...envelope,
});

const sampleLabel = z.enum(sampleLabels);
const sampleRef = z.object({ label: sampleLabel, filename: z.string() });
const sampleError = sampleRef.extend({ error: z.string() });
const datasetIds = { role_id: z.string(), roi_id: z.string() };

export const uploadResponse = z.object({
  status: z.literal('ok'),
  saved: z.array(z.string()).meta({ description: 'The names the pictures are stored under, in their order.' }),
  label: sampleLabel,
  ...datasetIds,
  mm_per_px: z.number().nullable().meta({ description: "The recipe's; null while it has none." }),
  duplicates: z.array(z.object({ filename: z.string(), exact: z.array(sampleRef), near: z.array(sampleRef) })).meta({
    description: 'Of the saved: those that were stored before, byte for byte (exact) or by their looks (near).',
  }),
  ...envelope,
});

const sampleClass = z.object({
  count: z.number().int(),
  files: z.array(z.string()).meta({ description: 'Sorted by name, which is by time.' }),
  meta: z.record(z.string(), z.boolean()).meta({ description: 'Of every file whether it has a meta.' }),
});
const sampleClasses = z.object({ ok: sampleClass, ng: sampleClass });

export const datasetListResponse = z.object({
  ...datasetIds,
  classes: sampleClasses,
  duplicates: z.array(z.object({ kind: z.enum(['exact', 'near']), samples: z.array(sampleRef).min(2) })).meta({
    description:
      'Samples that show one picture: the same bytes (exact), or not all the same but hardly to be told apart (near).',
  }),
  ...envelope,
});

export const sampleMetaResponse = z.looseObject({ request_id: z.string() }).meta({
  description: "The sample's meta as it is stored: what the client sent, defaults, and okng, which is ours.",
});

export const sampleDeletedResponse = z.object({
  deleted: z.boolean().meta({ description: 'False: there was no such sample.' }),
  filename: z.string(),
  label: sampleLabel,
  ...datasetIds,
  ...envelope,
});

export const datasetClearedResponse = z.object({
  cleared: z.number().int().meta({ description: 'Samples removed.' }),
  label: sampleLabel,
  ...datasetIds,
  ...envelope,
});

export const reviewResponse = z.object({
  status: z.literal('ok'),
  ...datasetIds,
  n_suspects: z.number().int(),
  samples: z
    .array(
      z.object({
        filename: z.string(),
        score: z.number().meta({ description: 'What it would score by a memory of the others.' }),
        suspect: z.boolean().meta({ description: 'It stands out: is it good?' }),
      }),
    )
    .meta({ description: 'The stored OK samples, most suspicious first.' }),
  errors: z.array(sampleError),
  ...envelope,
});

const modelStateMembers = {
  memory_fitted: z.boolean().meta({ description: 'False: /infer would answer memory_not_fitted.' }),
  calib_present: z.boolean().meta({
    description: '/infer would judge by a threshold; without a memory: one waits for the first fit.',
  }),
  calib_stale: calibStale,
  model_generation: modelGeneration.nullable().meta({ description: 'Null: no memory.' }),
  calibration: z.enum(['none', 'valid', 'stale', 'waiting']).meta({
    description: 'stale: made for another memory, not in force. waiting: made before any memory.',
  }),
  refusal: z.string().nullable().meta({ description: 'Why /infer would refuse although there is a memory.' }),
  borrowed: z.boolean().meta({ description: 'The memory is not in the place where a fit of this key writes.' }),
  memory_id: z.string().nullable(),
  memory_origin: memoryOrigin.nullable(),
  extractor: z.string().nullable(),
  mm_per_px: z.number().nullable().meta({ description: "The recipe's." }),
  ...datasetIds,
  model_key: z.string(),
  ...envelope,
};

export const stateResponse = z.object({ status: z.literal('ok'), ...modelStateMembers, drift: driftMember });

export const manifestResponse = z.object({
  ...modelStateMembers,
  memory: z.boolean(),
  calib: z.looseObject({ threshold: z.number() }).nullable().meta({ description: 'The calibration in force.' }),
  datasets: z.object({ ...datasetIds, classes: sampleClasses }),
});

export const calibrateDatasetResponse = z.object({
  ...calibrationMembers,
  samples: z
    .array(
      sampleRef.extend({
        score: z.number().nullable(),
        score_from: z.enum(['inspection', 'leave_one_out']).nullable().meta({
          description:
            'leave_one_out: the sample is in the memory, and this is what it would score if it were not. null: it is in the memory and has no such score, so it does not count.',
        }),
      }),
    )
    .meta({ description: 'The scores that the threshold was chosen from.' }),
  suspects: z.array(z.string()).meta({ description: 'OK samples that look bad to the others, worst first.' }),
  errors: z.array(sampleError).meta({ description: 'Samples that could not be scored.' }),
  warnings: z.array(z.string()),
});

export const inferDatasetResponse = z.object({
  status: z.literal('ok'),
  ...datasetIds,
  model_key: z.string(),
  n_total: z.number().int(),
  n_errors: z.number().int(),
  items: z.array(
    sampleRef.extend({
      mm_per_px: z.number().nullable(),
      score: z.number().nullable(),
      threshold: z.number().nullable(),
      decision: z.enum(['ok', 'ng']).nullable(),
      verdict: z.enum(['ok', 'review', 'ng']).nullable(),
      regions: z.array(region),
      n_regions: z.number().int(),
      in_memory: z.boolean().nullable().meta({
        description: 'True: the memory was fitted from this very picture, so its score is lower than that of its like.',
      }),
      heatmap_png_base64: z.string().nullable().optional().meta({ description: 'Only when asked for.' }),
      error: z.string().nullable().meta({ description: 'Why it could not be scored.' }),
    }),
  ),
  ...envelope,
});

const recipeMembers = {
  recipe_id: z.string(),
  mm_per_px: z.number().nullable(),
  models: z
    .array(
      z.object({
        role_id: z.string().nullable().meta({ description: 'null where the file name does not tell it.' }),
        roi_id: z.string().nullable(),
        model_key: z.string().nullable(),
        has_calibration: z.boolean(),
      }),
    )
    .meta({ description: "The recipe's own; those it borrows from default are not among them." }),
  datasets: z.array(
    z.object({
      role_id: z.string().nullable(),
      roi_id: z.string().nullable(),
      n_ok: z.number().int(),
      n_ng: z.number().int(),
    }),
  ),
};

export const recipeListResponse = z.object({
  status: z.literal('ok'),
  recipes: z.array(z.object(recipeMembers)),
  ...envelope,
});

export const recipeResponse = z.object({ status: z.literal('ok'), ...recipeMembers, request_id: z.string() });

export const recipeChangedResponse = recipeResponse.extend({
  previous_mm_per_px: z.number().nullable().meta({ description: 'null: there was none.' }),
});

export const recipeDeletedResponse = z.object({ status: z.literal('ok'), deleted: z.literal(true), ...envelope });
