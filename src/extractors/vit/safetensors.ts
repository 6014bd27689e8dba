import { createHash } from 'node:crypto';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { InspectionError } from '../../errors.ts';
import { foreignFormat } from './foreign_format.ts';

/**
 * The safetensors format: the header's length in 8 bytes, the header as JSON (name → dtype, shape, data_offsets from the
 * header's end), then the tensors, which fill the rest without holes. Little-endian, row-major.
 *
 * Source: README.md and safetensors/src/tensor.rs of huggingface/safetensors (format only; the code is ours). Like the
 * latter we refuse headers above 100 MB, overlaps, holes and bytes after the last tensor. The README also forbids
 * duplicate keys, so we look for them. Values that are not finite are legal there; we refuse them in weights.
 */
const lengthBytes = 8;
const maxHeaderBytes = 100_000_000;
const metadataKey = '__metadata__';
const openingBrace = 0x7b;

/** One read, one step of the hash; a multiple of every value's size. */
const stepBytes = 4 * 1024 * 1024;

/** Enough for every foreign format's signature. */
const startBytes = 512;

const bitsOfDtype: ReadonlyMap<string, number> = new Map([
  ['BOOL', 8],
  ['F4', 4],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
  ['U8', 8],
  ['I8', 8],
  ['F8_E5M2', 8],
  ['F8_E4M3', 8],
  ['F8_E8M0', 8],
  ['F8_E4M3FNUZ', 8],
  ['F8_E5M2FNUZ', 8],
  ['I16', 16],
  ['U16', 16],
  ['F16', 16],
  ['BF16', 16],
  ['I32', 32],
  ['U32', 32],
  ['F32', 32],
  ['C64', 64],
  ['F64', 64],
  ['I64', 64],
  ['U64', 64],
]);

/** The dtypes whose values become float32 without loss. */
const readableDtypes: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16']);

/** One tensor of the header; its numbers agree with each other and with the file. */
export interface TensorInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The product of the shape. */
  readonly count: number;
  /** Of the file's bytes. */
  readonly begin: number;
  /** One past the last byte. */
  readonly end: number;
}

/** An open file; close it once. */
export interface SafetensorsFile {
  /** Without its folder, for errors. */
  readonly fileName: string;
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * Reads the whole file once, in steps of 4 MiB: the named tensors go into their arrays, every byte into the hash.
   *
   * @param destinations arrays of the tensors' lengths, by name; left half filled after an error
   * @returns the file's sha256, lower-case hex
   * @throws InspectionError `invalid_weights` when a value is NaN or infinite (named by tensor and index), a named tensor
   *   is missing or of a dtype other than F32, F16 and BF16, or the file shrinks or cannot be read; `shape_mismatch`
   *   when an array has another length than its tensor
   */
  read(destinations: ReadonlyMap<string, Float32Array>): Promise<string>;
  close(): Promise<void>;
}

type Refuse = (what: string, cause?: unknown) => InspectionError;

/** Says why a weights file cannot be used, by its own name: never by a path of this host. */
export function invalidWeights(fileName: string, what: string, cause?: unknown): InspectionError {
  return new InspectionError('invalid_weights', `The weights file ${quotedName(fileName)} cannot be used: ${what}.`, {
    cause,
  });
}

/** A name as it stands in a file: whatever it holds, it stays on one line and short. */
export function quotedName(name: string): string {
  const text = JSON.stringify(name.length > 100 ? `${name.slice(0, 100)}…` : name).slice(1, -1);
  return `'${text}'`;
}

