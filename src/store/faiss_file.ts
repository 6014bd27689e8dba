import type { Matrix } from '../patchcore/matrix.ts';
import { createMatrix } from '../patchcore/matrix.ts';
import { damagedFile } from './stored_file.ts';

/**
 * FAISS's file of an `IndexFlatL2`, little-endian: fourcc `IxF2`, int32 d, int64 n, int64 and int64 (unused, FAISS writes
 * 1 << 20), uint8 trained, int32 metric (1 = L2), uint64 count of floats, then the rows.
 *
 * Source: write_index and write_index_header of FAISS 1.7.3, impl/index_write.cpp (format only; the code is ours).
 */
const FOURCC = 'IxF2';
const HEADER_BYTES = 45;
const METRIC_L2 = 1;
const UNUSED = 1n << 20n;

/** A FAISS flat L2 index file of the rows. Copies the rows once. */
export function encodeFlatL2(matrix: Matrix): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + matrix.data.byteLength);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < FOURCC.length; i++) bytes[i] = FOURCC.charCodeAt(i);
  view.setInt32(4, matrix.cols, true);
  view.setBigInt64(8, BigInt(matrix.rows), true);
  view.setBigInt64(16, UNUSED, true);
  view.setBigInt64(24, UNUSED, true);
  view.setUint8(32, 1);
  view.setInt32(33, METRIC_L2, true);
  view.setBigUint64(37, BigInt(matrix.data.length), true);
  bytes.set(new Uint8Array(matrix.data.buffer, matrix.data.byteOffset, matrix.data.byteLength), HEADER_BYTES);
  return bytes;
}

/**
 * The rows of a FAISS flat L2 index file, in a new array. The values are not looked at.
 *
 * @param fileName for the error's text
 * @throws InspectionError `damaged_file` when it is another kind of index, or its numbers contradict each other or the
 *   file's length; nothing is allocated before they agree
 */
export function decodeFlatL2(bytes: Uint8Array, fileName: string): Matrix {
  if (bytes.length < HEADER_BYTES) {
    throw damagedFile(
      fileName,
      `it has ${bytes.length} bytes, fewer than the header of a FAISS index (${HEADER_BYTES})`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fourcc = String.fromCharCode(...bytes.subarray(0, 4));
  if (fourcc !== FOURCC) {
    throw damagedFile(fileName, `it begins with ${JSON.stringify(fourcc)} instead of '${FOURCC}' (FAISS IndexFlatL2)`);
  }
  const cols = view.getInt32(4, true);
  const rows = view.getBigInt64(8, true);
  const trained = view.getUint8(32);
  const metric = view.getInt32(33, true);
  const count = view.getBigUint64(37, true);
  if (metric !== METRIC_L2 || trained !== 1) {
    throw damagedFile(
      fileName,
      `its metric is ${metric} (must be ${METRIC_L2}, L2), its trained flag ${trained} (must be 1)`,
    );
  }
  if (cols < 1 || rows < 0n || BigInt(cols) * rows !== count) {
    throw damagedFile(fileName, `its header claims ${rows} rows of ${cols} but ${count} numbers`);
  }
  if (BigInt(bytes.length - HEADER_BYTES) !== count * 4n) {
    throw damagedFile(fileName, `its header claims ${count} numbers but ${bytes.length - HEADER_BYTES} bytes follow`);
  }
  // The header's 45 bytes leave the floats unaligned, so they must be copied before they can be numbers.
  const data = new Float32Array(Number(count));
  new Uint8Array(data.buffer).set(bytes.subarray(HEADER_BYTES));
  return createMatrix(Number(rows), cols, data);
}
