import { crc32, inflateRawSync } from 'node:zlib';
import { InspectionError } from '../errors.ts';
import { decodeNpy, encodeNpy, type NpyArray } from './npy.ts';
import { damagedFile } from './stored_file.ts';

/** A zip of numpy arrays, as `numpy.savez` and `numpy.savez_compressed` write and `numpy.load` reads it. */

/** Local file header, central directory entry and end record: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.16. */
const LOCAL = { signature: 0x04034b50, bytes: 30 } as const;
const CENTRAL = { signature: 0x02014b50, bytes: 46 } as const;
const END = { signature: 0x06054b50, bytes: 22, longestComment: 0xffff } as const;
const ZIP64_EXTRA = 0x0001;
/** Android's alignment field: zip readers pass over it. */
const ALIGNMENT_EXTRA = 0xd935;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;
const ZIP_VERSION = 20;
/** 1980-01-01, the zip format's zero: equal arrays give equal files. */
const NO_DATE = 0x21;
const DATA_ALIGNMENT = 64;
const HIGHEST_32 = 0xffffffff;
/** Deflate's best case: one length code of two bits stands for 258 bytes. */
const DEFLATE_MOST = 1032;
const SUFFIX = '.npy';

/** What {@link decodeNpz} needs to know beside the bytes. */
export interface NpzOptions {
  /** For the error's text: a base name, no path. */
  readonly fileName: string;
  /** The most bytes that deflated members together may become. Stored ones are bounded by the file. Default 1 GiB. */
  readonly inflatedLimitBytes?: number;
}

interface Member {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packedBytes: number;
  readonly bytes: number;
  readonly headerAt: number;
}

type Damaged = (what: string, cause?: unknown) => InspectionError;

/**
 * Writes arrays, stored and not deflated, each array's values at a multiple of 64 bytes. The same arrays always give
 * the same bytes. Copies every array once; takes about as long as the checksum.
 *
 * @param arrays in the order they are to stand; names of ASCII letters, digits and `_`
 * @returns a new array, the caller's
 * @throws InspectionError `invalid_value` for another name or when the file would pass 4 GiB (zip64 is not written);
 *   `shape_mismatch`
 */
export function encodeNpz(arrays: Readonly<Record<string, NpyArray>>): Uint8Array {
  let at = 0;
  const members = Object.entries(arrays).map(([arrayName, array]) => {
    if (!/^\w+$/.test(arrayName)) {
      throw new InspectionError(
        'invalid_value',
        `An array cannot be named ${JSON.stringify(arrayName)}: use letters, digits and _.`,
      );
    }
    const name = new TextEncoder().encode(arrayName + SUFFIX);
    const parts = encodeNpy(array);
    const headerAt = at;
    const unpadded = headerAt + LOCAL.bytes + name.length + 4;
    const dataAt = Math.ceil(unpadded / DATA_ALIGNMENT) * DATA_ALIGNMENT;
    const bytes = parts.header.length + parts.values.length;
    at = dataAt + bytes;
    return { name, parts, headerAt, dataAt, bytes, extraBytes: dataAt - unpadded + 4 };
  });
  const directoryAt = at;
  const directoryBytes = members.reduce((sum, { name }) => sum + CENTRAL.bytes + name.length, 0);
  const total = directoryAt + directoryBytes + END.bytes;
  if (total >= HIGHEST_32) {
    throw new InspectionError(
      'invalid_value',
      `A file of ${total} bytes passes the format's 4 GiB. Lower the coreset rate.`,
    );
  }

  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  let entryAt = directoryAt;
  for (const { name, parts, headerAt, dataAt, bytes, extraBytes } of members) {
    file.set(parts.header, dataAt);
    file.set(parts.values, dataAt + parts.header.length);
    const crc = crc32(file.subarray(dataAt, dataAt + bytes));
    // The fields that the local header and the directory entry have in common, in the same order.
    const writeCommon = (fieldsAt: number, extra: number) => {
      view.setUint16(fieldsAt, ZIP_VERSION, true);
      view.setUint16(fieldsAt + 4, STORED, true);
      view.setUint16(fieldsAt + 8, NO_DATE, true);
      view.setUint32(fieldsAt + 10, crc, true);
      view.setUint32(fieldsAt + 14, bytes, true);
      view.setUint32(fieldsAt + 18, bytes, true);
      view.setUint16(fieldsAt + 22, name.length, true);
      view.setUint16(fieldsAt + 24, extra, true);
    };
    view.setUint32(headerAt, LOCAL.signature, true);
    writeCommon(headerAt + 4, extraBytes);
    file.set(name, headerAt + LOCAL.bytes);
    const extraAt = headerAt + LOCAL.bytes + name.length;
    view.setUint16(extraAt, ALIGNMENT_EXTRA, true);
    view.setUint16(extraAt + 2, extraBytes - 4, true);

    view.setUint32(entryAt, CENTRAL.signature, true);
    view.setUint16(entryAt + 4, ZIP_VERSION, true);
    writeCommon(entryAt + 6, 0);
    view.setUint32(entryAt + 42, headerAt, true);
    file.set(name, entryAt + CENTRAL.bytes);
    entryAt += CENTRAL.bytes + name.length;
  }
  view.setUint32(entryAt, END.signature, true);
  view.setUint16(entryAt + 8, members.length, true);
  view.setUint16(entryAt + 10, members.length, true);
  view.setUint32(entryAt + 12, directoryBytes, true);
  view.setUint32(entryAt + 16, directoryAt, true);
  return file;
}

