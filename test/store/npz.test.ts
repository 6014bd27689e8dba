import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeNpy, encodeNpy, type NpyArray } from '../../src/store/npy.ts';
import { decodeNpz, encodeNpz } from '../../src/store/npz.ts';
import { pythonWith, runPython } from './python_with.ts';

const fileName = 'YQ__Yg.npz';
const damaged = (text: string | RegExp) =>
  expect.objectContaining({ code: 'damaged_file', message: expect.stringMatching(text) });

const everyType: Record<string, NpyArray> = {
  emb: { dtype: 'float32', shape: [2, 3], data: Float32Array.of(1, -0, 3.5, 1e-45, 5, Number.NaN) },
  wide: { dtype: 'float64', shape: [2], data: Float64Array.of(Math.PI, Number.NEGATIVE_INFINITY) },
  ints: { dtype: 'int32', shape: [3, 1, 1], data: Int32Array.of(-1, 2 ** 31 - 1, 0) },
  token_h: { dtype: 'int64', shape: [], data: BigInt64Array.of(-(2n ** 63n)) },
  metadata: { dtype: 'text', shape: [], data: ['{"a":"ñ😀"}'] },
  empty: { dtype: 'float32', shape: [0, 4], data: new Float32Array(0) },
};

/** The same npz again, one member's bytes replaced; the directory is made anew. */
function zipOf(content: Uint8Array, options: { method?: number; claimed?: number; crc?: number } = {}): Uint8Array {
  const packed = options.method === 8 ? deflateRawSync(content) : content;
  const name = new TextEncoder().encode('emb.npy');
  const file = Buffer.alloc(30 + 7 + packed.length + 46 + 7 + 22);
  const at = 37 + packed.length;
  const common = (offset: number) => {
    file.writeUInt16LE(20, offset);
    file.writeUInt16LE(options.method ?? 0, offset + 4);
    file.writeUInt32LE(options.crc ?? crc32(content), offset + 10);
    file.writeUInt32LE(packed.length, offset + 14);
    file.writeUInt32LE(options.claimed ?? content.length, offset + 18);
    file.writeUInt16LE(7, offset + 22);
  };
  file.writeUInt32LE(0x04034b50, 0);
  common(4);
  file.set(name, 30);
  file.set(packed, 37);
  file.writeUInt32LE(0x02014b50, at);
  common(at + 6);
  file.set(name, at + 46);
  file.writeUInt32LE(0x06054b50, at + 53);
  file.writeUInt16LE(1, at + 61);
  file.writeUInt16LE(1, at + 63);
  file.writeUInt32LE(53, at + 65);
  file.writeUInt32LE(at, at + 69);
  return file;
}

function npyFile(header: string, values: Uint8Array, version = 1): Uint8Array {
  const length = version === 1 ? [header.length, 0] : [header.length, 0, 0, 0];
  return Buffer.concat([
    Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length]),
    Buffer.from(header),
    values,
  ]);
}

