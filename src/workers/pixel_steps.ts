import { decodeImage } from '../images/decode.ts';
import { gridFrame, prepareInput } from '../images/letterbox.ts';
import { encodeGrayPng } from '../images/png.ts';
import type { Preprocessing } from '../images/preprocessing.ts';
import { thumbnailJpeg } from '../images/thumbnail.ts';
import { truthMask } from '../images/truth_mask.ts';
import { anomalyMap } from '../patchcore/anomaly_map.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import { heatmap } from '../patchcore/heatmap.ts';
import { imageScore, topShareScore } from '../patchcore/image_score.ts';
import { findRegions } from '../patchcore/regions.ts';
import { resolveShape, roiMask } from '../patchcore/roi_mask.ts';
import { createModelStore, type IndexState } from '../store/model_store.ts';
import type { ModelPlace } from '../store/places.ts';
import type { Drawing, DrawOrder, PreparedPicture, TruthMask } from './vision.ts';

/** What the pixel steps must know of the extractor they prepare for. */
export interface PixelSettings {
  readonly preprocessing: Preprocessing;
  readonly grid: PatchGrid;
  readonly maxPixels: number;
  /** Where models lie; for {@link repairIndex}. */
  readonly modelsDir: string;
}

/** Bytes → network input. */
export async function preparePicture(
  bytes: Uint8Array,
  name: string,
  settings: PixelSettings,
): Promise<PreparedPicture> {
  const started = performance.now();
  const image = await decodeImage(bytes, { name, maxPixels: settings.maxPixels });
  const decoded = performance.now();
  const { input, placement } = prepareInput(image, settings.preprocessing);
  return {
    size: { height: image.height, width: image.width },
    input,
    frame: gridFrame(placement, input, settings.grid),
    brightness: meanBrightness(image.data),
    decodeMs: decoded - started,
    prepareMs: performance.now() - decoded,
  };
}

/** Every pixel's bytes; in whole numbers, so exact. */
function meanBrightness(data: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i] as number;
  return sum / data.length;
}

/** Distances → score, regions and heatmap, in the caller's pixels. */
export async function drawPicture(order: DrawOrder): Promise<Drawing> {
  const started = performance.now();
  const mask = roiMask(resolveShape(order.shape, order.size), order.size);
  const map = anomalyMap(order.distances, order.grid, order.frame, order.size, order.sigmaPx);
  const score =
    order.scoreMode === 'top_share' ? topShareScore(map, mask) : imageScore(map, mask, order.scorePercentile);
  const mapped = performance.now();
  const minAreaPx = order.areaMm2Thr / (order.mmPerPx * order.mmPerPx);
  const regions = order.threshold === null ? [] : findRegions(map, mask, order.threshold, minAreaPx, order.mmPerPx);
  const found = performance.now();
  const heatmapPng = order.heatmap ? await encodeGrayPng({ ...order.size, data: heatmap(map, mask) }) : null;
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
