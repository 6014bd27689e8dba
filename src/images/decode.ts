import sharp, { type Sharp } from 'sharp';
import { InspectionError } from '../errors.ts';
import { decodeBmp } from './bmp.ts';
import type { RgbImage } from './image.ts';
import { called, pictureFormat, requireSize } from './picture_format.ts';

export interface DecodeOptions {
  /** How to call the picture in an error; may be empty. */
  readonly name: string;
  /** Width × height, checked before anything is decoded. */
  readonly maxPixels: number;
}

// Pictures come once; a cache would only hold memory.
sharp.cache(false);

/**
 * Bytes → 8-bit RGB. PNG, JPEG (turned upright by its EXIF orientation), BMP, TIFF (first page), WebP (first frame); gray,
 * palette, RGB, with or without alpha, 8 and 16 bits.
 *
 * - Alpha is dropped, not blended: the GUI's alpha repeats its mask, and the colour under it is real.
 * - Pixel values are taken as they are: embedded colour profiles are not applied (CMYK is turned into sRGB).
 * - 16-bit samples are scaled by their real range: PNG's sBIT where it is given and holds, else 12 bits when no sample
 *   exceeds 4095, else 16 bits. Only these two, so that the pictures of one camera are scaled alike: a 12-bit camera always
 *   reads as 12 bits. A truly 16-bit picture that is darker than 1/16 everywhere is taken for 12 bits.
 *
 * @throws InspectionError `unreadable_image` (empty, cut short, damaged), `unsupported_media_type` (no picture, or none of
 *   these formats), `image_too_large`; the text names the picture
 */
export async function decodeImage(bytes: Uint8Array, { name, maxPixels }: DecodeOptions): Promise<RgbImage> {
  const format = pictureFormat(bytes, name);
  if (format === 'bmp') return decodeBmp(bytes, name, maxPixels);
  try {
    const input = () => sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true });
    const metadata = await input().metadata();
    requireSize(metadata.width, metadata.height, maxPixels, name);
    const upright = format === 'jpeg' ? input().autoOrient() : input();
    if (metadata.depth === 'ushort') {
      return await decodeDeep(upright, metadata.channels, format === 'png' ? significantBits(bytes) : null);
    }
    const { data, info } = await upright
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { height: info.height, width: info.width, data: asRgb(data, info.channels) };
  } catch (cause) {
    if (cause instanceof InspectionError) throw cause;
    throw new InspectionError('unreadable_image', `${called(name)} cannot be decoded: it is damaged or cut short.`, {
      cause,
    });
  }
}

async function decodeDeep(input: Sharp, channels: number, bits: number | null): Promise<RgbImage> {
  const isGray = channels < 3;
  const { data, info } = await input
    .removeAlpha()
    .toColourspace(isGray ? 'grey16' : 'rgb16')
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true });
  const samples = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
  const largest = samples.reduce((most, sample) => Math.max(most, sample), 0);
  const range = [bits ?? 12, 12, 16].find((candidate) => largest < 2 ** candidate) ?? 16;
  const most = 2 ** range - 1;
  const scaled = Uint8Array.from(samples, (sample) => Math.min(255, Math.round((sample * 255) / most)));
  return { height: info.height, width: info.width, data: asRgb(scaled, info.channels) };
}

/** Repeats gray; leaves RGB. */
function asRgb(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const rgb = new Uint8Array((data.length / channels) * 3);
  for (let pixel = 0; pixel * channels < data.length; pixel++) {
    rgb.fill(data[pixel * channels] as number, pixel * 3, pixel * 3 + 3);
  }
  return rgb;
}

/**
 * The significant bits a PNG's sBIT chunk gives (the largest of the colour channels); null when there is no such chunk
 * before the pixels. PNG wants samples scaled up to 16 bits, many cameras store them as they are: the caller sees which
 * by the largest sample.
 */
function significantBits(bytes: Uint8Array): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const colourType = bytes[25] as number;
  const colours = colourType === 0 || colourType === 4 ? 1 : 3;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === 'IDAT') return null;
    if (type === 'sBIT' && length >= colours && at + 8 + colours <= bytes.length) {
      const bits = Math.max(...bytes.subarray(at + 8, at + 8 + colours));
      return bits >= 8 && bits <= 16 ? bits : null;
    }
    at += 12 + length;
  }
  return null;
}
