/** One tensor to be written. */
export interface NewTensor {
  readonly dtype: 'F32' | 'F16' | 'BF16' | 'F64' | 'I64';
  readonly shape: readonly number[];
  /** Written exactly or not at all. */
  readonly values: ArrayLike<number>;
}

export type NewTensors = ReadonlyMap<string, NewTensor>;

export interface HeaderEntry {
  dtype: unknown;
  shape: unknown;
  data_offsets: unknown;
}

/** What a test may do to a header: any JSON. */
export type Header = Record<string, HeaderEntry>;

export function f32(shape: readonly number[], values: ArrayLike<number>): NewTensor {
  return { dtype: 'F32', shape, values };
}

/** A safetensors file, the tensors' bytes in the order given. */
export function encodeSafetensors(tensors: NewTensors, metadata?: Readonly<Record<string, string>>): Buffer {
  const entries: [string, unknown][] = metadata === undefined ? [] : [['__metadata__', metadata]];
  const parts: Buffer[] = [];
  let at = 0;
  for (const [name, tensor] of tensors) {
    const bytes = encodeValues(tensor);
    entries.push([name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [at, at + bytes.length] }]);
    parts.push(bytes);
    at += bytes.length;
  }
  return withHeaderText(JSON.stringify(Object.fromEntries(entries)), Buffer.concat(parts));
}

/** A file with a header that need not be one. */
export function withHeaderText(header: string | Uint8Array, data: Uint8Array): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

/** The header's text and the bytes after it, of a valid file. */
export function partsOf(file: Buffer): { readonly header: string; readonly data: Buffer } {
  const dataAt = 8 + Number(file.readBigUInt64LE());
  return { header: file.toString('utf8', 8, dataAt), data: file.subarray(dataAt) };
}

/** The same bytes under a changed header. */
export function withHeader(file: Buffer, change: (header: Header) => unknown): Buffer {
  const { header, data } = partsOf(file);
  const json = JSON.parse(header) as Header;
  change(json);
  return withHeaderText(JSON.stringify(json), data);
}

function encodeValues({ dtype, values }: NewTensor): Buffer {
  // Whole models have twenty million of these.
  if (dtype === 'F32' && values instanceof Float32Array) return Buffer.from(values.slice().buffer);
  const numbers = Array.from(values);
  switch (dtype) {
    case 'F32':
      return Buffer.from(Float32Array.from(numbers).buffer);
    case 'F64':
      return Buffer.from(Float64Array.from(numbers).buffer);
    case 'I64':
      return Buffer.from(BigInt64Array.from(numbers, BigInt).buffer);
    case 'F16':
      return Buffer.from(Uint16Array.from(numbers, halfOf).buffer);
    case 'BF16':
      return Buffer.from(Uint16Array.from(numbers, upperHalfOf).buffer);
  }
}

/** binary16 of a number that it holds exactly, by trying all: slow and simple. */
const halfOf = (number: number): number => {
  const bits = halves.get(number);
  if (bits === undefined) throw new Error(`${number} is no binary16`);
  return Object.is(number, -0) ? 0x8000 : bits;
};

/** The value of a finite half by its definition. */
export function halfValue(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = (bits & 0x3ff) / 1024;
  const size = exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/** Bits of all finite halves, the positive ones and the negative ones. */
export const finiteHalves: readonly number[] = Array.from({ length: 0x7c00 }, (_, bits) => [
  bits,
  bits | 0x8000,
]).flat();

const halves: ReadonlyMap<number, number> = new Map(
  finiteHalves.filter((bits) => bits !== 0x8000).map((bits) => [halfValue(bits), bits]),
);

function upperHalfOf(number: number): number {
  const [bits = 0] = new Uint32Array(Float32Array.of(number).buffer);
  if (bits & 0xffff || Math.fround(number) !== number) throw new Error(`${number} is no bfloat16`);
  return bits >>> 16;
}
