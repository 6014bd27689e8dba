import { workerData } from 'piscina';
import type { ModelPlace } from '../store/places.ts';
import { moved, settleUntil, type WorkerStart } from './outcome.ts';
import {
  drawPicture,
  maskOf,
  type PixelSettings,
  preparePicture,
  repairIndex as repair,
  thumbnailOf,
} from './pixel_steps.ts';
import type { DrawOrder } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<PixelSettings>;
const settle = settleUntil(closing);

export const prepare = async ({ bytes, name }: { bytes: Uint8Array; name: string }) =>
  moved(await settle(() => preparePicture(bytes, name, settings)), (picture) => [picture.input.data]);

export const draw = async (order: DrawOrder) =>
  moved(await settle(() => drawPicture(order)), (drawing) => [
    ...(drawing.heatmapPng === null ? [] : [drawing.heatmapPng]),
    ...(drawing.map === null ? [] : [drawing.map.data]),
  ]);

export const thumbnail = async ({ bytes, name, maxSide }: { bytes: Uint8Array; name: string; maxSide: number }) =>
  moved(await settle(() => thumbnailOf(bytes, name, maxSide, settings)), (jpeg) => [jpeg]);

export const mask = async ({ bytes, name }: { bytes: Uint8Array; name: string }) =>
  moved(await settle(() => maskOf(bytes, name, settings)), ({ data }) => [data]);

export const repairIndex = (place: ModelPlace) => settle(() => repair(place, settings));

/** Loads the codecs. */
export const warm = async () => settle(async () => undefined);
