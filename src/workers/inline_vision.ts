import { type BankSettings, createBankSteps } from './bank_steps.ts';
import { fitWithProducts, thinWithProducts } from './fit_steps.ts';
import { createNetworkSteps, type NetworkSettings } from './network_steps.ts';
import {
  drawPicture,
  maskOf,
  type PixelSettings,
  preparePicture,
  provePicture,
  repairIndex,
  roiCells,
  thumbnailOf,
} from './pixel_steps.ts';
import type { Vision } from './vision.ts';
import { requireCaller } from './waiting_line.ts';

/** The same steps in the calling thread: for tests and for programs that do one thing. Calls must not overlap. */
export function inlineVision(settings: {
  readonly pixels: PixelSettings;
  readonly network: NetworkSettings;
  readonly banks: BankSettings;
}): Vision {
  const network = createNetworkSteps(settings.network);
  const banks = createBankSteps(settings.banks);
  return {
    prepare: async (bytes, name, signal) => {
      requireCaller(signal);
      return await preparePicture(bytes, name, settings.pixels);
    },
    release: () => undefined,
    embed: network.embed,
    measure: async (picture, memory, { matches, signal } = {}) => {
      requireCaller(signal);
      const extracted = await network.extract(picture);
      return { ...(await banks.search(extracted, memory, matches)), extractMs: extracted.extractMs };
    },
    describe: banks.describe,
    draw: async (order, signal) => {
      requireCaller(signal);
      return await drawPicture(order, settings.pixels);
    },
    prove: async (bytes, name, signal) => {
      requireCaller(signal);
      return await provePicture(bytes, name, settings.pixels);
    },
    roiCells: (order) => roiCells(order, settings.pixels),
    thumbnail: (bytes, name, maxSide) => thumbnailOf(bytes, name, maxSide, settings.pixels),
    mask: (bytes, name) => maskOf(bytes, name, settings.pixels),
    repairIndex: (place) => repairIndex(place, settings.pixels),
    thin: async (patches, size, signal) => {
      requireCaller(signal);
      return await thinWithProducts(patches, size, settings.network);
    },
    fit: async (order, hooks = {}) =>
      fitWithProducts(order, settings.network, {
        ...(hooks.onProgress !== undefined && { onProgress: hooks.onProgress }),
        shouldStop: () => hooks.signal?.aborted === true,
      }),
    warm: async () => {
      await banks.warm();
      return await network.warm();
    },
    close: async () => {
      await banks.dispose();
      await network.dispose();
    },
  };
}