/**
 * Reads every `.npy` member, stored or deflated, with the zip64 headers numpy writes; sizes and checksums are proved.
 *
 * @param bytes the whole file. Arrays are views of it where alignment allows (always for ours): it belongs to them now
 * @returns the arrays by name without `.npy`
 * @throws InspectionError `damaged_file` naming the file and the array: cut off, contradictory, wrong checksum,
 *   encrypted, more inflated than the limit, or an array of a kind {@link decodeNpy} does not read
 */
export function decodeNpz(bytes: Uint8Array, options: NpzOptions): ReadonlyMap<string, NpyArray> {
  const { fileName, inflatedLimitBytes = 2 ** 30 } = options;
  const arrays = new Map<string, NpyArray>();
  let inflatedBytes = 0;
  for (const member of readDirectory(bytes, (what) => damagedFile(fileName, what))) {
    if (!member.name.endsWith(SUFFIX)) continue;
    const arrayName = member.name.slice(0, -SUFFIX.length);
    const damaged: Damaged = (what, cause) => damagedFile(fileName, `array '${arrayName}' ${what}`, cause);
    if (arrays.has(arrayName)) throw damaged('is there twice');
    if (member.method !== STORED) inflatedBytes += member.bytes;
    if (inflatedBytes > inflatedLimitBytes) {
      throw damaged(`brings the unpacked arrays to ${inflatedBytes} bytes, the limit is ${inflatedLimitBytes}`);
    }
    arrays.set(arrayName, decodeNpy(readMember(bytes, member, damaged), arrayName, fileName));
  }
  return arrays;
}

function findEnd(view: DataView, damaged: Damaged): number {
  const lowest = Math.max(0, view.byteLength - END.bytes - END.longestComment);
  for (let at = view.byteLength - END.bytes; at >= lowest; at--) {
    if (view.getUint32(at, true) !== END.signature) continue;
    if (at + END.bytes + view.getUint16(at + 20, true) === view.byteLength) return at;
  }
  throw damaged("it does not end as a zip file (cut off, or no '.npz' at all)");
}

