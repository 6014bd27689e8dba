import { InspectionError } from '../errors.ts';
import type { RgbImage } from './image.ts';
import { called, requireSize } from './picture_format.ts';

/**
 * Decodes a Windows or OS/2 bitmap: 1, 4, 8 bits with a palette (plain, RLE8, RLE4), 16 and 32 bits (plain or with bit
 * fields), 24 bits; bottom-up or top-down. Alpha is dropped. sharp reads no BMP, and industrial cameras write them.
 *
 * Every read is checked against the file's length, so a lying header cannot reach beyond it.
 *
 * @throws InspectionError `unreadable_image`, `image_too_large`
 */
export function decodeBmp(bytes: Uint8Array, name: string, maxPixels: number): RgbImage {
  const header = readHeader(bytes, name);
  requireSize(header.width, header.height, maxPixels, name);
  const { width, height } = header;
  const data = new Uint8Array(width * height * 3);
  if (header.compression === rle8 || header.compression === rle4) decodeRuns(bytes, header, data, name);
  else decodeRows(bytes, header, data, name);
  return { height, width, data };
}

const plain = 0;
const rle8 = 1;
const rle4 = 2;
const bitFields = 3;
const alphaBitFields = 6;

interface Header {
  readonly width: number;
  readonly height: number;
  readonly topDown: boolean;
  readonly bits: number;
  readonly compression: number;
  /** Where the pixels begin. */
  readonly offset: number;
  /** RGB triples. */
  readonly palette: Uint8Array;
  readonly masks: readonly [red: number, green: number, blue: number];
}

function damaged(name: string, what: string): InspectionError {
  return new InspectionError('unreadable_image', `${called(name)} cannot be decoded: ${what}.`);
}

function readHeader(bytes: Uint8Array, name: string): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = view.getUint32(14, true);
  const isCore = size === 12;
  if (!(isCore || size >= 40) || 14 + size > bytes.length)
    throw damaged(name, `its BMP header of ${size} bytes is unknown or cut short`);

  const width = isCore ? view.getUint16(18, true) : view.getInt32(18, true);
  const signedHeight = isCore ? view.getUint16(20, true) : view.getInt32(22, true);
  const bits = view.getUint16(isCore ? 24 : 28, true);
  const compression = isCore ? plain : view.getUint32(30, true);
  const expectedBits: Readonly<Record<number, readonly number[]>> = {
    [plain]: [1, 4, 8, 16, 24, 32],
    [rle8]: [8],
    [rle4]: [4],
    [bitFields]: [16, 32],
    [alphaBitFields]: [16, 32],
  };
  if (expectedBits[compression]?.includes(bits) !== true) {
    throw damaged(name, `${bits} bits per pixel with compression ${compression} is not a BMP okng reads`);
  }
  const offset = view.getUint32(10, true);
  if (offset > bytes.length) throw damaged(name, 'its pixels begin behind its end');
  return {
    width,
    height: Math.abs(signedHeight),
    topDown: signedHeight < 0,
    bits,
    compression,
    offset,
    palette: bits <= 8 ? readPalette(bytes, view, isCore, size, bits, offset) : new Uint8Array(),
    masks: readMasks(view, bits, compression, size, bytes.length, name),
  };
}

function readPalette(
  bytes: Uint8Array,
  view: DataView,
  isCore: boolean,
  size: number,
  bits: number,
  offset: number,
): Uint8Array {
  const entryBytes = isCore ? 3 : 4;
  const start = 14 + size;
  const declared = isCore ? 0 : view.getUint32(46, true);
  const most = Math.min(declared === 0 ? 1 << bits : declared, 1 << bits);
  // Some writers leave out unused entries without saying so: the pixels' begin ends the palette.
  const available = Math.max(0, Math.floor((Math.min(offset, bytes.length) - start) / entryBytes));
  const palette = new Uint8Array((1 << bits) * 3);
  for (let entry = 0; entry < Math.min(most, available); entry++) {
    const at = start + entry * entryBytes;
    palette[entry * 3] = bytes[at + 2] as number;
    palette[entry * 3 + 1] = bytes[at + 1] as number;
    palette[entry * 3 + 2] = bytes[at] as number;
  }
  return palette;
}

