import { workerData } from 'piscina';
import { moved, settle } from './outcome.ts';
import { drawPicture, type PixelSettings, preparePicture } from './pixel_steps.ts';
import type { DrawOrder } from './vision.ts';

const settings = workerData as PixelSettings;

export const prepare = async ({ bytes, name }: { bytes: Uint8Array; name: string }) =>
  moved(await settle(() => preparePicture(bytes, name, settings)), (picture) => [picture.input.data]);

export const draw = async (order: DrawOrder) =>
  moved(await settle(() => drawPicture(order)), (drawing) => (drawing.heatmapPng === null ? [] : [drawing.heatmapPng]));

/** Loads the codecs. */
export const warm = async () => settle(async () => undefined);
