import sharp from 'sharp';
import type { GrayImage } from './image.ts';

/**
 * An 8-bit, one-channel PNG. Compressed lightly and without row filters: heatmaps are smooth, and a request waits for it.
 */
export async function encodeGrayPng({ height, width, data }: GrayImage): Promise<Uint8Array> {
  const png = await sharp(data, { raw: { width, height, channels: 1 } })
    .toColourspace('b-w')
    .png({ compressionLevel: 3, adaptiveFiltering: false, palette: false })
    .toBuffer();
  // In an array of its own: Node may have put it into a shared pool, which must not be moved to another thread.
  return new Uint8Array(png);
}
