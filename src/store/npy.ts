import { InspectionError } from '../errors.ts';
import { damagedFile } from './stored_file.ts';

/**
 * One array of numpy. `shape` [] is a scalar (one value). Row-major. Text is numpy's `<U…`: code points, trailing NULs
 * are not kept.
 */
export type NpyArray =
  | { readonly dtype: 'float32'; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: 'float64'; readonly shape: readonly number[]; readonly data: Float64Array }
  | { readonly dtype: 'int32'; readonly shape: readonly number[]; readonly data: Int32Array }
  | { readonly dtype: 'int64'; readonly shape: readonly number[]; readonly data: BigInt64Array }
  | { readonly dtype: 'text'; readonly shape: readonly number[]; readonly data: readonly string[] };

/** An array's header and its values as bytes: the file is one after the other. */
export interface NpyParts {
  /** A multiple of 64 bytes, so that the values are aligned when the file is. */
  readonly header: Uint8Array;
  /** A view of the array's own memory, except for text. */
  readonly values: Uint8Array;
}

interface Descriptor {
  readonly descr: string;
  readonly fortranOrder: boolean;
  readonly shape: readonly number[];
  readonly valuesAt: number;
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] as const;
const HEADER_ALIGNMENT = 64;
const HIGHEST_CODE_POINT = 0x10ffff;