/**
 * Opens a safetensors file and checks its header; no tensor is read yet. The memory taken is bounded by the header, never
 * by the numbers in it.
 *
 * @throws InspectionError `invalid_weights` when there is no such file, or it is not a whole and valid safetensors file;
 *   of other kinds of files the sentence says what they seem to be
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const fileName = basename(path);
  const refuse: Refuse = (what, cause) => invalidWeights(fileName, what, cause);
  const handle = await openFile(path, refuse);
  try {
    const { size } = await handle.stat();
    const head = await readHead(handle, size, refuse);
    const tensors = parseHeader(head.subarray(lengthBytes), size, refuse);
    return {
      fileName,
      tensors,
      read: (destinations) => readTensors(handle, head, tensors, destinations, refuse),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openFile(path: string, refuse: Refuse): Promise<FileHandle> {
  let isFile: boolean;
  try {
    // Before opening: a pipe would not open until somebody writes to it.
    isFile = (await stat(path)).isFile();
    if (isFile) return await open(path, 'r');
  } catch (cause) {
    throw unreadable(cause, refuse);
  }
  throw refuse('it is a folder or a device: give the .safetensors file itself');
}

function unreadable(cause: unknown, refuse: Refuse): InspectionError {
  const { code = 'unknown error' } = cause as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR'
    ? refuse('there is no such file: check its name', cause)
    : refuse(`it cannot be read (${code}): check its rights and the disk`, cause);
}

async function readExactly(handle: FileHandle, into: Uint8Array, position: number, refuse: Refuse): Promise<void> {
  let filled = 0;
  while (filled < into.length) {
    let bytesRead: number;
    try {
      ({ bytesRead } = await handle.read(into, filled, into.length - filled, position + filled));
    } catch (cause) {
      throw unreadable(cause, refuse);
    }
    if (bytesRead === 0) throw refuse(`it was cut at byte ${position + filled} while it was read: read it again`);
    filled += bytesRead;
  }
}

/** The header with its length before it. */
async function readHead(handle: FileHandle, fileBytes: number, refuse: Refuse): Promise<Uint8Array> {
  if (fileBytes === 0) throw refuse('it is empty: download it again');
  const start = new Uint8Array(Math.min(startBytes, fileBytes));
  await readExactly(handle, start, 0, refuse);
  const problem = problemOfStart(start, fileBytes);
  if (problem !== undefined) throw refuse(beginsLikeHeader(start) ? problem : (foreignFormat(start) ?? problem));

  const head = new Uint8Array(lengthBytes + Number(headerLength(start)));
  await readExactly(handle, head, 0, refuse);
  return head;
}

/** Such a file was cut short, whatever its length's bytes may spell. */
function beginsLikeHeader(start: Uint8Array): boolean {
  return start[lengthBytes] === openingBrace && headerLength(start) <= maxHeaderBytes;
}

function headerLength(start: Uint8Array): bigint {
  return new DataView(start.buffer).getBigUint64(0, true);
}

function problemOfStart(start: Uint8Array, fileBytes: number): string | undefined {
  if (fileBytes < lengthBytes) {
    return `it has ${fileBytes} bytes, fewer than the ${lengthBytes} that give the header's length: download it again`;
  }
  const length = headerLength(start);
  if (length > maxHeaderBytes) {
    return `its first ${lengthBytes} bytes claim a header of ${length} bytes, allowed are ${maxHeaderBytes}: it is damaged or no safetensors file`;
  }
  if (length > fileBytes - lengthBytes) {
    return `its header should have ${length} bytes but only ${fileBytes - lengthBytes} follow: it was cut short (download it again) or is no safetensors file`;
  }
  if (length === 0n) return 'its header is empty: it is damaged or no safetensors file';
  const first = start[lengthBytes] as number;
  if (first !== openingBrace) {
    return `its header begins with the byte 0x${first.toString(16).padStart(2, '0')} at byte ${lengthBytes} instead of '{': it is damaged or no safetensors file`;
  }
  return undefined;
}

function parseHeader(header: Uint8Array, fileBytes: number, refuse: Refuse): ReadonlyMap<string, TensorInfo> {
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(header);
    json = JSON.parse(text);
  } catch (cause) {
    throw refuse(`its header (bytes ${lengthBytes} to ${lengthBytes + header.length}) is not JSON in UTF-8`, cause);
  }
  // It begins with '{', so it is an object.
  const { [metadataKey]: metadata, ...entries } = json as Readonly<Record<string, unknown>>;
  const twice = duplicateKey(text);
  if (twice !== undefined) throw refuse(`its header holds the key ${quotedName(twice)} twice`);
  // The reference implementation takes null for none.
  if (metadata !== undefined && metadata !== null) requireTexts(metadata, refuse);
  const dataAt = lengthBytes + header.length;
  const tensors = Object.entries(entries).map(
    ([name, entry]) => [name, tensorInfo(name, entry, dataAt, refuse)] as const,
  );
  tensors.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  requireFilled(tensors, dataAt, fileBytes, refuse);
  return new Map(tensors);
}

