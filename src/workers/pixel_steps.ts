import { InspectionError } from '../errors.ts';
import { decodeImage } from '../images/decode.ts';
import { gridFrame, prepareInput } from '../images/letterbox.ts';
import { called, pictureFormat } from '../images/picture_format.ts';
import { pictureSketch } from '../images/picture_sketch.ts';
import { encodeGrayPng } from '../images/png.ts';
import type { Preprocessing } from '../images/preprocessing.ts';
import { thumbnailJpeg } from '../images/thumbnail.ts';
import { truthMask } from '../images/truth_mask.ts';
import { layout, loopsWith } from '../kernels/loops.ts';
import { anomalyMap } from '../patchcore/anomaly_map.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { heatmap } from '../patchcore/heatmap.ts';
import { imageScore, maskedValues, topShareScore } from '../patchcore/image_score.ts';
import { findRegions } from '../patchcore/regions.ts';
import { cellsSeenThrough } from '../patchcore/roi_cells.ts';
import { resolveShape, roiMask } from '../patchcore/roi_mask.ts';
import { createModelStore, type IndexState } from '../store/model_store.ts';
import type { ModelPlace } from '../store/places.ts';
import type { Drawing, DrawOrder, PreparedPicture, ProvenPicture, RoiCellsOrder, TruthMask } from './vision.ts';

/** What the pixel steps must know of the extractor they prepare for. */
export interface PixelSettings {
  readonly preprocessing: Preprocessing;
  readonly grid: PatchGrid;
  readonly maxPixels: number;
  /** Where models lie; for {@link repairIndex}. */
  readonly modelsDir: string;
  /** Pack heatmaps on Node's pool, beside the search for regions. */
  readonly packInPool: boolean;
}

/** Bytes → network input. @param allocate see {@link prepareInput} */
export async function preparePicture(
  bytes: Uint8Array,
  name: string,
  settings: PixelSettings,
  allocate?: (length: number) => Float32Array,
): Promise<PreparedPicture> {
  const started = performance.now();
  const image = await decodeImage(bytes, { name, maxPixels: settings.maxPixels });
  const decoded = performance.now();
  const { input, placement } = prepareInput(image, settings.preprocessing, allocate);
  return {
    size: { height: image.height, width: image.width },
    input,
    frame: gridFrame(placement, input, settings.grid),
    brightness: meanBrightness(image.data),
    decodeMs: decoded - started,
    prepareMs: performance.now() - decoded,
  };
}

/** Bytes; their sum fits in 32 bits. */
const summedAtOnce = 65536;

/** Every pixel's bytes; in whole numbers, so exact. */
function meanBrightness(data: Uint8Array): number {
  const plan = layout();
  const bytesAt = plan(summedAtOnce);
  const loops = loopsWith(plan(0));
  let sum = 0;
  for (let start = 0; start < data.length; start += summedAtOnce) {
    const some = data.subarray(start, start + summedAtOnce);
    new Uint8Array(loops.memory.buffer, bytesAt, some.length).set(some);
    sum += loops.sumBytes(bytesAt, some.length);
  }
  return sum / data.length;
}

/** Distances → score, regions and heatmap, in the caller's pixels. */
export async function drawPicture(
  order: DrawOrder,
  { packInPool: inPool }: Pick<PixelSettings, 'packInPool'>,
): Promise<Drawing> {
  const started = performance.now();
  const mask = roiMask(resolveShape(order.shape, order.size), order.size);
  const map = anomalyMap(order.distances, order.grid, order.frame, order.size, order.sigmaPx);
  const values = maskedValues(map, mask);
  const score =
    order.scoreMode === 'top_share'
      ? topShareScore(map, mask, values)
      : imageScore(map, mask, order.scorePercentile, values);
  const mapped = performance.now();
  const encoding = order.heatmap
    ? encodeGrayPng({ ...order.size, data: heatmap(map, mask, values) }, { inPool })
    : null;
  // Awaited later; until then a failure must not count as unhandled.
  encoding?.catch(() => undefined);
  const begun = performance.now();
  const minAreaPx = order.areaMm2Thr / (order.mmPerPx * order.mmPerPx);
  const regions = order.threshold === null ? [] : findRegions(map, mask, order.threshold, minAreaPx, order.mmPerPx);
  const found = performance.now();
  const heatmapPng = await encoding;
  return {
    score,
    regions,
    heatmapPng,
    map: order.map ? map : null,
    mapMs: mapped - started,
    regionsMs: found - begun,
    encodeMs: begun - mapped + (performance.now() - found),
  };
}

/** Decodes as a fit would. */
export async function provePicture(
  bytes: Uint8Array,
  name: string,
  { maxPixels }: Pick<PixelSettings, 'maxPixels'>,
): Promise<ProvenPicture> {
  const image = await decodeImage(bytes, { name, maxPixels });
  const { height, width } = image;
  return { format: pictureFormat(bytes, name), size: { height, width }, sketch: pictureSketch(image) };
}

export async function roiCells(
  { name, shape, size, frame, sigmaPx }: RoiCellsOrder,
  { grid }: Pick<PixelSettings, 'grid'>,
): Promise<Int32Array> {
  try {
    return cellsSeenThrough(roiMask(resolveShape(shape, size), size), grid, frame, sigmaPx);
  } catch (error) {
    if (error instanceof InspectionError)
      throw new InspectionError(error.code, `${called(name)}: ${error.message}`, { cause: error });
    throw error;
  }
}

export async function thumbnailOf(
  bytes: Uint8Array,
  name: string,
  maxSide: number,
  { maxPixels }: Pick<PixelSettings, 'maxPixels'>,
): Promise<Uint8Array> {
  return await thumbnailJpeg(await decodeImage(bytes, { name, maxPixels }), maxSide);
}

export async function maskOf(
  bytes: Uint8Array,
  name: string,
  { maxPixels }: Pick<PixelSettings, 'maxPixels'>,
): Promise<TruthMask> {
  return truthMask(await decodeImage(bytes, { name, maxPixels }));
}

/** Reads a memory and writes its FAISS index again unless that is right. */
export async function repairIndex(
  place: ModelPlace,
  { modelsDir }: Pick<PixelSettings, 'modelsDir'>,
): Promise<IndexState> {
  const models = createModelStore(modelsDir);
  return await models.ensureIndex(place, await models.readMemory(place));
}