function readDirectory(bytes: Uint8Array, damaged: Damaged): Member[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const endAt = findEnd(view, damaged);
  const count = view.getUint16(endAt + 10, true);
  const directoryBytes = view.getUint32(endAt + 12, true);
  let at = view.getUint32(endAt + 16, true);
  if (at + directoryBytes !== endAt)
    throw damaged('its zip directory does not lie where its end says (or is zip64, past 4 GiB)');

  const members: Member[] = [];
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL.bytes > endAt || view.getUint32(at, true) !== CENTRAL.signature) {
      throw damaged(`entry ${i + 1} of ${count} of its zip directory is broken`);
    }
    const nameAt = at + CENTRAL.bytes;
    const extraAt = nameAt + view.getUint16(at + 28, true);
    const commentAt = extraAt + view.getUint16(at + 30, true);
    const nextAt = commentAt + view.getUint16(at + 32, true);
    if (nextAt > endAt) throw damaged(`entry ${i + 1} of ${count} of its zip directory is broken`);
    const sizes = readSizes(new DataView(bytes.buffer, bytes.byteOffset + extraAt, commentAt - extraAt), {
      bytes: view.getUint32(at + 24, true),
      packedBytes: view.getUint32(at + 20, true),
      headerAt: view.getUint32(at + 42, true),
    });
    members.push({
      name: new TextDecoder().decode(bytes.subarray(nameAt, extraAt)),
      flags: view.getUint16(at + 8, true),
      method: view.getUint16(at + 10, true),
      crc: view.getUint32(at + 16, true),
      ...sizes,
    });
    at = nextAt;
  }
  if (at !== endAt) throw damaged(`its zip directory holds more than the ${count} entries it claims`);
  return members;
}

/** Numbers that do not fit 32 bits stand in the zip64 field instead, in this order, only those. */
function readSizes(extra: DataView, short: Pick<Member, 'bytes' | 'packedBytes' | 'headerAt'>): typeof short {
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const end = at + 4 + extra.getUint16(at + 2, true);
    if (extra.getUint16(at, true) === ZIP64_EXTRA && end <= extra.byteLength) {
      let next = at + 4;
      const long = (value: number) => {
        if (value !== HIGHEST_32 || next + 8 > end) return value;
        next += 8;
        return Number(extra.getBigUint64(next - 8, true));
      };
      return { bytes: long(short.bytes), packedBytes: long(short.packedBytes), headerAt: long(short.headerAt) };
    }
    at = end;
  }
  return short;
}

function readMember(file: Uint8Array, member: Member, damaged: Damaged): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const { headerAt, packedBytes, bytes } = member;
  if (member.flags & ENCRYPTED) throw damaged('is encrypted');
  // The sizes come from the directory: numpy's local headers defer them to zip64 fields or leave them open.
  if (headerAt + LOCAL.bytes > file.length || view.getUint32(headerAt, true) !== LOCAL.signature) {
    throw damaged('does not lie where the zip directory says');
  }
  const nameAt = headerAt + LOCAL.bytes;
  const nameEnd = nameAt + view.getUint16(headerAt + 26, true);
  const dataAt = nameEnd + view.getUint16(headerAt + 28, true);
  if (new TextDecoder().decode(file.subarray(nameAt, nameEnd)) !== member.name) {
    throw damaged('has another name where the zip directory says it lies');
  }
  if (dataAt + packedBytes > file.length) throw damaged('is cut off');
  const packed = file.subarray(dataAt, dataAt + packedBytes);
  const content = unpack(packed, member, damaged);
  if (content.length !== bytes) throw damaged(`has ${content.length} bytes instead of ${bytes}`);
  if (crc32(content) !== member.crc) throw damaged('does not match its checksum');
  return content;
}

function unpack(packed: Uint8Array, { method, bytes }: Member, damaged: Damaged): Uint8Array {
  if (method === STORED) return packed;
  if (method !== DEFLATED) throw damaged(`is packed by zip method ${method}; known are 0 (stored) and 8 (deflated)`);
  if (bytes > packed.length * DEFLATE_MOST) throw damaged(`claims ${bytes} bytes, more than ${packed.length} can hold`);
  try {
    // The small first chunk of a small member; zlib takes no less than 64.
    const chunkSize = Math.min(Math.max(64, bytes), 1 << 20);
    return inflateRawSync(packed, { maxOutputLength: Math.max(1, bytes), chunkSize });
  } catch (error) {
    throw damaged(`cannot be unpacked to ${bytes} bytes`, error);
  }
}