function countOf(shape: readonly number[]): number {
  return shape.reduce((count, length) => count * length, 1);
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function textToUcs4(texts: readonly string[]): { readonly width: number; readonly values: Uint8Array } {
  const points = texts.map((text) => Array.from(text, (letter) => letter.codePointAt(0) ?? 0));
  // numpy writes `<U1` for empty text; older versions cannot read `<U0`.
  const width = points.reduce((longest, letters) => Math.max(longest, letters.length), 1);
  const ucs4 = new Uint32Array(texts.length * width);
  points.forEach((letters, i) => {
    ucs4.set(letters, i * width);
  });
  return { width, values: bytesOf(ucs4) };
}

/**
 * An array as numpy's format 1.0, little-endian, C order.
 *
 * @returns `values` shares the array's memory: write it out before changing the array
 * @throws InspectionError `shape_mismatch` when the data does not fill the shape
 */
export function encodeNpy(array: NpyArray): NpyParts {
  if (array.data.length !== countOf(array.shape)) {
    throw new InspectionError(
      'shape_mismatch',
      `An array of shape (${array.shape.join(', ')}) cannot be made of ${array.data.length} values.`,
    );
  }
  if (array.dtype === 'text') {
    const { width, values } = textToUcs4(array.data);
    return { header: encodeHeader(`<U${width}`, array.shape), values };
  }
  const descr = { float32: '<f4', float64: '<f8', int32: '<i4', int64: '<i8' }[array.dtype];
  return { header: encodeHeader(descr, array.shape), values: bytesOf(array.data) };
}

function encodeHeader(descr: string, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const literal = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const prefixBytes = MAGIC.length + 4;
  const total = Math.ceil((prefixBytes + literal.length + 1) / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  const header = new Uint8Array(total).fill(0x20);
  header.set(MAGIC);
  header.set([1, 0, (total - prefixBytes) & 0xff, (total - prefixBytes) >> 8], MAGIC.length);
  header.set(new TextEncoder().encode(literal), prefixBytes);
  header[total - 1] = 0x0a;
  return header;
}

/**
 * Reads numpy's format 1.0, 2.0 or 3.0.
 *
 * Types: float16 (given as float32), float32, float64, int32, int64, text. Fortran order is transposed for matrices and
 * refused for more dimensions.
 *
 * @param bytes the array's whole file. The result is a view of them where alignment and order allow: they belong to the
 *   array from now on
 * @param arrayName and `fileName` for the error's text
 * @throws InspectionError `damaged_file` when it is not such a file, its length does not fit its shape, or its type is
 *   another one (big-endian, Python objects, ...)
 */
export function decodeNpy(bytes: Uint8Array, arrayName: string, fileName: string): NpyArray {
  const damaged = (what: string) => damagedFile(fileName, `array '${arrayName}' ${what}`);
  const { descr, fortranOrder, shape, valuesAt } = decodeHeader(bytes, damaged);
  const values = bytes.subarray(valuesAt);
  const itemBytes = itemSize(descr, damaged);
  const count = countOf(shape);
  if (!Number.isSafeInteger(count) || count * itemBytes !== values.length) {
    throw damaged(`has shape (${shape.join(', ')}) of type ${descr} but ${values.length} bytes of values`);
  }
  const array = decodeValues(descr, shape, values, damaged);
  // With fewer than two dimensions both orders are the same.
  return fortranOrder && shape.length > 1 ? transposed(array, damaged) : array;
}

type Damaged = (what: string) => InspectionError;

function decodeHeader(bytes: Uint8Array, damaged: Damaged): Descriptor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte)) throw damaged('does not begin as a numpy array');
  const version = view.getUint8(6);
  if (version < 1 || version > 3) throw damaged(`is of numpy format ${version}, known are 1 to 3`);
  const lengthBytes = version === 1 ? 2 : 4;
  const literalAt = 8 + lengthBytes;
  const valuesAt = literalAt + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (valuesAt > bytes.length) throw damaged('ends inside its header');

  const literal = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(bytes.subarray(literalAt, valuesAt));
  const descr = /['"]descr['"]\s*:\s*['"]([^'"]*)['"]/.exec(literal)?.[1];
  const fortran = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(literal)?.[1];
  const tuple = /['"]shape['"]\s*:\s*\(([^()]*)\)/.exec(literal)?.[1];
  if (descr === undefined) throw damaged('has no plain type in its header (structured arrays are not read)');
  if (fortran === undefined || tuple === undefined) throw damaged('has a header without order or shape');
  const lengths = tuple.split(',').map((length) => length.trim());
  if (lengths.at(-1) === '') lengths.pop();
  // Python 2 wrote long integers with an L.
  if (!lengths.every((length) => /^\d{1,15}L?$/.test(length))) throw damaged(`has the shape (${tuple})`);
  return {
    descr,
    fortranOrder: fortran === 'True',
    shape: lengths.map((length) => Number.parseInt(length, 10)),
    valuesAt,
  };
}

function itemSize(descr: string, damaged: Damaged): number {
  const known = /^<(?:f([248])|i([48])|U(\d{1,9}))$/.exec(descr);
  if (known !== null) {
    const [, float, integer, letters] = known;
    return letters === undefined ? Number(float ?? integer) : 4 * Number(letters);
  }
  if (descr.startsWith('>')) throw damaged(`is big-endian (${descr}); only little-endian arrays are read`);
  if (descr.startsWith('|O')) throw damaged('holds Python objects, which are never unpickled');
  throw damaged(`has type '${descr}'; known are <f2, <f4, <f8, <i4, <i8 and <U`);
}

function decodeValues(descr: string, shape: readonly number[], values: Uint8Array, damaged: Damaged): NpyArray {
  // Not `slice`: that of a Buffer is a view and copies nothing.
  const alignedTo = (itemBytes: number) => (values.byteOffset % itemBytes === 0 ? values : new Uint8Array(values));
  switch (descr) {
    case '<f4': {
      const { buffer, byteOffset, byteLength } = alignedTo(4);
      return { dtype: 'float32', shape, data: new Float32Array(buffer, byteOffset, byteLength / 4) };
    }
    case '<f8': {
      const { buffer, byteOffset, byteLength } = alignedTo(8);
      return { dtype: 'float64', shape, data: new Float64Array(buffer, byteOffset, byteLength / 8) };
    }
    case '<i4': {
      const { buffer, byteOffset, byteLength } = alignedTo(4);
      return { dtype: 'int32', shape, data: new Int32Array(buffer, byteOffset, byteLength / 4) };
    }
    case '<i8': {
      const { buffer, byteOffset, byteLength } = alignedTo(8);
      return { dtype: 'int64', shape, data: new BigInt64Array(buffer, byteOffset, byteLength / 8) };
    }
    case '<f2': {
      const { buffer, byteOffset, byteLength } = alignedTo(2);
      return {
        dtype: 'float32',
        shape,
        data: Float32Array.from(new Uint16Array(buffer, byteOffset, byteLength / 2), halfToNumber),
      };
    }
    default:
      return { dtype: 'text', shape, data: decodeTexts(values, countOf(shape), damaged) };
  }
}

/** IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function decodeTexts(values: Uint8Array, count: number, damaged: Damaged): string[] {
  if (count === 0) return [];
  if (values.length === 0 && count > 1) throw damaged(`claims ${count} empty texts`);
  const view = new DataView(values.buffer, values.byteOffset, values.byteLength);
  const itemBytes = values.length / count;
  return Array.from({ length: count }, (_, i) => {
    const letters: string[] = [];
    for (let at = i * itemBytes; at < (i + 1) * itemBytes; at += 4) {
      const point = view.getUint32(at, true);
      if (point > HIGHEST_CODE_POINT) throw damaged(`holds ${point}, which is no Unicode character`);
      letters.push(String.fromCodePoint(point));
    }
    return letters.join('').replace(/\0+$/, '');
  });
}

function transposed(array: NpyArray, damaged: Damaged): NpyArray {
  const [rows, cols] = array.shape;
  if (array.shape.length !== 2 || rows === undefined || cols === undefined || array.dtype === 'text') {
    throw damaged('is in Fortran order, which is read for matrices of numbers only');
  }
  const inRows = <T extends Float32Array | Float64Array | Int32Array | BigInt64Array>(stored: T, result: T): T => {
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) result[row * cols + col] = stored[col * rows + row] as T[number];
    }
    return result;
  };
  switch (array.dtype) {
    case 'float32':
      return { ...array, data: inRows(array.data, new Float32Array(rows * cols)) };
    case 'float64':
      return { ...array, data: inRows(array.data, new Float64Array(rows * cols)) };
    case 'int32':
      return { ...array, data: inRows(array.data, new Int32Array(rows * cols)) };
    case 'int64':
      return { ...array, data: inRows(array.data, new BigInt64Array(rows * cols)) };
  }
}
