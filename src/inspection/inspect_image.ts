import { InspectionError } from '../errors.ts';
import type { ExtractorInfo } from '../extractors/extractor.ts';
import type { GrayMap } from '../patchcore/anomaly_map.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import type { ScoreMode } from '../patchcore/image_score.ts';
import type { Region } from '../patchcore/regions.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import { scorePValue } from '../patchcore/threshold_promise.ts';
import type { CalibrationFile } from '../store/calibration_file.ts';
import type { ModelStore } from '../store/model_store.ts';
import type { ModelKey } from '../store/places.ts';
import { sha256Hex } from '../store/sha256.ts';
import type { PreparedPicture, Vision } from '../workers/vision.ts';
import { calibrationOf } from './calibration_state.ts';
import type { JudgedPicture } from './drift_watch.ts';
import { type Explanation, explain } from './explain.ts';
import type { NamedBytes } from './fit_model.ts';
import type { KnownMemories, KnownMemory } from './known_memories.ts';
import { extractorMismatch, type MemoryOrigin, memoryOriginOf } from './memory_origin.ts';
import { requireScale } from './recipe_scale.ts';
import type { ScoreRule } from './score_rule.ts';

export interface InspectRequest {
  readonly key: ModelKey;
  readonly mmPerPx: number;
  /** Its bytes are given away. */
  readonly picture: NamedBytes;
  readonly shape: ShapeSpec;
  readonly includeHeatmap: boolean;
  /** Give the anomaly map itself. */
  readonly keepMap?: boolean;
  /** Say which good picture came nearest to the largest regions. */
  readonly explain?: boolean;
  readonly scorePValue?: boolean;
  /** When the answer is of no use any more, by `performance.now()`; null: never. Whoever queues inspections looks at it. */
  readonly answerBy?: number | null;
}

/** What the answer says of how it was made, in the contract's words. */
export interface InspectionParams {
  readonly extractor: string;
  /** Unknown: the memory does not say that this extractor made it; only width and grid agree. */
  readonly memory_origin: MemoryOrigin;
  /** Side of a square input, else [height, width]. */
  readonly input_size: number | readonly [number, number];
  readonly patch_size: number;
  readonly coreset_rate: number | null;
  readonly coreset_rate_applied: number | null;
  readonly k: number;
  readonly score_mode: ScoreMode;
  readonly score_percentile: number;
  /** Share of the distance by position in a patch's distance; 0: none. */
  readonly position_weight: number;
  readonly blur_sigma: number;
  readonly mm_per_px: number;
}

export interface Inspection {
  /** The memory that was asked. */
  readonly memoryId: string;
  /** Its number among the memories that its place has had. */
  readonly generation: number;
  /**
   * Whether the memory was fitted from this very picture, byte for byte: its score is then lower than that of its like. Null:
   * the memory does not say what it was fitted from.
   */
  readonly inMemory: boolean | null;
  /** Hex, of the picture as it was sent. */
  readonly pictureSha256: string;
  readonly score: number;
  /** Null: not calibrated, or the calibration belongs to another memory and is not to be kept. */
  readonly threshold: number | null;
  /** There is a calibration, of another memory or score rule; where `threshold` is not null it judges all the same. */
  readonly calibrationStale: boolean;
  readonly decision: 'ok' | 'ng' | null;
  /** As `decision`, but `review` between the calibration's review threshold and its threshold. */
  readonly verdict: 'ok' | 'review' | 'ng' | null;
  /** What a drift would be seen by; null: judged by no calibration, or by another memory's, whose scores are no reference. */
  readonly judged: JudgedPicture | null;
  /**
   * How unusual the score is among the OK scores of the calibration: (1 + those at least as high) / (1 + all). Null unless
   * asked for, or without calibration.
   */
  readonly scorePValue: number | null;
  readonly regions: readonly Region[];
  readonly heatmapPng: Uint8Array | null;
  /** Null unless asked for. */
  readonly map: GrayMap | null;
  /** Empty unless asked for, or when the memory does not know where its rows come from. */
  readonly explanations: readonly Explanation[];
  readonly grid: PatchGrid;
  readonly params: InspectionParams;
  /** Milliseconds by step: decode, prepare, extract, search, map, regions, encode. */
  readonly steps: Readonly<Record<string, number>>;
}