describe('encodeNpz and decodeNpz', () => {
  it('give back every type, shape and order', () => {
    expect([...decodeNpz(encodeNpz(everyType), { fileName })]).toEqual(Object.entries(everyType));
  });

  it('gives views of the file, not copies, at multiples of 64', () => {
    const file = encodeNpz(everyType);
    for (const [name, { data, dtype }] of decodeNpz(file, { fileName })) {
      if (dtype === 'text') continue;
      expect(data.buffer, name).toBe(file.buffer);
      expect(data.byteOffset % 64, name).toBe(0);
    }
  });

  it('writes equal bytes for equal arrays', () => {
    expect(encodeNpz(everyType)).toEqual(encodeNpz(everyType));
  });

  it('copies when the file itself lies unaligned in its buffer', () => {
    const file = encodeNpz(everyType);
    const shifted = new Uint8Array(file.length + 1).subarray(1);
    shifted.set(file);
    expect([...decodeNpz(shifted, { fileName })]).toEqual(Object.entries(everyType));
  });

  it('refuses a file cut off at any byte', () => {
    const file = encodeNpz(everyType);
    for (let length = 0; length < file.length; length++) {
      expect(() => decodeNpz(file.slice(0, length), { fileName }), `${length}`).toThrow(damaged(fileName));
    }
  });

  it('never takes one changed byte for other numbers', () => {
    const whole = encodeNpz(everyType);
    const arrays = [...decodeNpz(encodeNpz(everyType), { fileName })];
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const file = whole.slice();
        file[at] = (file[at] ?? 0) ^ flip;
        try {
          // A member whose name no longer ends in .npy is another thing; whatever remains must be as it was.
          const found = [...decodeNpz(file, { fileName })];
          expect(arrays).toEqual(expect.arrayContaining(found));
        } catch (error) {
          expect(error).toEqual(damaged(fileName));
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('names the array whose checksum is wrong', () => {
    const file = encodeNpz(everyType);
    const wide = decodeNpz(file, { fileName }).get('wide');
    if (wide?.dtype === 'float64') wide.data[0] = 3;
    expect(() => decodeNpz(file, { fileName })).toThrow(damaged(/'wide'.*checksum/));
  });

  it('reads deflated members and proves their size', () => {
    const { header, values } = encodeNpy({ dtype: 'float32', shape: [4], data: Float32Array.of(1, 2, 3, 4) });
    const npy = Buffer.concat([header, values]);
    expect(decodeNpz(zipOf(npy, { method: 8 }), { fileName }).get('emb')?.data).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(() => decodeNpz(zipOf(npy, { method: 8, claimed: 100 }), { fileName })).toThrow(damaged(/'emb'.*unpacked/));
    expect(() => decodeNpz(zipOf(npy, { method: 8, claimed: 200 }), { fileName })).toThrow(
      damaged(/'emb' has 144 bytes/),
    );
    expect(() => decodeNpz(zipOf(npy, { method: 8, crc: 1 }), { fileName })).toThrow(damaged(/'emb'.*checksum/));
    expect(() => decodeNpz(zipOf(npy, { method: 12 }), { fileName })).toThrow(damaged(/method 12/));
  });

  it('refuses a zip bomb before unpacking it', () => {
    const zeros = npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': (250000,), }", new Uint8Array(1e6));
    const bomb = zipOf(zeros, { method: 8 });
    expect(bomb.length).toBeLessThan(2000);
    expect(decodeNpz(bomb, { fileName }).get('emb')?.data).toHaveLength(250000);
    expect(() => decodeNpz(bomb, { fileName, inflatedLimitBytes: 1e6 })).toThrow(damaged(/the limit is 1000000/));
    const lie = zipOf(zeros, { method: 8, claimed: 0xfffffff0 });
    expect(() => decodeNpz(lie, { fileName, inflatedLimitBytes: 2 ** 40 })).toThrow(damaged(/can hold/));
  });

  it('says that a directory past 4 GiB is not read', () => {
    const file = encodeNpz(everyType);
    new DataView(file.buffer).setUint32(file.length - 6, 0xffffffff, true);
    expect(() => decodeNpz(file, { fileName })).toThrow(damaged(/zip64/));
  });

  it('refuses two arrays of one name', () => {
    const file = encodeNpz({
      a: { dtype: 'int32', shape: [], data: Int32Array.of(1) },
      b: { dtype: 'int32', shape: [], data: Int32Array.of(2) },
    });
    const text = Buffer.from(file.buffer);
    for (let at = text.indexOf('b.npy'); at >= 0; at = text.indexOf('b.npy')) text.write('a.npy', at);
    expect(() => decodeNpz(file, { fileName })).toThrow(damaged(/'a' is there twice/));
  });

  it('refuses to write what it could not name or shape', () => {
    const array: NpyArray = { dtype: 'int32', shape: [], data: Int32Array.of(1) };
    expect(() => encodeNpz({ '../a': array })).toThrow(expect.objectContaining({ code: 'invalid_value' }));
    expect(() => encodeNpz({ a: { ...array, shape: [2] } })).toThrow(
      expect.objectContaining({ code: 'shape_mismatch' }),
    );
  });
});

describe('decodeNpy', () => {
  const read = (header: string, values: Uint8Array, version?: number) =>
    decodeNpy(npyFile(header, values, version), 'emb', fileName);
  const f4 = (...numbers: number[]) => new Uint8Array(Float32Array.from(numbers).buffer);

  it('reads header versions 2 and 3 and longs of Python 2', () => {
    for (const version of [1, 2, 3]) {
      const array = read("{'shape': (2L,), 'fortran_order': False, 'descr': '<f4'}\n", f4(7, 8), version);
      expect(array).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.of(7, 8) });
    }
    expect(() => read("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", f4(1), 4)).toThrow(
      damaged(/format 4/),
    );
  });

  it('transposes a matrix in Fortran order and refuses more dimensions', () => {
    const columns = f4(1, 4, 2, 5, 3, 6);
    expect(read("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", columns).data).toEqual(
      Float32Array.of(1, 2, 3, 4, 5, 6),
    );
    expect(() => read("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2, 3), }", columns)).toThrow(
      damaged(/Fortran/),
    );
  });

  it('gives float16 as float32', () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7c00, 0xfc00, 0x3555, 0x8000);
    const array = read("{'descr': '<f2', 'fortran_order': False, 'shape': (7,), }", new Uint8Array(halves.buffer));
    expect(array.data).toEqual(Float32Array.of(1, -2, 2 ** -24, Infinity, -Infinity, 0.333251953125, -0));
  });

  it.each([
    ["{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", /big-endian \(>f4\)/],
    ["{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", /Python objects/],
    ["{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", /type '<c8'/],
    ["{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", /structured/],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", /shape \(2\) of type <f4 but 4 bytes/],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", /shape \(0\) of type <f4 but 4 bytes/],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", /the shape \(-1,\)/],
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, 99999999999999), }", /bytes of values/],
    ["{'descr': '<U0', 'fortran_order': False, 'shape': (999999999999,), }", /bytes of values/],
    ["{'descr': '<f4', 'shape': (1,), }", /without order/],
    ["{'descr': '<U1', 'fortran_order': False, 'shape': (), }", /no Unicode character/],
  ])('refuses %s', (header, text) => {
    expect(() => read(header, Uint8Array.of(255, 255, 255, 255))).toThrow(damaged(text));
  });
});

