import { basename } from 'node:path';
import { InspectionError } from '../errors.ts';
import type { GenerationMaker } from '../store/generation_file.ts';
import type { ListedModel } from '../store/model_store.ts';
import type { ModelKey } from '../store/places.ts';
import type { MemoryDescription, Vision } from '../workers/vision.ts';
import { placeToChange } from './calibrate_model.ts';
import { type CalibrationParts, calibrationOf, type ModelCalibration } from './calibration_state.ts';
import type { KnownMemories } from './known_memories.ts';
import { extractorMismatch, type MatchedExtractor, type MemoryOrigin, memoryOriginOf } from './memory_origin.ts';
import type { Turns } from './turns.ts';

export { generationMakers } from '../store/generation_file.ts';

/** A model on disk, as it is answered. What only its memory tells is null when that cannot be read: `problem` tells why. */
export interface ModelSummary {
  readonly recipe_id: string;
  /** Null where the name of its file does not tell. */
  readonly role_id: string | null;
  readonly roi_id: string | null;
  readonly model_key: string | null;
  /** The memory's, below the models folder. */
  readonly file: string;
  readonly model_generation: number | null;
  readonly memory_id: string | null;
  readonly memory_origin: MemoryOrigin | null;
  readonly extractor: string | null;
  readonly rows: number | null;
  readonly width: number | null;
  readonly token_shape: readonly [number, number] | null;
  readonly n_images: number | null;
  readonly fitted_at_utc: string | null;
  readonly calib_present: boolean;
  readonly calib_stale: boolean;
  readonly threshold: number | null;
  readonly problem: string | null;
}

/** A memory that a model has had, as it is answered. */
export interface GenerationSummary {
  readonly model_generation: number;
  readonly live: boolean;
  readonly made_by: GenerationMaker;
  readonly created_at_utc: string;
  readonly live_since_utc: string | null;
  readonly memory_id: string;
  readonly memory_bytes: number;
  /** Of its own calibration. */
  readonly threshold: number | null;
}

/** What a rollback answers. */
export interface Rollback {
  readonly model_generation: number;
  /** Which one answered before; null: none did. */
  readonly previous_model_generation: number | null;
  readonly memory_id: string;
  readonly threshold: number | null;
  readonly calib_stale: boolean;
}

export interface ManageModelsParts extends CalibrationParts {
  readonly vision: Pick<Vision, 'describe'>;
  readonly memories: KnownMemories;
  readonly extractor: MatchedExtractor;
  readonly turns: Turns;
}

/**
 * Every model on disk, by place. Cost: each memory is read the first time, and again when it was replaced.
 *
 * @throws InspectionError `storage_unavailable`
 */
export async function listModels(parts: ManageModelsParts): Promise<readonly ModelSummary[]> {
  const summaries: ModelSummary[] = [];
  for (const listed of await parts.models.list()) {
    try {
      const known = await parts.memories.at(listed.place);
      // Gone since the folder was read.
      if (known !== null) summaries.push(summaryOf(listed, known.memory, await calibrationOf(parts, known), null));
    } catch (error) {
      if (!(error instanceof InspectionError) || error.code !== 'damaged_file') throw error;
      summaries.push(summaryOf(listed, null, null, error.message));
    }
  }
  return summaries;
}

/** The memories that a model has had, as far as they are kept; newest first. One that is borrowed has had none. */
export async function listGenerations(
  { models }: Pick<ManageModelsParts, 'models'>,
  key: ModelKey,
): Promise<readonly GenerationSummary[]> {
  const place = placeToChange(models, key, (await models.locate(key)).place);
  return (await models.generations.list(place)).map((record) => ({
    model_generation: record.generation,
    live: record.live,
    made_by: record.made_by,
    created_at_utc: record.created_at_utc,
    live_since_utc: record.live_since_utc,
    memory_id: record.memory_id,
    memory_bytes: record.npz_bytes,
    threshold: record.calibration?.threshold ?? null,
  }));
}

/**
 * Lets an earlier memory answer again, with the number it had and with its own calibration; the next fit gets a number that
 * no memory of this model had before.
 *
 * @throws InspectionError `not_found` when it is not kept; `extractor_mismatch`, `damaged_file` when it could not answer:
 *   nothing is changed then; `not_ready`, `storage_full`
 */
export async function rollBack(parts: ManageModelsParts, key: ModelKey, generation: number): Promise<Rollback> {
  const { models, memories, vision } = parts;
  const place = placeToChange(models, key, (await models.locate(key)).place);
  return await parts.turns.take(place.npzPath, async () => {
    const kept = await models.generations.list(place);
    const address = await models.generations.addressOf(place, generation);
    const mismatch = extractorMismatch(await vision.describe(address), parts.extractor);
    if (mismatch !== null) throw mismatch;
    await models.generations.rollBack(place, generation);
    const known = await memories.at(place);
    if (known === null) throw new InspectionError('not_ready', 'The model was removed meanwhile.');
    memories.checkIndex(known);
    const { state, inForce } = await calibrationOf(parts, known);
    return {
      model_generation: generation,
      previous_model_generation: kept.find(({ live }) => live)?.generation ?? null,
      memory_id: known.memory.memoryId,
      threshold: inForce?.threshold ?? null,
      calib_stale: state === 'stale',
    };
  });
}

function summaryOf(
  { recipeId, roleId, roiId, modelKey, place }: ListedModel,
  memory: MemoryDescription | null,
  calibration: ModelCalibration | null,
  problem: string | null,
): ModelSummary {
  return {
    recipe_id: recipeId,
    role_id: roleId ?? null,
    roi_id: roiId ?? null,
    model_key: modelKey ?? null,
    file: [...place.segments, basename(place.npzPath)].join('/'),
    model_generation: calibration?.generation ?? null,
    memory_id: memory?.memoryId ?? null,
    memory_origin: memory === null ? null : memoryOriginOf(memory),
    extractor: memory?.extractorName ?? null,
    rows: memory?.rows ?? null,
    width: memory?.cols ?? null,
    token_shape: memory === null ? null : [memory.grid.rows, memory.grid.cols],
    n_images: memory === null || memory.pictures.length === 0 ? null : memory.pictures.length,
    fitted_at_utc: memory?.fittedAtUtc ?? null,
    calib_present: calibration !== null && calibration.inForce !== null,
    calib_stale: calibration?.state === 'stale',
    threshold: calibration?.inForce?.threshold ?? null,
    problem,
  };
}