function readMasks(
  view: DataView,
  bits: number,
  compression: number,
  size: number,
  length: number,
  name: string,
): readonly [number, number, number] {
  if (compression !== bitFields && compression !== alphaBitFields) {
    return bits === 16 ? [0x7c00, 0x03e0, 0x001f] : [0xff0000, 0x00ff00, 0x0000ff];
  }
  // Behind a header of 40 bytes, or inside a longer one at the same place.
  if (Math.max(14 + size, 66) > length) throw damaged(name, 'its colour masks are cut short');
  return [view.getUint32(54, true), view.getUint32(58, true), view.getUint32(62, true)];
}

function decodeRows(bytes: Uint8Array, header: Header, data: Uint8Array, name: string): void {
  const { width, height, bits, offset, palette, topDown } = header;
  const stride = Math.ceil((width * bits) / 32) * 4;
  if (offset + stride * height > bytes.length) throw damaged(name, 'it is cut short');
  const [red, green, blue] = header.masks.map(channelOf) as [Channel, Channel, Channel];
  for (let y = 0; y < height; y++) {
    const row = offset + (topDown ? y : height - 1 - y) * stride;
    let out = y * width * 3;
    for (let x = 0; x < width; x++, out += 3) {
      if (bits <= 8) {
        const bit = x * bits;
        const value = ((bytes[row + (bit >> 3)] as number) >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
        data[out] = palette[value * 3] as number;
        data[out + 1] = palette[value * 3 + 1] as number;
        data[out + 2] = palette[value * 3 + 2] as number;
        continue;
      }
      if (bits === 24) {
        data[out] = bytes[row + x * 3 + 2] as number;
        data[out + 1] = bytes[row + x * 3 + 1] as number;
        data[out + 2] = bytes[row + x * 3] as number;
        continue;
      }
      const at = row + x * (bits >> 3);
      const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
      const value =
        bits === 16 ? low : (low | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0;
      data[out] = red(value);
      data[out + 1] = green(value);
      data[out + 2] = blue(value);
    }
  }
}

type Channel = (value: number) => number;

/** Takes a channel out of a pixel and stretches it to 8 bits. */
function channelOf(mask: number): Channel {
  if (mask === 0) return () => 0;
  const shift = 31 - Math.clz32(mask & -mask);
  const most = (mask >>> 0) / 2 ** shift;
  return (value) => Math.round((((value & mask) >>> 0) / 2 ** shift / most) * 255);
}

/** RLE4 and RLE8: pairs of (count, value), and escapes (0, …): end of line, end of picture, a jump, literal pixels. */
function decodeRuns(bytes: Uint8Array, header: Header, data: Uint8Array, name: string): void {
  const { width, height, bits, palette, topDown } = header;
  let at = header.offset;
  let x = 0;
  let y = 0;
  const next = (): number => {
    if (at >= bytes.length) throw damaged(name, 'it is cut short');
    return bytes[at++] as number;
  };
  // Where the pixel at x, y lies; what reaches beyond the right edge is dropped.
  const placeOf = (): number => ((topDown ? y : height - 1 - y) * width + x) * 3;
  const paint = (out: number, value: number): void => {
    data[out] = palette[value * 3] as number;
    data[out + 1] = palette[value * 3 + 1] as number;
    data[out + 2] = palette[value * 3 + 2] as number;
  };
  const pixelOf = (byte: number, index: number): number =>
    bits === 8 ? byte : index % 2 === 0 ? byte >> 4 : byte & 15;
  // Pixels that no run reaches keep the first colour of the palette. Doubling: a small file may claim many of them.
  paint(0, 0);
  for (let filled = 3; filled < data.length; filled *= 2) data.copyWithin(filled, 0, filled);
  while (y < height) {
    const count = next();
    const value = next();
    if (count > 0) {
      const inside = Math.min(count, width - x);
      for (let i = 0, out = placeOf(); i < inside; i++, out += 3) paint(out, pixelOf(value, i));
      x += count;
    } else if (value === 0) {
      x = 0;
      y++;
    } else if (value === 1) {
      return;
    } else if (value === 2) {
      x += next();
      y += next();
    } else {
      const literalBytes = Math.ceil((value * bits) / 8);
      for (let i = 0, byte = 0, out = placeOf(); i < value; i++, out += 3) {
        if (bits === 8 || i % 2 === 0) byte = next();
        if (x + i < width) paint(out, pixelOf(byte, i));
      }
      x += value;
      if (literalBytes % 2 === 1) next();
    }
  }
}
