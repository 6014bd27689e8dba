import type { Inspection } from '../inspection/inspect_image.ts';
import type { Datasets, Models, Recipes, Service } from '../service.ts';
import type { AuditEvent, AuditLog } from './audit_log.ts';
import { auditedChange, originMembers } from './audited_change.ts';
import { currentOrigin, onBehalfOf } from './origin.ts';

/** What gives no verdict and changes nothing. */
type Reading =
  | 'version'
  | 'extractor'
  | 'health'
  | 'shortage'
  | 'describe'
  | 'scaleOf'
  | 'removeStaleTemps'
  | 'warm'
  // Measures with a memory of its own, and its verdicts are on pictures whose truth is known.
  | 'evaluate';
type DatasetReading = 'list' | 'file' | 'meta' | 'thumbnail' | 'review';
type RecipeReading = 'list' | 'find';
type ModelReading = 'list' | 'generations';

type Key = Parameters<Service['describe']>[0];

/**
 * The service whose verdicts and changes each leave a line in the audit before they are answered, whoever asks: HTTP, jobs
 * and commands all call this object. A member that is added to {@link Service} does not compile before it is audited here or
 * named among the readings above.
 *
 * Without its line nothing is answered: every method that needs one throws `storage_full` or `storage_unavailable` while the
 * audit cannot be written, before it does any work.
 */
export function auditedService(service: Service, log: AuditLog): Service {
  const { datasets, recipes, models, jobs } = service;
  const fingerprint = service.extractor.fingerprint;
  const verdict = (via: 'infer' | 'infer_dataset', key: Key, inspection: Inspection): AuditEvent => ({
    kind: 'verdict',
    via,
    ...originMembers(),
    ...keyMembers(key),
    memory_id: inspection.memoryId,
    model_generation: inspection.generation,
    extractor: fingerprint,
    threshold: inspection.threshold,
    score: inspection.score,
    decision: inspection.decision,
    verdict: inspection.verdict,
    picture_sha256: inspection.pictureSha256,
  });

  const auditedDatasets: Omit<Datasets, DatasetReading> = {
    upload: (request, signal) =>
      auditedChange(
        log,
        'dataset_upload',
        { ...keyMembers(request.key), label: request.label },
        () => datasets.upload(request, signal),
        ({ saved }) => ({ pictures: saved.length }),
      ),
    // Names of samples are not told: those of another service's may be anybody's.
    remove: (key, sample) =>
      auditedChange(
        log,
        'dataset_delete',
        { ...keyMembers(key), label: sample.label },
        () => datasets.remove(key, sample),
        (wasThere) => ({ pictures: wasThere ? 1 : 0 }),
      ),
    clear: (key, label) =>
      auditedChange(
        log,
        'dataset_clear',
        { ...keyMembers(key), label },
        () => datasets.clear(key, label),
        (pictures) => ({ pictures }),
      ),
    calibrate: (request, hooks) =>
      auditedChange(
        log,
        'calibrate',
        keyMembers(request.key),
        () => datasets.calibrate(request, hooks),
        ({ calibration }) => calibrationMembers(calibration),
      ),
    inspect: async (request, hooks) => {
      await log.requireWritable();
      const samples = await datasets.inspect(request, hooks);
      await log.append(
        samples.flatMap(({ inspection }) =>
          inspection === null ? [] : [verdict('infer_dataset', request.key, inspection)],
        ),
      );
      return samples;
    },
  };

  const auditedRecipes: Omit<Recipes, RecipeReading> = {
    correctScale: (recipeId, mmPerPx) =>
      auditedChange(
        log,
        'recipe_change',
        { recipe_id: recipeId, mm_per_px: mmPerPx },
        () => recipes.correctScale(recipeId, mmPerPx),
        (before) => ({ previous_mm_per_px: before }),
      ),
    remove: (recipeId, force) =>
      auditedChange(
        log,
        'recipe_removal',
        { recipe_id: recipeId, force },
        () => recipes.remove(recipeId, force),
        () => ({}),
      ),
  };

  const auditedModels: Omit<Models, ModelReading> = {
    rollBack: (key, generation) =>
      auditedChange(
        log,
        'rollback',
        { ...keyMembers(key), model_generation: generation },
        () => models.rollBack(key, generation),
        ({ previous_model_generation, memory_id }) => ({ generation_before: previous_model_generation, memory_id }),
      ),
  };

  const audited: Omit<Service, Reading> = {
    inspectAll: async (requests, signal) => {
      await log.requireWritable();
      const inspections = await service.inspectAll(requests, signal);
      await log.append(
        requests.flatMap(({ key }, i) => (inspections[i] === undefined ? [] : [verdict('infer', key, inspections[i])])),
      );
      return inspections;
    },
    fit: (request, hooks) =>
      auditedChange(
        log,
        'fit',
        keyMembers(request.key),
        () => service.fit(request, hooks),
        async (report) => {
          const { memory, generation } = await service.describe(request.key);
          return {
            memory_id: memory?.memoryId ?? null,
            model_generation: generation,
            extractor: fingerprint,
            pictures: report.pictures,
            calibration: report.calibration,
          };
        },
      ),
    calibrate: (request) =>
      auditedChange(log, 'calibrate', keyMembers(request.key), () => service.calibrate(request), calibrationMembers),
    datasets: { ...datasets, ...auditedDatasets },
    recipes: { ...recipes, ...auditedRecipes },
    models: { ...models, ...auditedModels },
    jobs: {
      ...jobs,
      // A job begins when another has ended: not on behalf of whoever that was.
      submit: (job) => {
        const origin = currentOrigin();
        return jobs.submit({
          ...job,
          work: (hooks) => onBehalfOf({ ...origin, jobId: hooks.id }, () => job.work(hooks)),
        });
      },
    },
    readiness: () => {
      const { ready, problems } = service.readiness();
      const problem = log.problem();
      return problem === null ? { ready, problems } : { ready: false, problems: [...problems, problem] };
    },
    beginAudit: () => log.requireWritable(),
    close: async () => {
      await service.close();
      await log.close();
    },
  };
  return { ...service, ...audited };
}

function keyMembers({ recipeId, modelKey, roleId, roiId }: Omit<Key, 'modelKey'> & { readonly modelKey?: string }) {
  return {
    recipe_id: recipeId,
    role_id: roleId,
    roi_id: roiId,
    ...(modelKey !== undefined && { model_key: modelKey }),
  };
}

type Calibrated = Awaited<ReturnType<Service['calibrate']>>;

function calibrationMembers(calibration: Calibrated) {
  return {
    memory_id: calibration.memory_id,
    model_generation: calibration.model_generation,
    threshold: calibration.threshold,
    in_force: calibration.in_force,
    ok_scores_from: calibration.ok_scores_from,
    n_ok: calibration.n_ok,
    n_ng: calibration.n_ng,
  };
}