export interface InspectParts {
  readonly vision: Vision;
  readonly models: ModelStore;
  readonly memories: KnownMemories;
  readonly extractor: ExtractorInfo;
  readonly scoreRule: ScoreRule;
  readonly areaMm2Thr: number;
  readonly keepCalibration: boolean;
}

/**
 * Inspects one picture. Memory and calibration come from the same place, and the calibration counts only for the very
 * memory it was made with; a memory that is replaced meanwhile is noticed and the new one asked instead.
 *
 * @param signal fires when nobody waits for the answer any more: no further step is begun
 * @throws InspectionError `memory_not_fitted`, `extractor_mismatch`, `mm_per_px_conflict`, `invalid_shape`, `empty_mask`,
 *   `damaged_file`, the codes of `images/`, and `request_aborted` when the signal has fired
 */
export async function inspectImage(
  parts: InspectParts,
  request: InspectRequest,
  signal?: AbortSignal,
): Promise<Inspection> {
  const { vision, models } = parts;
  const [, found] = await both(
    requireScale(models, request.key.recipeId, request.mmPerPx),
    requireMemory(parts, request.key),
  );
  // The hash first: preparing takes the bytes away.
  const [sha256, picture] = await Promise.all([
    sha256Hex(request.picture.bytes),
    vision.prepare(request.picture.bytes, request.picture.name, signal),
  ]);
  const { known, bound, measured } = await measureWithOneModel(parts, request, found, picture, signal).finally(() =>
    vision.release(picture),
  );
  const { place, memory } = known;
  const calibration = bound.inForce;

  const threshold = calibration?.threshold ?? null;
  const wantsReasons = request.explain === true && measured.matches !== null;
  const drawing = await vision.draw(
    {
      // Drawing takes them away.
      distances: wantsReasons ? measured.distances.slice() : measured.distances,
      grid: measured.grid,
      frame: picture.frame,
      size: picture.size,
      shape: request.shape,
      sigmaPx: parts.scoreRule.sigmaPx,
      scoreMode: memory.scoreMode,
      scorePercentile: parts.scoreRule.percentile,
      threshold,
      areaMm2Thr: calibration?.area_mm2_thr ?? parts.areaMm2Thr,
      mmPerPx: request.mmPerPx,
      heatmap: request.includeHeatmap,
      map: request.keepMap === true,
    },
    signal,
  );
  // NaN compares as smaller than every threshold: the part would pass.
  if (!Number.isFinite(drawing.score)) {
    throw new InspectionError(
      'not_a_number',
      `The score of this picture is ${drawing.score}, which judges nothing; fit this role and ROI again.`,
    );
  }
  const { height, width } = parts.extractor.preprocessing;
  return {
    memoryId: memory.memoryId,
    generation: bound.generation,
    calibrationStale: bound.state === 'stale',
    inMemory: memory.pictures.some((fitted) => fitted.sha256 !== null)
      ? memory.pictures.some((fitted) => fitted.sha256 === sha256)
      : null,
    pictureSha256: sha256,
    score: drawing.score,
    threshold,
    decision: threshold === null ? null : drawing.score >= threshold ? 'ng' : 'ok',
    verdict: verdictOf(drawing.score, calibration),
    judged:
      calibration === null || bound.state !== 'valid'
        ? null
        : {
            place: place.npzPath,
            model: { calibration, memory },
            signals: { score: drawing.score, brightness: picture.brightness },
          },
    scorePValue:
      request.scorePValue === true && calibration?.ok_scores !== undefined && calibration.ok_scores.length > 0
        ? scorePValue(drawing.score, calibration.ok_scores)
        : null,
    regions: drawing.regions,
    heatmapPng: drawing.heatmapPng,
    map: drawing.map,
    explanations: wantsReasons
      ? explain({
          regions: drawing.regions,
          distances: measured.distances,
          matches: measured.matches,
          pictures: memory.pictures,
          grid: measured.grid,
          frame: picture.frame,
          size: picture.size,
        })
      : [],
    grid: measured.grid,
    params: {
      extractor: parts.extractor.name,
      memory_origin: memoryOriginOf(memory),
      input_size: height === width ? height : [height, width],
      patch_size: parts.extractor.patchSize,
      coreset_rate: memory.coresetRateRequested,
      coreset_rate_applied: memory.coresetRateApplied,
      k: parts.scoreRule.k,
      score_mode: memory.scoreMode,
      score_percentile: parts.scoreRule.percentile,
      position_weight: memory.positionWeight,
      blur_sigma: parts.scoreRule.sigmaPx,
      mm_per_px: request.mmPerPx,
    },
    steps: {
      decode: picture.decodeMs,
      prepare: picture.prepareMs,
      extract: measured.extractMs,
      search: measured.searchMs,
      map: drawing.mapMs,
      regions: drawing.regionsMs,
      encode: drawing.encodeMs,
    },
  };
}