const numpy = pythonWith('numpy');

describe.skipIf(numpy === undefined)('numpy', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'okng-npz-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('reads ours', async () => {
    const path = join(folder, 'ours.npz');
    await writeFile(path, encodeNpz(everyType));
    const script = `
import sys, zipfile, numpy as np
assert zipfile.ZipFile(sys.argv[1]).testzip() is None
z = np.load(sys.argv[1], allow_pickle=False)
for n in z.files: print(n, z[n].dtype.str, z[n].shape, z[n].tolist())`;
    expect(runPython(numpy ?? '', script, path).split('\n')).toEqual([
      'emb <f4 (2, 3) [[1.0, -0.0, 3.5], [1.401298464324817e-45, 5.0, nan]]',
      'wide <f8 (2,) [3.141592653589793, -inf]',
      'ints <i4 (3, 1, 1) [[[-1]], [[2147483647]], [[0]]]',
      'token_h <i8 () -9223372036854775808',
      'metadata <U10 () {"a":"ñ😀"}',
      'empty <f4 (0, 4) []',
    ]);
  });

  it.each(['savez', 'savez_compressed'])('is read as it writes with %s', async (save) => {
    const path = join(folder, `${save}.npz`);
    const script = `
import sys, numpy as np
a = np.arange(12, dtype=np.float32).reshape(3, 4)
np.${save}(sys.argv[1], emb=a, turned=a.T, half=a.astype(np.float16), token_h=np.int64(32), small=np.int32(-3),
  metadata=np.array('{"ñ": "😀"}'), none=np.array(''), zeros=np.zeros((500, 100), np.float32))`;
    runPython(numpy ?? '', script, path);
    const arrays = decodeNpz(await readFile(path), { fileName });
    const rows = Float32Array.from({ length: 12 }, (_, i) => i);
    expect(arrays.get('emb')).toEqual({ dtype: 'float32', shape: [3, 4], data: rows });
    expect(arrays.get('half')).toEqual({ dtype: 'float32', shape: [3, 4], data: rows });
    expect(arrays.get('turned')?.data).toEqual(Float32Array.of(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11));
    expect(arrays.get('token_h')).toEqual({ dtype: 'int64', shape: [], data: BigInt64Array.of(32n) });
    expect(arrays.get('small')).toEqual({ dtype: 'int32', shape: [], data: Int32Array.of(-3) });
    expect(arrays.get('metadata')).toEqual({ dtype: 'text', shape: [], data: ['{"ñ": "😀"}'] });
    expect(arrays.get('none')?.data).toEqual(['']);
    expect(arrays.get('zeros')?.data).toEqual(new Float32Array(50_000));
  });

  it('agrees about every half-precision number', () => {
    const script = `
import sys, io, numpy as np
np.save(sys.argv[1] + '.npy', np.arange(65536, dtype=np.uint16).view(np.float16))
np.save(sys.argv[1] + '_wide.npy', np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32))`;
    runPython(numpy ?? '', script, join(folder, 'halves'));
    return Promise.all(['halves.npy', 'halves_wide.npy'].map((name) => readFile(join(folder, name)))).then(
      ([half, wide]) => {
        expect(decodeNpy(half as Uint8Array, 'a', 'a')).toEqual(decodeNpy(wide as Uint8Array, 'a', 'a'));
      },
    );
  });
});

const golden = join(fileURLToPath(new URL('../../../shared/golden/', import.meta.url)), 'tok_ok0.npy');
if (!existsSync(golden)) console.log('skipped: the golden arrays are not here');

it.skipIf(!existsSync(golden))('reads a golden array', async () => {
  const tokens = decodeNpy(await readFile(golden), 'tok_ok0', 'tok_ok0.npy');
  expect(tokens.dtype).toBe('float32');
  expect(tokens.data).toHaveLength(1024 * 1152);
});
