import { InspectionError } from '../errors.ts';
import { decodeImage } from '../images/decode.ts';
import { gridFrame, prepareInput } from '../images/letterbox.ts';
import { called, pictureFormat } from '../images/picture_format.ts';
import { pictureSketch } from '../images/picture_sketch.ts';
import { encodeGrayPng } from '../images/png.ts';
import type { Preprocessing } from '../images/preprocessing.ts';
import { thumbnailJpeg } from '../images/thumbnail.ts';
import { truthMask } from '../images/truth_mask.ts';
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

/** So many words of four bytes that two sums of bytes fit in one word. */
const wordsPerSum = 256;

/**
 * Every pixel's bytes; in whole numbers, so exact. Four bytes are read at once and added two by two: a quarter of the time
 * of a plain loop.
 */
function meanBrightness(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const inWords = data.length - (data.length % 4);
  let sum = 0;
  for (let at = 0; at < inWords; ) {
    let even = 0;
    let odd = 0;
    for (const end = Math.min(inWords, at + 4 * wordsPerSum); at < end; at += 4) {
      const word = view.getUint32(at, true);
      even += word & 0xff00ff;
      odd += (word >>> 8) & 0xff00ff;
    }
    sum += (even & 0xffff) + (even >>> 16) + (odd & 0xffff) + (odd >>> 16);
  }
  for (let at = inWords; at < data.length; at++) sum += data[at] as number;
  return sum / data.length;
}

/** Distances → score, regions and heatmap, in the caller's pixels. */
export function drawPicture(order: DrawOrder): Drawing {
  const started = performance.now();
  const mask = roiMask(resolveShape(order.shape, order.size), order.size);
  const map = anomalyMap(order.distances, order.grid, order.frame, order.size, order.sigmaPx);
  const values = maskedValues(map, mask);
  const score =
    order.scoreMode === 'top_share'
      ? topShareScore(map, mask, values)
      : imageScore(map, mask, order.scorePercentile, values);
  const mapped = performance.now();
  const minAreaPx = order.areaMm2Thr / (order.mmPerPx * order.mmPerPx);
  const regions = order.threshold === null ? [] : findRegions(map, mask, order.threshold, minAreaPx, order.mmPerPx);
  const found = performance.now();
  const heatmapPng = order.heatmap ? encodeGrayPng({ ...order.size, data: heatmap(map, mask, values) }) : null;
  return {
    score,
    regions,
    heatmapPng,
    map: order.map ? map : null,
    mapMs: mapped - started,
    regionsMs: found - mapped,
    encodeMs: performance.now() - found,
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
