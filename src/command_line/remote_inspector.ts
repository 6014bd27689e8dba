import { basename } from 'node:path';
import { type Client, type FitAnswer, type InferAnswer, OkngError, type StartedJob } from '../client/client.ts';
import { type ErrorCode, InspectionError } from '../errors.ts';
import type { FitReport, FitRequest, NamedBytes } from '../inspection/fit_model.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import type { InspectedPicture, Inspector, WorkHooks } from './inspector.ts';

/** A service somewhere as an {@link Inspector}: what it refuses fails as it would in this process. */
export function remoteInspector(client: Client): Inspector {
  return {
    scaleOf: (recipeId) =>
      asHere(async () => {
        try {
          return (await client.recipes.get(recipeId)).mm_per_px;
        } catch (error) {
          if (error instanceof OkngError && error.code === 'not_found') return null;
          throw error;
        }
      }),
    memoryIdOf: (key) => asHere(async () => (await client.state(modelFields(key))).memory_id),
    fit: (request, hooks) =>
      asHere(async () => {
        const pictures = request.pictures ?? [];
        hooks.signal.throwIfAborted();
        // Without the signal: of a job that is accepted just then nobody would know, and it would not be cancelled.
        const job = await client.jobs.fit({
          ...modelFields(request.key),
          mm_per_px: request.mmPerPx,
          memory_fit: request.keepAll,
          score_mode: request.scoreMode,
          positions: request.positions !== false,
          shape: shapeField(request.shape),
          use_dataset: request.pictures === null,
          images: pictures.map(pictureField),
        });
        return fitReport(await finished(job, hooks), pictures);
      }),
    models: {
      list: () => asHere(async () => (await client.models.list()).models),
      generations: (key) => asHere(async () => (await client.models.generations(modelFields(key))).generations),
      rollBack: ({ roleId, roiId, recipeId, modelKey }, generation) =>
        asHere(async () => {
          const names = { generation, recipe_id: recipeId, model_key: modelKey };
          const answer = await client.models.rollBack({ role_id: roleId, roi_id: roiId }, names);
          const { model_generation, previous_model_generation, memory_id, threshold, calib_stale } = answer;
          return { model_generation, previous_model_generation, memory_id, threshold, calib_stale };
        }),
    },
    inspect: (request, signal) =>
      asHere(async () => {
        const answer = await client.infer(
          {
            ...modelFields(request.key),
            mm_per_px: request.mmPerPx,
            shape: shapeField(request.shape),
            include_heatmap: request.includeHeatmap,
            explain: request.explain === true,
            score_p_value: request.scorePValue === true,
            image: pictureField(request.picture),
          },
          { signal },
        );
        return inspectedPicture(answer);
      }),
    calibrate: (request) =>
      asHere(async () => {
        const answer = await client.calibrateNg({
          ...modelFields(request.key),
          ...(request.okScores === null ? { use_leave_one_out: true } : { ok_scores: request.okScores }),
          ng_scores: request.ngScores,
          mm_per_px: request.mmPerPx,
          area_mm2_thr: request.areaMm2Thr,
          score_percentile: request.scorePercentile,
          max_overkill: request.maxOverkill,
          confidence: request.confidence,
          review_threshold: request.reviewThreshold,
        });
        const { request_id: _, recipe_id: __, ...calibration } = answer;
        return calibration;
      }),
  };
}

/** A refusal of the service as the error it was there; what went wrong on the way to it stays what it is. */
async function asHere<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof OkngError && error.requestId !== null)
      throw new InspectionError(error.code as ErrorCode, error.message, { cause: error });
    throw error;
  }
}

/** Waits for a job; one that nobody waits for any more is cancelled, unless it has ended before that. */
async function finished<T>(job: StartedJob<T>, { onProgress, signal }: WorkHooks): Promise<T> {
  try {
    return await job.result({
      signal,
      onChange: ({ state, step, done, total }) => {
        if (state === 'queued') onProgress('waiting', 0, 1);
        else if (step !== null && done !== null && total !== null) onProgress(step, done, total);
      },
    });
  } catch (error) {
    if (!signal.aborted) throw error;
    await job.cancel().catch((refused: unknown) => {
      if (!(refused instanceof OkngError)) throw refused;
      if (refused.code === 'job_ended') return;
      const sentence = `The job ${job.id} could not be cancelled and may still change the model: ${refused.message}`;
      throw new OkngError(refused.code, sentence, { cause: refused });
    });
    return await job.result();
  }
}

function modelFields({ recipeId, modelKey, roleId, roiId }: FitRequest['key']) {
  return { role_id: roleId, roi_id: roiId, recipe_id: recipeId, model_key: modelKey };
}

/** No kind is the whole picture. */
function shapeField(shape: ShapeSpec | undefined) {
  return shape === undefined || shape.kind === '' ? undefined : { kind: shape.kind, ...shape.numbers };
}

/** The folders of this machine are nobody else's business. */
function pictureField({ name, bytes }: NamedBytes) {
  return { name: basename(name), bytes };
}

/** A service that cannot thin does not say that it did not. */
function thinnedOf({ thinned }: Partial<Pick<FitAnswer, 'thinned'>>): FitReport['thinned'] {
  if (thinned == null) return null;
  return { patchesSeen: thinned.patches_seen, patchesKept: thinned.patches_kept, radius: thinned.radius };
}

function fitReport(answer: FitAnswer, pictures: readonly NamedBytes[]): FitReport {
  const leftOut = pictures.map(({ name }, i) => ({ name, score: answer.leave_one_out_scores[i] ?? null }));
  return {
    pictures: answer.n_images,
    embeddings: answer.n_embeddings,
    coresetSize: answer.coreset_size,
    grid: { rows: answer.token_shape[0], cols: answer.token_shape[1] },
    coresetRateRequested: answer.coreset_rate_requested,
    coresetRateApplied: answer.coreset_rate_applied,
    thinned: thinnedOf(answer),
    mmPerPx: answer.mm_per_px,
    extractorName: answer.extractor,
    scoreMode: answer.score_mode,
    positionWeight: answer.position_weight,
    leftOut,
    // The service knows the names only, and there may be an 01.jpg in each of several folders.
    suspects: answer.suspect_images.map(({ name, score }) => ({
      name: leftOut.find((one) => basename(one.name) === name && one.score === score)?.name ?? name,
      score,
    })),
    calibration: answer.calibration,
  };
}

function inspectedPicture(answer: InferAnswer): InspectedPicture {
  const { score, threshold, decision, verdict, explanations, params, heatmap_png_base64: heatmap } = answer;
  return {
    score,
    threshold,
    decision,
    verdict,
    regions: answer.regions.map(({ area_px: areaPx, area_mm2: areaMm2, ...region }) => ({
      ...region,
      areaPx,
      areaMm2,
    })),
    heatmapPng: heatmap === null ? null : new Uint8Array(Buffer.from(heatmap, 'base64')),
    explanations: explanations ?? [],
    inMemory: answer.in_memory ?? null,
    params: params as InspectedPicture['params'],
  };
}
