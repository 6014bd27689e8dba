import { promisify } from 'node:util';
import { constants, crc32, deflateRaw, deflateRawSync } from 'node:zlib';
import { layout, loopSlack, loopsWith } from '../kernels/loops.ts';
import type { GrayImage } from './image.ts';

const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** PNG's number of the row filter that keeps the difference to the row above: heatmaps change slowly. */
const filterUp = 2;

/** What is packed at once: less is not worth a thread of Node's pool, and the pool has four. */
const leastStripBytes = 64 * 1024;
const mostStrips = 4;

const packing = { level: 1, strategy: constants.Z_RLE };
const pack = promisify(deflateRaw);

/** Header of a zlib stream: deflate, a window of 32 KiB, fastest. */
const zlibHeader = Uint8Array.of(0x78, 0x01);

/**
 * An 8-bit, one-channel PNG. Ours and not sharp's, which has no say in the row filter: half the time and half the bytes, and
 * a request waits for it.
 *
 * @param inPool pack strips of rows side by side on Node's pool of threads, so that the caller's thread is free for most of
 *   the time: run-length coding looks back one byte, and loses nothing where a strip begins. Waits behind all that has filled
 *   the pool
 *
 * Source: PNG specification (ISO/IEC 15948), sections 5, 9 and 11; RFC 1950, 2.2; zlib compresses.
 */
export async function encodeGrayPng(
  { height, width, data }: GrayImage,
  { inPool }: { readonly inPool: boolean },
): Promise<Uint8Array> {
  const header = new Uint8Array(13);
  const numbers = new DataView(header.buffer);
  numbers.setUint32(0, width);
  numbers.setUint32(4, height);
  header[8] = 8;
  const { filtered, checksum } = filteredRows(data, height, width);
  const chunks = [
    chunk('IHDR', [header]),
    chunk('IDAT', [
      zlibHeader,
      ...(inPool ? await packedInPool(filtered) : [deflateRawSync(filtered, packing)]),
      checksum,
    ]),
    chunk('IEND', []),
  ];
  return joined([signature, ...chunks]);
}

/** One deflate stream, in parts. */
async function packedInPool(bytes: Uint8Array): Promise<readonly Uint8Array[]> {
  const strips = Math.min(mostStrips, Math.max(1, Math.floor(bytes.length / leastStripBytes)));
  const from = (strip: number) => Math.floor((strip * bytes.length) / strips);
  // Each piece of output is a way to the pool and back: one is enough for all that is smaller than before.
  const chunkSize = Math.max(1024, Math.ceil(bytes.length / strips));
  return await Promise.all(
    Array.from({ length: strips }, (_, strip) =>
      pack(bytes.subarray(from(strip), from(strip + 1)), {
        ...packing,
        chunkSize,
        // All but the last end at a whole byte, and go on.
        finishFlush: strip + 1 < strips ? constants.Z_SYNC_FLUSH : constants.Z_FINISH,
      }),
    ),
  );
}

/**
 * [height · (1 + width)] every row as its filter's number and its differences to the row above, the first to 0; and zlib's
 * checksum of them.
 */
function filteredRows(data: Uint8Array, height: number, width: number) {
  const plan = layout();
  const rowBytes = width + loopSlack;
  const addresses = [plan(rowBytes), plan(rowBytes)] as const;
  // The filter's number lies before the differences, which want to begin at a multiple of 16.
  const outAt = plan(16 + rowBytes) + 16;
  const loops = loopsWith(plan(0));
  const views = addresses.map((address) => new Uint8Array(loops.memory.buffer, address, width));
  const out = new Uint8Array(loops.memory.buffer, outAt - 1, 1 + width);
  const filtered = new Uint8Array(height * (1 + width));
  views[1]?.fill(0);
  out[0] = filterUp;
  let sum = 1;
  for (let y = 0; y < height; y++) {
    const [row, above] = [y % 2, 1 - (y % 2)] as const;
    views[row]?.set(data.subarray(y * width, (y + 1) * width));
    loops.differences(addresses[row as 0 | 1], addresses[above as 0 | 1], width, outAt);
    sum = loops.adler32(outAt - 1, 1 + width, sum);
    filtered.set(out, y * (1 + width));
  }
  const checksum = new Uint8Array(4);
  new DataView(checksum.buffer).setUint32(0, sum);
  return { filtered, checksum };
}

/** Length, type, data, and the checksum of type and data. */
function chunk(type: string, data: readonly Uint8Array[]): Uint8Array {
  const length = new Uint8Array(4);
  const checksum = new Uint8Array(4);
  const bytes = joined([length, Buffer.from(type, 'latin1'), ...data, checksum]);
  const numbers = new DataView(bytes.buffer);
  numbers.setUint32(0, bytes.length - 12);
  numbers.setUint32(bytes.length - 4, crc32(bytes.subarray(4, -4)));
  return bytes;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
