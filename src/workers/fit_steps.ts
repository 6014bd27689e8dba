import { normalizeRowsInPlace } from '../kernels/row_loops.ts';
import { createOnnxProducts } from '../neighbors/onnx_products.ts';
import { anomalyMap } from '../patchcore/anomaly_map.ts';
import { coresetSize, type DotProducts } from '../patchcore/coreset.ts';
import { imageScore, topShareScore } from '../patchcore/image_score.ts';
import { createLeaveOneOut, visitAllPairs } from '../patchcore/leave_one_out.ts';
import { createMatrix, type Matrix, selectRows, trustUnitRows, type UnitRowMatrix } from '../patchcore/matrix.ts';
import { buildMemoryBank } from '../patchcore/memory_bank.ts';
import { evenlySpread, mostLeftOut } from '../patchcore/patch_collection.ts';
import {
  createPositionMemory,
  matchSamples,
  type PatchSources,
  type PositionMemory,
  positionPictures,
  positionWeight,
  samplePatches,
} from '../patchcore/position_memory.ts';
import { mixDistances, nearestByPosition } from '../patchcore/position_search.ts';
import { resolveShape, roiMask, shapeKind } from '../patchcore/roi_mask.ts';
import { type ThinnedRows, thinRows } from '../patchcore/thinning.ts';
import { encodeMemory } from '../store/model_memory.ts';
import type { FitOrder, FitPicture, FittedMemory } from './vision.ts';

export interface FitStepHooks {
  readonly onProgress?: (done: number, total: number) => void;
  readonly shouldStop?: () => boolean;
}

/** Pairs of patches that leave-one-out may look at where every patch is kept and no coreset has looked at them already. */
const mostPairs = 2e9;

/** Patches asked where they find their match. */
const samplesForWeight = 512;

/**
 * Patch embeddings of good pictures → memory bank, position memory, leave-one-out scores, and the bytes of the files. The
 * embeddings become unit rows where they lie. Blocks its thread for the whole time, but for the matrix products.
 *
 * Of thinned patches the coreset has as many rows as of all, or all that are left; leave-one-out scores and positions are
 * those of the pictures that are whole, against what is left of the others.
 *
 * @throws InspectionError `request_aborted` when `shouldStop` says so
 */
export async function fitMemory(
  order: FitOrder,
  products: DotProducts,
  hooks: FitStepHooks = {},
): Promise<FittedMemory> {
  const { rows, cols, data, sources, thinning } = order.patches;
  const unit = unitRows(createMatrix(rows, cols, data.subarray(0, rows * cols)));
  const embeddings = thinning?.seen ?? rows;
  const whole = thinning?.whole ?? Int32Array.from(order.pictures.keys());
  const size = Math.min(rows, coresetSize(embeddings, order.coresetRate));
  const leaveOneOut = createLeaveOneOut(unit, sources, size);
  const bank = await buildMemoryBank(unit, size / rows, products, {
    ...hooks,
    onProducts: leaveOneOut.onProducts,
  });
  const most = order.mostLeftOut ?? mostLeftOut;
  let scored = spread(whole, most);
  if (size === rows) {
    const perPicture = rows * (embeddings / order.pictures.length);
    scored = spread(whole, Math.min(most, Math.floor(mostPairs / perPicture)));
    await visitAllPairs(unit, rowsOfPictures(sources, scored), products, leaveOneOut.onProducts, hooks);
  }
  const position = await choosePositions(order, unit, whole, products);
  const leftOutScores = new Array<number | null>(order.pictures.length).fill(null);
  if (order.pictures.length > 1) {
    for (const picture of scored) {
      const distances = await leaveOneOut.distances(picture, products);
      leftOutScores[picture] = await scoreLeftOut(order, unit, sources, picture, distances, position, products);
    }
  }
  const coresetRateApplied = size / embeddings;
  const thinned = thinning === null ? null : { patches_seen: embeddings, patches_kept: rows, radius: thinning.radius };
  const encoded = encodeMemory({
    bank: bank.rows,
    grid: order.grid,
    sources: {
      picture: Int32Array.from(bank.picks, (pick) => sources.picture[pick] as number),
      cell: Int32Array.from(bank.picks, (pick) => sources.cell[pick] as number),
    },
    ...(position !== null && { position }),
    metadata: {
      ...order.about,
      n_images: order.pictures.length,
      n_embeddings: embeddings,
      coreset_size: bank.rows.rows,
      coreset_rate_requested: order.coresetRate,
      coreset_rate_applied: coresetRateApplied,
      thinned: thinned ?? undefined,
      score_mode: order.scoreMode,
      pictures: order.pictures.map(({ name, sha256, size: { height, width }, shape, frame, brightness }, i) => ({
        name,
        sha256,
        shape:
          shape === undefined || shapeKind(shape.kind) === null ? undefined : { kind: shape.kind, ...shape.numbers },
        height,
        width,
        frame: [frame.top, frame.left, frame.height, frame.width],
        left_out_score: leftOutScores[i] ?? null,
        brightness,
      })),
    },
  });
  return {
    encoded,
    embeddings,
    coresetSize: bank.rows.rows,
    coresetRateApplied,
    thinned,
    positionWeight: position?.weight ?? 0,
    leftOutScores,
  };
}