function verdictOf(score: number, calibration: CalibrationFile | null): Inspection['verdict'] {
  if (calibration === null) return null;
  if (score >= calibration.threshold) return 'ng';
  return calibration.review_threshold != null && score >= calibration.review_threshold ? 'review' : 'ok';
}

/** How often a memory may be replaced under one request before it gives up; twice is already hard to bring about. */
const maxReplacements = 5;

/** @param found the memory as it was before the picture was prepared: if it was replaced, the end shows it */
async function measureWithOneModel(
  parts: InspectParts,
  { key, explain: matches }: InspectRequest,
  found: KnownMemory,
  picture: PreparedPicture,
  signal: AbortSignal | undefined,
) {
  for (let attempt = 0; attempt < maxReplacements; attempt++) {
    const known = attempt === 0 ? found : await requireMemory(parts, key);
    const { place, address, memory } = known;
    const measuring = parts.vision.measure(picture, address, { matches, signal }).catch((error: unknown) => {
      if (error instanceof InspectionError && error.code === 'damaged_file') parts.memories.forget(known);
      throw error;
    });
    const [measured, bound] = await both(measuring, calibrationOf(parts, known));
    if (measured.memoryId !== memory.memoryId) continue;
    // Read while its memory was the live one: an older generation may be pruned under the reader.
    if ((await parts.models.address(place))?.stamp === address.stamp) return { known, bound, measured };
  }
  throw new InspectionError(
    'not_ready',
    'The model was replaced several times while the picture was inspected; try again.',
  );
}

/** Two at once; nothing goes on behind an error, and of two the first is told. */
async function both<A, B>(first: Promise<A>, second: Promise<B>): Promise<readonly [A, B]> {
  const [one, other] = await Promise.allSettled([first, second]);
  if (one.status === 'rejected') throw one.reason;
  if (other.status === 'rejected') throw other.reason;
  return [one.value, other.value];
}

/**
 * The memory that answers for a key.
 *
 * @throws InspectionError `memory_not_fitted`, `extractor_mismatch`, `damaged_file`
 */
export async function requireMemory(
  parts: Pick<InspectParts, 'models' | 'memories' | 'extractor'>,
  key: ModelKey,
): Promise<KnownMemory> {
  const { place } = await parts.models.locate(key);
  const known = await parts.memories.at(place);
  if (known === null) {
    throw new InspectionError(
      'memory_not_fitted',
      `Memoria no encontrada: memory not fitted for role ${JSON.stringify(key.roleId)}, ROI ${JSON.stringify(key.roiId)}, model_key ${JSON.stringify(key.modelKey)} in recipe ${JSON.stringify(key.recipeId)}; fit it from good pictures with POST /fit_ok.`,
    );
  }
  const { memory } = known;
  const mismatch = extractorMismatch(memory, parts.extractor);
  if (mismatch !== null) throw mismatch;
  parts.memories.checkIndex(known);
  return known;
}
