import { workerData } from 'piscina';
import type { ModelPlace } from '../store/places.ts';
import { settleUntil, type WorkerStart } from './outcome.ts';
import {
  roiCells as cellsOf,
  drawPicture,
  maskOf,
  type PixelSettings,
  preparePicture,
  provePicture,
  repairIndex as repair,
  thumbnailOf,
} from './pixel_steps.ts';
import type { DrawOrder, RoiCellsOrder } from './vision.ts';

const { settings, closing } = workerData as WorkerStart<PixelSettings>;
// Results are copied: once an array was moved out of a thread, V8 checks at every access to any array there whether it is
// still there, with which pixel loops take half as long again.
const settle = settleUntil(closing);

interface PrepareTask {
  readonly bytes: Uint8Array;
  readonly name: string;
  /** Where the input of an earlier picture lay. */
  readonly room?: SharedArrayBuffer;
}

/** The input lies in shared memory: passing it on to a network thread costs nothing. */
export const prepare = ({ bytes, name, room }: PrepareTask) =>
  settle(() =>
    preparePicture(
      bytes,
      name,
      settings,
      (length) => new Float32Array(room ?? new SharedArrayBuffer(length * Float32Array.BYTES_PER_ELEMENT)),
    ),
  );

export const draw = (order: DrawOrder) => settle(() => drawPicture(order, settings));

export const prove = ({ bytes, name }: { bytes: Uint8Array; name: string }) =>
  settle(() => provePicture(bytes, name, settings));

export const roiCells = (order: RoiCellsOrder) => settle(() => cellsOf(order, settings));

export const thumbnail = ({ bytes, name, maxSide }: { bytes: Uint8Array; name: string; maxSide: number }) =>
  settle(() => thumbnailOf(bytes, name, maxSide, settings));

export const mask = ({ bytes, name }: { bytes: Uint8Array; name: string }) =>
  settle(() => maskOf(bytes, name, settings));

export const repairIndex = (place: ModelPlace) => settle(() => repair(place, settings));

/** Loads the codecs. */
export const warm = async () => settle(async () => undefined);
