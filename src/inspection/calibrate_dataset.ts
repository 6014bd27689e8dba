import { InspectionError } from '../errors.ts';
import { suspectPictures } from '../patchcore/leave_one_out.ts';
import type { SampleLabel } from '../store/dataset_names.ts';
import type { ModelKey } from '../store/places.ts';
import { type CalibrateParts, type CalibrateRequest, type Calibration, calibrateModel } from './calibrate_model.ts';
import type { SampleRef } from './dataset_sample.ts';
import type { KnownMemory } from './known_memories.ts';
import { type DatasetHooks, type DatasetScores, type ScoreParts, scoreDataset } from './score_dataset.ts';

export interface CalibrateDatasetRequest
  extends Pick<CalibrateRequest, 'areaMm2Thr' | 'scorePercentile' | 'maxOverkill' | 'confidence' | 'reviewThreshold'> {
  readonly key: ModelKey;
  /** Of areas, where the recipe has no scale yet; null: 0.2. */
  readonly defaultMmPerPx: number | null;
  /** Refuse to calibrate without a bad part. */
  readonly requireNg: boolean;
}

/** One stored sample and the score that it counts with. */
export interface CalibrationSample extends SampleRef {
  /** Null: it is in the memory and has no leave-one-out score, so it does not count. */
  readonly score: number | null;
  readonly scoreFrom: 'inspection' | 'leave_one_out' | null;
}

export interface DatasetCalibration {
  readonly calibration: Calibration;
  /** Every sample that could be read, in the order of the dataset. */
  readonly samples: readonly CalibrationSample[];
  /** OK samples that look bad among the others, worst first; they count all the same. */
  readonly suspects: readonly string[];
  /** Samples that could not be scored. */
  readonly errors: readonly (SampleRef & { readonly error: string })[];
  /** What whoever trusts the threshold should know. */
  readonly warnings: readonly string[];
}

/**
 * Scores every stored sample of a role and ROI and chooses the threshold as `calibrateModel` does from posted scores.
 *
 * A sample that is in the memory never counts with its plain score, which is near 0 and would drag the threshold down: its
 * leave-one-out score from the fit stands in, and where it has none (the fit computes 60, and those of the ROI it was fitted
 * with) it does not count.
 *
 * @throws InspectionError as `scoreDataset` and `calibrateModel`; `insufficient_ok_samples`, `insufficient_ng_samples`
 */
export async function calibrateDataset(
  parts: ScoreParts & CalibrateParts,
  request: CalibrateDatasetRequest,
  hooks: DatasetHooks = {},
): Promise<DatasetCalibration> {
  const { key, requireNg, defaultMmPerPx, ...rule } = request;
  const scores = await scoreDataset(
    parts,
    { key, labels: ['ok', 'ng'], defaultMmPerPx, includeHeatmap: false, inspectKnown: false },
    hooks,
  );
  const samples = samplesOf(scores);
  const errors = scores.outcomes.flatMap(({ label, filename, ...outcome }) =>
    outcome.kind === 'failed' ? [{ label, filename, error: outcome.error.message }] : [],
  );
  const counting = (label: SampleLabel) => samples.filter((one) => one.label === label && one.score !== null);
  const ok = counting('ok');
  const ng = counting('ng');
  if (ok.length === 0) throw noneLeft('ok', key, scores);
  if (requireNg && ng.length === 0) throw noneLeft('ng', key, scores);

  const scoresOf = (of: readonly CalibrationSample[]) => of.flatMap(({ score }) => score ?? []);
  const { mm_per_px: recipeScale } = await parts.models.readRecipe(key.recipeId);
  const calibration = await calibrateModel(parts, {
    ...rule,
    key,
    okScores: scoresOf(ok),
    ngScores: scoresOf(ng),
    mmPerPx: recipeScale ?? defaultMmPerPx,
    scoredWith: scores.known.memory.memoryId,
  });
  return {
    calibration,
    samples,
    suspects: suspectPictures(scoresOf(ok)).map((index) => (ok[index] as CalibrationSample).filename),
    errors,
    warnings: warningsOf(scores.known, samples),
  };
}

function samplesOf({ outcomes }: DatasetScores): readonly CalibrationSample[] {
  return outcomes.flatMap((outcome): readonly CalibrationSample[] => {
    const { label, filename } = outcome;
    if (outcome.kind === 'inspected')
      return [{ label, filename, score: outcome.inspection.score, scoreFrom: 'inspection' }];
    if (outcome.kind === 'failed') return [];
    const { leftOutScore } = outcome;
    return [{ label, filename, score: leftOutScore, scoreFrom: leftOutScore === null ? null : 'leave_one_out' }];
  });
}

function noneLeft(label: SampleLabel, key: ModelKey, { outcomes }: DatasetScores): InspectionError {
  const of = outcomes.filter((outcome) => outcome.label === label);
  const failed = of.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.error.message] : []));
  const known = of.length - failed.length;
  const what = label === 'ok' ? 'OK' : 'NG';
  const why = [
    ...(failed.length > 0 ? [`${failed.length} could not be scored (the first: ${failed[0]})`] : []),
    ...(known > 0 ? [`${known} are in the memory and have no leave-one-out score for their ROI`] : []),
  ];
  const advice =
    label === 'ok'
      ? 'upload good parts that are not in the memory with POST /datasets/ok/upload'
      : 'upload some with POST /datasets/ng/upload, or calibrate with require_ng false';
  return new InspectionError(
    label === 'ok' ? 'insufficient_ok_samples' : 'insufficient_ng_samples',
    `Insufficient ${what} samples to calibrate role ${JSON.stringify(key.roleId)} and ROI ${JSON.stringify(key.roiId)} in recipe ${JSON.stringify(key.recipeId)}: ${of.length} are stored${why.length > 0 ? `, of which ${why.join(' and ')}` : ''}; ${advice}.`,
  );
}

function warningsOf({ memory }: KnownMemory, samples: readonly CalibrationSample[]): readonly string[] {
  const unscored = samples.filter(({ score }) => score === null).length;
  const badLearned = samples.filter(({ label, scoreFrom }) => label === 'ng' && scoreFrom !== 'inspection');
  return [
    ...(memory.pictures.some(({ sha256 }) => sha256 !== null)
      ? []
      : [
          'The memory does not say which pictures it was made from. Samples that are among them score too low, and so does the threshold; fit again to be sure.',
        ]),
    ...(unscored > 0
      ? [`${unscored} samples are in the memory without a leave-one-out score for their ROI and do not count.`]
      : []),
    ...badLearned.map(({ filename }) => `The NG sample ${filename} is in the memory: its like will pass as good.`),
  ];
}