/** The first key that an object holds twice: JSON.parse keeps the last without a word. */
function duplicateKey(validJson: string): string | undefined {
  const open: Set<string>[] = [];
  for (let at = 0; at < validJson.length; at++) {
    const letter = validJson[at];
    if (letter === '{') open.push(new Set());
    else if (letter === '}') open.pop();
    else if (letter === '"') {
      const begin = at;
      for (at++; validJson[at] !== '"'; at++) if (validJson[at] === '\\') at++;
      if (!isKey(validJson, at + 1)) continue;
      const key = JSON.parse(validJson.slice(begin, at + 1)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

function isKey(validJson: string, afterText: number): boolean {
  let at = afterText;
  while (' \t\r\n'.includes(validJson[at] ?? ':')) at++;
  return validJson[at] === ':';
}

function requireTexts(metadata: unknown, refuse: Refuse): void {
  if (!isObject(metadata)) throw refuse(`${metadataKey} in its header is ${inWords(metadata)}, not an object of texts`);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value === 'string') continue;
    throw refuse(`${metadataKey}.${quotedName(key)} in its header is ${inWords(value)}, not a text`);
  }
}

function tensorInfo(name: string, entry: unknown, dataAt: number, refuse: Refuse): TensorInfo {
  const tensor = `the tensor ${quotedName(name)}`;
  if (!isObject(entry)) throw refuse(`${tensor} is ${inWords(entry)} in its header, not an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  const bits = typeof dtype === 'string' ? bitsOfDtype.get(dtype) : undefined;
  if (typeof dtype !== 'string' || bits === undefined) {
    throw refuse(`${tensor} has the dtype ${inWords(dtype)}; known are ${[...bitsOfDtype.keys()].join(', ')}`);
  }
  if (!areLengths(shape)) {
    throw refuse(`${tensor} has the shape ${inWords(shape)}; a shape is a list of whole numbers from 0 on`);
  }
  if (!areLengths(offsets) || offsets.length !== 2) {
    throw refuse(`${tensor} has the data_offsets ${inWords(offsets)}; expected are two whole numbers from 0 on`);
  }
  const [begin, end] = offsets as readonly [number, number];
  if (begin > end) throw refuse(`${tensor} has the data_offsets ${inWords(offsets)}: it ends before it begins`);
  const count = shape.reduce((product, length) => product * length, 1);
  const bytes = (count * bits) / 8;
  // NaN: infinite times 0.
  if (Number.isNaN(bytes) || bytes > Number.MAX_SAFE_INTEGER) {
    throw refuse(`${tensor} has the shape ${inWords(shape)} of ${dtype}: more bytes than any file can have`);
  }
  if (bytes !== end - begin) {
    throw refuse(
      `${tensor} of shape ${inWords(shape)} and dtype ${dtype} needs ${bytes} bytes, but its data_offsets ${inWords(offsets)} hold ${end - begin}`,
    );
  }
  return { dtype, shape, count, begin: dataAt + begin, end: dataAt + end };
}

/** @param tensors in the order of their bytes */
function requireFilled(
  tensors: readonly (readonly [string, TensorInfo])[],
  dataAt: number,
  fileBytes: number,
  refuse: Refuse,
): void {
  let filled = dataAt;
  let last = 'the header';
  for (const [name, { begin, end }] of tensors) {
    const tensor = `the tensor ${quotedName(name)}`;
    if (begin < filled) throw refuse(`${tensor} begins at byte ${begin}, inside ${last}, which ends at byte ${filled}`);
    if (begin > filled) throw refuse(`bytes ${filled} to ${begin}, between ${last} and ${tensor}, belong to no tensor`);
    if (end > fileBytes) {
      throw refuse(`it was cut short: ${tensor} ends at byte ${end}, the file at byte ${fileBytes}; download it again`);
    }
    filled = end;
    last = tensor;
  }
  if (filled < fileBytes)
    throw refuse(`${fileBytes - filled} bytes follow after ${last}, which ends at byte ${filled}`);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function areLengths(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((length) => Number.isSafeInteger(length) && length >= 0);
}

/** Nested lists and objects are only named: they can be so deep that writing them out overflows the stack. */
function inWords(value: unknown): string {
  if (typeof value === 'string') return quotedName(value);
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) {
    const items = value.slice(0, 8).map((item) => (Array.isArray(item) ? 'a list' : inWords(item)));
    return `[${items.join(', ')}${value.length > 8 ? ', …' : ''}]`;
  }
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

async function readTensors(
  handle: FileHandle,
  head: Uint8Array,
  tensors: ReadonlyMap<string, TensorInfo>,
  destinations: ReadonlyMap<string, Float32Array>,
  refuse: Refuse,
): Promise<string> {
  requireReadable(tensors, destinations, refuse);
  const hash = createHash('sha256').update(head);
  const scratch = new Uint8Array(stepBytes);
  for (const [name, { dtype, begin, end }] of tensors) {
    const values = destinations.get(name);
    const valueBytes = dtype === 'F32' ? 4 : 2;
    for (let at = begin; at < end; at += stepBytes) {
      const step = Math.min(stepBytes, end - at);
      const from = (at - begin) / valueBytes;
      const part = values?.subarray(from, from + step / valueBytes);
      const bytes = part !== undefined && dtype === 'F32' ? bytesOf(part) : scratch.subarray(0, step);
      await readExactly(handle, bytes, at, refuse);
      hash.update(bytes);
      if (part === undefined) continue;
      if (dtype !== 'F32') decode16(new Uint16Array(bytes.buffer, 0, part.length), part, dtype);
      const bad = firstNotFinite(part);
      if (bad < part.length) {
        throw refuse(
          `the tensor ${quotedName(name)} holds ${part[bad]} at index ${from + bad} (byte ${at + bad * valueBytes}); weights must be finite: download it again or take another checkpoint`,
        );
      }
    }
  }
  return hash.digest('hex');
}

function requireReadable(
  tensors: ReadonlyMap<string, TensorInfo>,
  destinations: ReadonlyMap<string, Float32Array>,
  refuse: Refuse,
): void {
  for (const [name, values] of destinations) {
    const info = tensors.get(name);
    if (info === undefined) throw refuse(`the tensor ${quotedName(name)} is missing`);
    if (!readableDtypes.has(info.dtype)) {
      throw refuse(
        `the tensor ${quotedName(name)} has the dtype ${info.dtype}; read are ${[...readableDtypes].join(', ')}: save the model in one of these`,
      );
    }
    if (values.length !== info.count) {
      throw new InspectionError(
        'shape_mismatch',
        `The tensor ${quotedName(name)} has ${info.count} values, its array ${values.length}.`,
      );
    }
  }
}

/** The length when all are finite. */
function firstNotFinite(values: Float32Array): number {
  let i = 0;
  while (i < values.length && Number.isFinite(values[i])) i++;
  return i;
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Both are exact. */
function decode16(source: Uint16Array, values: Float32Array, dtype: string): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  if (dtype === 'BF16') {
    // bfloat16 is float32's upper half.
    for (let i = 0; i < bits.length; i++) bits[i] = (source[i] as number) << 16;
    return;
  }
  // binary16's fields put in float32's places give an exponent that is 112 too small, subnormals included.
  for (let i = 0; i < bits.length; i++) {
    const half = source[i] as number;
    const beyond = (half & 0x7c00) === 0x7c00 ? 0x7f800000 : 0;
    bits[i] = ((half & 0x8000) << 16) | ((half & 0x7fff) << 13) | beyond;
  }
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * 2 ** 112;
}