/** Where they lie: patches of many pictures are too many to be there twice. */
function unitRows(raw: Matrix): UnitRowMatrix {
  normalizeRowsInPlace(raw);
  return trustUnitRows(raw);
}

/** At most `most` of the pictures, evenly spread. */
function spread(pictures: Int32Array, most: number): Int32Array {
  return evenlySpread(pictures.length, most).map((i) => pictures[i] as number);
}

function rowsOfPictures(sources: PatchSources, pictures: Iterable<number>): Int32Array {
  const wanted = new Set(pictures);
  const rows: number[] = [];
  for (const [row, picture] of sources.picture.entries()) if (wanted.has(picture)) rows.push(row);
  return Int32Array.from(rows);
}

/**
 * The position memory, if the pictures show that positions can be trusted. Where patches were thinned, the pictures that are
 * whole are asked alone: thinning would make far matches of near ones.
 */
async function choosePositions(
  { patches: { sources, thinning }, grid, positionBytes }: FitOrder,
  unit: UnitRowMatrix,
  whole: Int32Array,
  products: DotProducts,
): Promise<PositionMemory | null> {
  const chosen = positionPictures(whole.length, grid, unit.cols, positionBytes).map((i) => whole[i] as number);
  if (chosen.length === 0) return null;
  const asked = thinning === null ? { unit, sources } : patchesOf(whole, unit, sources);
  const sample = samplePatches(asked.unit.rows, samplesForWeight);
  const matches = await matchSamples(asked.unit, asked.sources, grid, sample, products);
  const weight = positionWeight(whole.length, matches);
  return weight === 0 ? null : createPositionMemory(unit, sources, chosen, grid, weight);
}

function patchesOf(pictures: Int32Array, unit: UnitRowMatrix, sources: PatchSources) {
  const rows = rowsOfPictures(sources, pictures);
  const picture = rows.map((row) => sources.picture[row] as number);
  const cell = rows.map((row) => sources.cell[row] as number);
  return { unit: selectRows(unit, rows), sources: { picture, cell } };
}

async function scoreLeftOut(
  order: FitOrder,
  unit: UnitRowMatrix,
  sources: PatchSources,
  picture: number,
  anywhere: Float32Array,
  position: PositionMemory | null,
  products: DotProducts,
): Promise<number> {
  const { size, frame, shape } = order.pictures[picture] as FitPicture;
  const rows = rowsOfPictures(sources, [picture]);
  const cells = Int32Array.from(rows, (row) => sources.cell[row] as number);
  let patches = anywhere;
  if (position !== null) {
    const own = new Int32Array(rows.length).fill(picture);
    const near = await nearestByPosition(selectRows(unit, rows), cells, position, products, own);
    patches = mixDistances(anywhere, near.distances, position.weight);
  }
  const distances = new Float32Array(order.grid.rows * order.grid.cols);
  for (const [i, cell] of cells.entries()) distances[cell] = patches[i] as number;
  const map = anomalyMap(distances, order.grid, frame, size, order.sigmaPx);
  const mask = roiMask(shape === undefined ? { kind: 'whole' } : resolveShape(shape, size), size);
  return order.scoreMode === 'top_share' ? topShareScore(map, mask) : imageScore(map, mask, order.scorePercentile);
}

export interface FitSettings {
  /** Threads of one matrix product. */
  readonly threads: number;
}

/**
 * {@link fitMemory} with ONNX Runtime for its matrix products. Its session is opened for each fit (a millisecond), because it
 * keeps what its largest product needed, 128 MiB or more, as long as it is open, and a service may not fit again for weeks.
 */
export async function fitWithProducts(
  order: FitOrder,
  settings: FitSettings,
  hooks?: FitStepHooks,
): Promise<FittedMemory> {
  return await withProducts(settings, (products) => fitMemory(order, products, hooks));
}

/** {@link thinRows} of raw patches, which it makes unit rows where they lie, with a session as {@link fitWithProducts}. */
export async function thinWithProducts(
  patches: Matrix,
  size: number,
  settings: FitSettings,
  hooks: Pick<FitStepHooks, 'shouldStop'> = {},
): Promise<ThinnedRows> {
  return await withProducts(settings, (products) => thinRows(unitRows(patches), size, products, hooks));
}

async function withProducts<T>(settings: FitSettings, work: (products: DotProducts) => Promise<T>): Promise<T> {
  const { products, dispose } = await createOnnxProducts(settings);
  try {
    return await work(products);
  } finally {
    await dispose();
  }
}
