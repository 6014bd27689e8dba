import sharp from 'sharp';
import type { RgbImage } from './image.ts';

/** Quality of the JPEG, 1..100: small enough to stand in a page by the hundred, defects still visible. */
const quality = 80;

/**
 * A small JPEG for people to look at; numbers are never taken from it.
 *
 * @param maxSide whole, 1..65535; the longer side is at most this. A picture that is smaller stays as it is, and a very thin
 *   one keeps at least one pixel across
 * @returns an array that fills its buffer, so that it may be moved to another thread
 */
export async function thumbnailJpeg({ height, width, data }: RgbImage, maxSide: number): Promise<Uint8Array> {
  const jpeg = await sharp(data, { raw: { width, height, channels: 3 }, limitInputPixels: false })
    .resize({ width: maxSide, height: maxSide, fit: 'inside', withoutEnlargement: true })
    .jpeg({ quality })
    .toBuffer();
  return new Uint8Array(jpeg);
}
