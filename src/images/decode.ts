import sharp, { type Sharp } from 'sharp';
import { InspectionError } from '../errors.ts';
import { decodeBmp } from './bmp.ts';
import type { RgbImage } from './image.ts';
import { called, pictureFormat, requireSize } from './picture_format.ts';
import { describe, isReadable, tiffSamples } from './tiff_samples.ts';

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
 * palette, RGB, CMYK, with or without alpha; 1 to 8 and 16 bits, unsigned. TIFF's other samples (signed, 32 bits, floating
 * point, 10, 12 or 14 bits packed) are refused: they have no range of their own that 8 bits could stand for, and a guess
 * would turn a part all black.
 *
 * - Alpha is dropped, not blended: the GUI's alpha repeats its mask, and the colour under it is real.
 * - Pixel values are taken as they are: embedded colour profiles are not applied (CMYK is turned into sRGB).
 * - 16-bit gray and RGB are brought to 8 bits as `round(sample · 255 / (2^bits - 1))`, cut at 255, with one `bits` for the
 *   whole picture, chosen by its largest colour sample: a PNG's sBIT (8..16) if no sample needs more bits than that;
 *   else 12 if no sample exceeds 4095; else 16. So
 *   - 12-bit data in 16-bit files is scaled by 4095 and never by what one picture happens to hold: the pictures of one
 *     12-bit camera are scaled alike;
 *   - 10-bit data comes out four times too dark and 14-bit data as 16 bits, unless a PNG's sBIT says 10 or 14; TIFF has
 *     nothing like it;
 *   - a truly 16-bit picture that stays at or below 4095 everywhere comes out 16 times too bright, unless it is a PNG with
 *     sBIT 16; likewise a PNG whose sBIT is below 16 but whose samples were scaled up to 16 bits, as PNG asks, and are all
 *     below `2^sBIT`.
 *
 * @throws InspectionError `unreadable_image` (empty, cut short, damaged), `unsupported_media_type` (no picture, none of
 *   these formats, or other samples), `image_too_large`; the text names the picture
 */
export async function decodeImage(bytes: Uint8Array, { name, maxPixels }: DecodeOptions): Promise<RgbImage> {
  const format = pictureFormat(bytes, name);
  if (format === 'bmp') return decodeBmp(bytes, name, maxPixels);
  const tiff = format === 'tiff' ? tiffSamples(bytes) : null;
  if (tiff !== null && !isReadable(tiff)) throw otherSamples(name, describe(tiff));
  try {
    const input = () => sharp(bytes, { failOn: 'error', limitInputPixels: false, ignoreIcc: true });
    const metadata = await input().metadata();
    requireSize(metadata.width, metadata.height, maxPixels, name);
    // labs: 16-bit CIELAB, which the library holds as signed numbers and converts rightly.
    if (metadata.depth !== 'uchar' && metadata.depth !== 'ushort' && metadata.space !== 'labs')
      throw otherSamples(name, `samples of type ${metadata.depth}`);
    if (metadata.space === 'multiband') {
      throw new InspectionError(
        'unsupported_media_type',
        `${called(name)} has channels that are neither gray nor colour, such as a sensor's raw mosaic. Save it as gray or RGB.`,
      );
    }
    const upright = format === 'jpeg' ? input().autoOrient() : input();
    // CMYK goes the other way: after its conversion nothing is left of the camera's bits.
    if (metadata.depth === 'ushort' && metadata.space !== 'cmyk') {
      return await decodeDeep(upright, {
        isGray: metadata.space === 'grey16' || metadata.channels < 3,
        bits: format === 'png' ? significantBits(bytes) : null,
        whiteIsZero: tiff?.whiteIsZero === true,
      });
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

function otherSamples(name: string, what: string): InspectionError {
  return new InspectionError(
    'unsupported_media_type',
    `${called(name)} has ${what}; okng reads 8-bit and 16-bit unsigned samples. Save it with 8 or 16 bits.`,
  );
}

interface DeepKind {
  readonly isGray: boolean;
  /** What sBIT says. */
  readonly bits: number | null;
  /** The library has turned the samples round (65535 - sample), as if they had all 16 bits. */
  readonly whiteIsZero: boolean;
}

async function decodeDeep(input: Sharp, { isGray, bits, whiteIsZero }: DeepKind): Promise<RgbImage> {
  const { data, info } = await input
    .removeAlpha()
    .toColourspace(isGray ? 'grey16' : 'rgb16')
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true });
  const samples = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
  const inverted = whiteIsZero ? 0xffff : 0;
  let largest = 0;
  for (let i = 0; i < samples.length; i++) {
    const sample = (samples[i] as number) ^ inverted;
    if (sample > largest) largest = sample;
  }
  const range = [bits ?? 12, 12, 16].find((candidate) => largest < 2 ** candidate) ?? 16;
  const eightBits = new Uint8Array(0x10000);
  const most = 2 ** range - 1;
  for (let sample = 0; sample < eightBits.length; sample++) {
    const scaled = Math.min(255, Math.round((sample * 255) / most));
    eightBits[sample ^ inverted] = whiteIsZero ? 255 - scaled : scaled;
  }
  const scaled = new Uint8Array(samples.length);
  for (let i = 0; i < samples.length; i++) scaled[i] = eightBits[samples[i] as number] as number;
  return { height: info.height, width: info.width, data: asRgb(scaled, info.channels) };
}

/** Repeats gray; leaves RGB. */
function asRgb(data: Uint8Array, channels: number): Uint8Array {
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const rgb = new Uint8Array((data.length / channels) * 3);
  for (let at = 0, from = 0; at < rgb.length; at += 3, from += channels) {
    const gray = data[from] as number;
    rgb[at] = gray;
    rgb[at + 1] = gray;
    rgb[at + 2] = gray;
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
