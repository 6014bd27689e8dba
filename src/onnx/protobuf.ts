/**
 * The few pieces of the protobuf wire format that an ONNX file needs (varint, 32-bit and length-delimited fields).
 * A message is a list of chunks, so that a tensor of many megabytes is copied once, when the file is put together.
 */
export interface Message {
  readonly chunks: readonly Uint8Array[];
  readonly byteLength: number;
}

const utf8 = new TextEncoder();

/** A signed 64-bit integer field; zero is written too (ONNX readers may tell absent from zero). */
export function int64Field(field: number, value: number | bigint): Message {
  return message([varint(field << 3), varint(value)]);
}

/** A 32-bit float field. */
export function floatField(field: number, value: number): Message {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return message([varint((field << 3) | 5), bytes]);
}

/** A length-delimited field of raw bytes. The bytes are not copied. */
export function bytesField(field: number, bytes: Uint8Array): Message {
  return message([varint((field << 3) | 2), varint(bytes.byteLength), bytes]);
}

/** A UTF-8 string field. */
export function stringField(field: number, text: string): Message {
  return bytesField(field, utf8.encode(text));
}

/** A nested message. */
export function messageField(field: number, parts: readonly Message[]): Message {
  const inner = concatMessages(parts);
  return message([varint((field << 3) | 2), varint(inner.byteLength), ...inner.chunks]);
}

/** Several fields after each other. */
export function concatMessages(parts: readonly Message[]): Message {
  return message(parts.flatMap((part) => part.chunks));
}

/** The bytes of a message: the one copy. */
export function encodeMessage(parts: readonly Message[]): Uint8Array {
  const { chunks, byteLength } = concatMessages(parts);
  const bytes = new Uint8Array(byteLength);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

function message(chunks: readonly Uint8Array[]): Message {
  return { chunks, byteLength: chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0) };
}

function varint(value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  while (rest >= 128n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
