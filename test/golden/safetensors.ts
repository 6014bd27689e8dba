import { readFileSync } from 'node:fs';

export interface WeightTensor {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/**
 * Reads the float32 tensors of a safetensors file: eight bytes of length, that many bytes of JSON, then the numbers. Only
 * for tests: it trusts the file.
 */
export function readSafetensors(path: string): ReadonlyMap<string, WeightTensor> {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, HeaderEntry>;
  const tensors = new Map<string, WeightTensor>();
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    if (dtype !== 'F32') throw new Error(`${name} is ${dtype}, not F32`);
    // Copied: the numbers need not begin at a multiple of four.
    const bytes = Uint8Array.from(file.subarray(start + offsets[0], start + offsets[1]));
    tensors.set(name, { dims: shape, data: new Float32Array(bytes.buffer) });
  }
  return tensors;
}
