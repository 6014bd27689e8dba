import { createOnnxProducts } from '../neighbors/onnx_products.ts';
import { anomalyMap } from '../patchcore/anomaly_map.ts';
import { coresetSize, type DotProducts } from '../patchcore/coreset.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { imageScore, topShareScore } from '../patchcore/image_score.ts';
import { createLeaveOneOut, visitAllPairs } from '../patchcore/leave_one_out.ts';
import { concatRows, normalizeRows, selectRows, type UnitRowMatrix } from '../patchcore/matrix.ts';
import { buildMemoryBank, cellsInFrame } from '../patchcore/memory_bank.ts';
import {
  createPositionMemory,
  matchSamples,
  mixDistances,
  nearestByPosition,
  type PatchSources,
  type PositionMemory,
  positionPictures,
  positionWeight,
  samplePatches,
} from '../patchcore/position_memory.ts';
import { resolveShape, roiMask, shapeKind } from '../patchcore/roi_mask.ts';
import { encodeMemory } from '../store/model_memory.ts';
import type { FitOrder, FitPicture, FittedMemory } from './vision.ts';

export interface FitStepHooks {
  readonly onProgress?: (done: number, total: number) => void;
  readonly shouldStop?: () => boolean;
}

/** Pictures that get a leave-one-out score; more would say the same and take longer. */
const mostLeftOut = 60;

/** Pairs of patches that leave-one-out may look at where every patch is kept and no coreset has looked at them already. */
const mostPairs = 2e9;

/** Patches asked where they find their match. */
const samplesForWeight = 512;

/**
 * Patch embeddings of good pictures → memory bank, position memory, leave-one-out scores, and the bytes of the files.
 * Blocks its thread for the whole time, but for the matrix products.
 *
 * @throws InspectionError `request_aborted` when `shouldStop` says so
 */
export async function fitMemory(
  order: FitOrder,
  products: DotProducts,
  hooks: FitStepHooks = {},
): Promise<FittedMemory> {
  const unit = normalizeRows(concatRows(order.pictures.map(({ embeddings }) => embeddings)));
  const sources = sourcesOf(order.pictures, order.grid);
  const size = coresetSize(unit.rows, order.coresetRate);
  const leaveOneOut = createLeaveOneOut(unit, sources, size);
  const bank = await buildMemoryBank(unit, order.coresetRate, products, {
    ...hooks,
    onProducts: leaveOneOut.onProducts,
  });
  const most = order.mostLeftOut ?? mostLeftOut;
  let scored = spread(order.pictures.length, most);
  if (size === unit.rows) {
    const perPicture = unit.rows * (unit.rows / order.pictures.length);
    scored = spread(order.pictures.length, Math.min(most, Math.floor(mostPairs / perPicture)));
    const rows = rowsOfPictures(sources, scored);
    await visitAllPairs(unit, rows, products, leaveOneOut.onProducts, hooks);
  }
  const position = await choosePositions(order, unit, sources, products);
  const leftOutScores = new Array<number | null>(order.pictures.length).fill(null);
  if (order.pictures.length > 1) {
    for (const picture of scored) {
      const distances = await leaveOneOut.distances(picture, products);
      leftOutScores[picture] = await scoreLeftOut(order, unit, sources, picture, distances, position, products);
    }
  }
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
      n_embeddings: bank.embeddings,
      coreset_size: bank.rows.rows,
      coreset_rate_requested: order.coresetRate,
      coreset_rate_applied: bank.rateApplied,
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
    embeddings: bank.embeddings,
    coresetSize: bank.rows.rows,
    coresetRateApplied: bank.rateApplied,
    positionWeight: position?.weight ?? 0,
    leftOutScores,
  };
}

function sourcesOf(pictures: readonly FitPicture[], grid: PatchGrid): PatchSources {
  const cells = pictures.map(({ cells, frame }) => cells ?? cellsInFrame(grid, frame));
  return {
    picture: Int32Array.from(cells.flatMap((of, picture) => Array.from(of, () => picture))),
    cell: Int32Array.from(cells.flatMap((of) => [...of])),
  };
}

/** At most `most` of `count` numbers from 0, evenly spread. */
function spread(count: number, most: number): readonly number[] {
  const taken = Math.max(0, Math.min(count, most));
  return Array.from({ length: taken }, (_, i) => Math.floor((i * count) / taken));
}

function rowsOfPictures(sources: PatchSources, pictures: readonly number[]): Int32Array {
  const wanted = new Set(pictures);
  const rows: number[] = [];
  for (const [row, picture] of sources.picture.entries()) if (wanted.has(picture)) rows.push(row);
  return Int32Array.from(rows);
}

/** The position memory, if the pictures show that positions can be trusted. */
async function choosePositions(
  { pictures, grid, positionBytes }: FitOrder,
  unit: UnitRowMatrix,
  sources: PatchSources,
  products: DotProducts,
): Promise<PositionMemory | null> {
  const chosen = positionPictures(pictures.length, grid, unit.cols, positionBytes);
  if (chosen.length === 0) return null;
  const sample = samplePatches(unit.rows, samplesForWeight);
  const weight = positionWeight(pictures.length, await matchSamples(unit, sources, grid, sample, products));
  return weight === 0 ? null : createPositionMemory(unit, sources, chosen, grid, weight);
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
  const { products, dispose } = await createOnnxProducts(settings);
  try {
    return await fitMemory(order, products, hooks);
  } finally {
    await dispose();
  }
}
