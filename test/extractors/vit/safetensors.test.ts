import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSafetensors } from '../../../src/extractors/vit/safetensors.ts';
import { createGraph } from '../../../src/onnx/onnx_graph.ts';
import { pythonWith, runPython } from '../../store/python_with.ts';
import {
  encodeSafetensors,
  f32,
  finiteHalves,
  type Header,
  halfValue,
  type NewTensor,
  partsOf,
  withHeader,
  withHeaderText,
} from './safetensors_writer.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-safetensors-'));
});
afterAll(() => rm(folder, { recursive: true }));

const fileName = 'some.safetensors';

async function written(bytes: Uint8Array): Promise<string> {
  const path = join(folder, fileName);
  await writeFile(path, bytes);
  return path;
}

const invalid = (text: string | RegExp) =>
  expect.objectContaining({ code: 'invalid_weights', message: expect.stringMatching(text) });

/** Every tensor that can be read, and the file's hash. */
async function readAll(path: string) {
  const file = await openSafetensors(path);
  try {
    const values = new Map([...file.tensors].map(([name, { count }]) => [name, new Float32Array(count)]));
    return { sha256: await file.read(values), values, tensors: file.tensors };
  } finally {
    await file.close();
  }
}

const plain = encodeSafetensors(
  new Map([
    ['a', f32([2, 3], [1, 2, 3, 4, 5, 6])],
    ['b', f32([2], [7, -8])],
    ['c', f32([4], [0.5, 0, 0.25, -0])],
  ]),
);

describe('openSafetensors', () => {
  it('tells where each tensor lies and reads it', async () => {
    const { tensors, values, sha256 } = await readAll(await written(plain));
    const dataAt = plain.length - 48;
    expect([...tensors]).toEqual([
      ['a', { dtype: 'F32', shape: [2, 3], count: 6, begin: dataAt, end: dataAt + 24 }],
      ['b', { dtype: 'F32', shape: [2], count: 2, begin: dataAt + 24, end: dataAt + 32 }],
      ['c', { dtype: 'F32', shape: [4], count: 4, begin: dataAt + 32, end: dataAt + 48 }],
    ]);
    expect(Object.fromEntries(values)).toEqual({
      a: Float32Array.of(1, 2, 3, 4, 5, 6),
      b: Float32Array.of(7, -8),
      c: Float32Array.of(0.5, 0, 0.25, -0),
    });
    expect(sha256).toBe(createHash('sha256').update(plain).digest('hex'));
  });

  it('goes by the offsets, whatever the order of the names', async () => {
    const { header, data } = partsOf(plain);
    const backwards = Object.fromEntries(Object.entries(JSON.parse(header)).reverse());
    const { values, tensors } = await readAll(await written(withHeaderText(JSON.stringify(backwards), data)));
    expect([...tensors.keys()]).toEqual(['a', 'b', 'c']);
    expect(values.get('b')).toEqual(Float32Array.of(7, -8));
  });

  it('takes metadata, blanks after the header, scalars, empty tensors, and dtypes it need not read', async () => {
    const file = encodeSafetensors(
      new Map<string, NewTensor>([
        ['scalar', f32([], [5])],
        ['none', f32([0, 7], [])],
        ['count', { dtype: 'I64', shape: [1], values: [3] }],
        ['__proto__', f32([1], [9])],
      ]),
      { format: 'pt' },
    );
    const { header, data } = partsOf(file);
    const path = await written(withHeaderText(`${header}   `, data));
    const opened = await openSafetensors(path);
    const scalar = new Float32Array(1);
    const proto = new Float32Array(1);
    const hash = await opened.read(
      new Map([
        ['scalar', scalar],
        ['none', new Float32Array(0)],
        ['__proto__', proto],
      ]),
    );
    await opened.close();
    expect([...scalar, ...proto]).toEqual([5, 9]);
    expect(hash).toBe(
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    );
  });

  it('takes the bytes that the reference implementation is tested with', async () => {
    // huggingface/safetensors, test_serialization_forced_alignement: a header padded to a multiple of 8.
    const header = '{"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}}       ';
    const file = withHeaderText(header, new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer));
    expect(file.subarray(0, 8)).toEqual(Buffer.of(72, 0, 0, 0, 0, 0, 0, 0));
    expect((await readAll(await written(file))).values.get('attn0')).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5));
    const empty = await readAll(await written(Buffer.from([8, 0, 0, 0, 0, 0, 0, 0, ...Buffer.from('{}      ')])));
    expect(empty.values.size).toBe(0);
  });

  it('takes metadata of null, and tensors without bytes between others', async () => {
    const between = withHeader(plain, (header) =>
      Object.assign(header, {
        __metadata__: null,
        none: { dtype: 'F32', shape: [0], data_offsets: [24, 24] },
        nothing: { dtype: 'F16', shape: [3, 0], data_offsets: [48, 48] },
      }),
    );
    expect([...(await readAll(await written(between))).tensors.keys()]).toEqual(['a', 'none', 'b', 'c', 'nothing']);
  });

  it('reads every finite float16 exactly', async () => {
    const halves = Uint16Array.from(finiteHalves);
    const entry = { dtype: 'F16', shape: [halves.length], data_offsets: [0, halves.byteLength] };
    const file = withHeaderText(JSON.stringify({ halves: entry }), new Uint8Array(halves.buffer));
    const { values } = await readAll(await written(file));
    const found = values.get('halves') as Float32Array;
    expect(halves.findIndex((bits, i) => !Object.is(found[i], halfValue(bits)))).toBe(-1);
  });

  it('reads bfloat16 exactly', async () => {
    const numbers = [1, -1, 0, -0, 2 ** -126, 2 ** -133, 1.9921875 * 2 ** 127, -0.15625];
    const file = encodeSafetensors(new Map([['x', { dtype: 'BF16', shape: [8], values: numbers }]]));
    expect((await readAll(await written(file))).values.get('x')).toEqual(Float32Array.from(numbers));
  });

  it.each(['F32', 'F16'] as const)('reads %s tensors longer than one step, at odd places', async (dtype) => {
    const count = 2_200_003;
    const values = Float32Array.from({ length: count }, (_, i) => (i % 2001) - 1000);
    const small: NewTensor = { dtype: 'BF16', shape: [1], values: [3] };
    const file = encodeSafetensors(
      new Map([
        ['first', small],
        ['long', { dtype, shape: [count], values }],
        ['last', small],
      ]),
    );
    const read = await readAll(await written(file));
    expect(Buffer.from((read.values.get('long') as Float32Array).buffer).equals(Buffer.from(values.buffer))).toBe(true);
    expect([...(read.values.get('last') as Float32Array)]).toEqual([3]);
    expect(read.sha256).toBe(createHash('sha256').update(file).digest('hex'));
  });

  it('fills arrays that begin within their buffer', async () => {
    const buffer = new Float32Array(5);
    const file = await openSafetensors(await written(plain));
    await file.read(new Map([['b', buffer.subarray(2, 4)]]));
    await file.close();
    expect([...buffer]).toEqual([0, 0, 7, -8, 0]);
  });
});

type Change = (header: Header) => unknown;
const offsetsOf =
  (name: string, ...offsets: unknown[]): Change =>
  (header) => {
    Object.assign(header[name] as object, { data_offsets: offsets });
  };
const shapeOf =
  (name: string, ...shape: unknown[]): Change =>
  (header) => {
    Object.assign(header[name] as object, { shape });
  };

describe('a file is refused', () => {
  it.each<[string, Change, string | RegExp]>([
    [
      'overlapping tensors',
      offsetsOf('b', 20, 28),
      /'b' begins at byte \d+, inside the tensor 'a', which ends at byte/,
    ],
    ['two tensors in the same place', offsetsOf('b', 32, 40), /belong to no tensor|inside/],
    [
      'a hole',
      (header) => delete header.b,
      /bytes \d+ to \d+, between the tensor 'a' and the tensor 'c', belong to no/,
    ],
    [
      'a hole at the start',
      (header) => delete header.a,
      /bytes \d+ to \d+, between the header and the tensor 'b', belong/,
    ],
    [
      'bytes after the last tensor',
      (header) => delete header.c,
      "16 bytes follow after the tensor 'b', which ends at byte",
    ],
    ['offsets reversed', offsetsOf('b', 32, 24), /'b' has the data_offsets \[32, 24\]: it ends before it begins/],
    ['a negative offset', offsetsOf('b', -8, 0), /'b' has the data_offsets \[-8, 0\]; expected are two whole numbers/],
    ['a fraction as offset', offsetsOf('b', 24.5, 32.5), /'b' has the data_offsets \[24\.5, 32\.5\]; expected/],
    ['three offsets', offsetsOf('b', 24, 32, 40), /'b' has the data_offsets \[24, 32, 40\]; expected are two/],
    ['texts as offsets', offsetsOf('b', '24', '32'), /'b' has the data_offsets \['24', '32'\]; expected/],
    [
      'offsets beyond whole numbers',
      offsetsOf('b', 24, 2 ** 60),
      /'b' has the data_offsets \[24, 1152921504606847000\]/,
    ],
    ['no offsets', (header) => delete header.b?.data_offsets, "'b' has the data_offsets missing"],
    [
      'an offset out of the file',
      offsetsOf('c', 32, 52),
      /'c' of shape \[4\] and dtype F32 needs 16 bytes, but its data_offsets \[32, 52\] hold 20/,
    ],
    [
      'a tensor out of the file',
      (header) => Object.assign(header.c as object, { shape: [5], data_offsets: [32, 52] }),
      /cut short: the tensor 'c' ends at byte (\d+), the file at byte \d+; download it again/,
    ],
    [
      'another dtype',
      (header) => Object.assign(header.b as object, { dtype: 'F16' }),
      /'b' of shape \[2\] and dtype F16 needs 4 bytes, but its data_offsets \[24, 32\] hold 8/,
    ],
    [
      'an unknown dtype',
      (header) => Object.assign(header.b as object, { dtype: 'float32' }),
      /'b' has the dtype 'float32'; known are BOOL, .*F32/,
    ],
    [
      'a dtype of JavaScript',
      (header) => Object.assign(header.b as object, { dtype: 'constructor' }),
      "'b' has the dtype 'constructor'",
    ],
    ['no dtype', (header) => delete header.b?.dtype, "'b' has the dtype missing"],
    [
      'values that end inside a byte',
      (header) => Object.assign(header.b as object, { dtype: 'F4', shape: [15] }),
      /'b' of shape \[15\] and dtype F4 needs 7.5 bytes/,
    ],
    [
      'another shape',
      shapeOf('b', 3),
      /'b' of shape \[3\] and dtype F32 needs 12 bytes, but its data_offsets \[24, 32\] hold 8/,
    ],
    [
      'a shape beyond all files',
      shapeOf('b', 2 ** 30, 2 ** 30),
      /'b' has the shape \[1073741824, 1073741824\] of F32: more bytes than any file/,
    ],
    [
      'a shape whose product overflows',
      shapeOf('b', ...new Array(40).fill(2 ** 52)),
      /'b' has the shape \[(4503599627370496, ){8}…\] of F32: more bytes/,
    ],
    [
      'a shape whose product is infinite, then 0',
      shapeOf('b', ...new Array(40).fill(2 ** 52), 0),
      /of F32: more bytes than any file/,
    ],
    [
      'a negative length',
      shapeOf('b', -1, -2),
      /'b' has the shape \[-1, -2\]; a shape is a list of whole numbers from 0/,
    ],
    ['a fraction as length', shapeOf('b', 0.5, 4), /'b' has the shape \[0.5, 4\]; a shape is/],
    [
      'a number as shape',
      (header) => Object.assign(header.b as object, { shape: 2 }),
      "'b' has the shape 2; a shape is",
    ],
    [
      'a tensor that is null',
      (header) => Object.assign(header, { b: null }),
      "'b' is null in its header, not an object",
    ],
    ['a tensor that is a list', (header) => Object.assign(header, { b: [[]] }), /'b' is \[a list\] in its header/],
    [
      'metadata that is a text',
      (header) => Object.assign(header, { __metadata__: 'pt' }),
      "__metadata__ in its header is 'pt', not an object of texts",
    ],
    [
      'metadata with a number',
      (header) => Object.assign(header, { __metadata__: { step: 3 } }),
      "__metadata__.'step' in its header is 3, not a text",
    ],
    [
      'a name of many lines',
      (header) => Object.assign(header, { [`x\n${'y'.repeat(500)}`]: 1 }),
      /'x\\ny{98}…' is 1 in its header/,
    ],
  ])('with %s', async (_, change, text) => {
    const path = await written(withHeader(plain, change));
    await expect(openSafetensors(path)).rejects.toEqual(invalid(text));
    await expect(openSafetensors(path)).rejects.toEqual(invalid(`^The weights file '${fileName}' cannot be used: `));
  });

  const { header: headerText, data } = partsOf(plain);
  const length = (bytes: bigint) => {
    const file = Buffer.from(plain);
    file.writeBigUInt64LE(bytes);
    return file;
  };
  it.each<[string, Uint8Array, string | RegExp]>([
    ['nothing in it', Buffer.alloc(0), 'it is empty: download it again'],
    ['seven bytes', plain.subarray(0, 7), "it has 7 bytes, fewer than the 8 that give the header's length"],
    [
      'its end inside the header',
      plain.subarray(0, 60),
      `its header should have ${headerText.length} bytes but only 52 follow: it was cut short`,
    ],
    [
      'its end after the length',
      plain.subarray(0, 8),
      `its header should have ${headerText.length} bytes but only 0 follow`,
    ],
    [
      'its end inside the data',
      plain.subarray(0, plain.length - 20),
      /cut short: the tensor 'b' ends at byte \d+, the file at byte \d+; download/,
    ],
    ['one byte too few', plain.subarray(0, plain.length - 1), /cut short: the tensor 'c' ends at byte/],
    [
      'one byte too many',
      Buffer.concat([plain, Buffer.of(0)]),
      "1 bytes follow after the tensor 'c', which ends at byte",
    ],
    ['a header above the limit', length(100_000_001n), 'claim a header of 100000001 bytes, allowed are 100000000'],
    ['a header of 2⁶⁴ - 1 bytes', length(2n ** 64n - 1n), 'claim a header of 18446744073709551615 bytes, allowed'],
    ['a header at the limit, beyond the file', length(100_000_000n), 'its header should have 100000000 bytes but only'],
    ['no header', length(0n), 'its header is empty'],
    [
      'a header that is a list',
      withHeaderText('[]', new Uint8Array(0)),
      "its header begins with the byte 0x5b at byte 8 instead of '{'",
    ],
    ['a header with a blank before it', withHeaderText(` ${headerText}`, data), 'begins with the byte 0x20 at byte 8'],
    [
      'a header that is no JSON',
      withHeaderText(headerText.replace('"dtype"', 'dtype'), data),
      /its header \(bytes 8 to \d+\) is not JSON in UTF-8/,
    ],
    ['more after the header', withHeaderText(`${headerText}{}`, data), 'is not JSON in UTF-8'],
    [
      'a header that is no UTF-8',
      withHeaderText(Buffer.from(headerText.replace('"a"', '"ÿ"'), 'latin1'), data),
      'is not JSON in UTF-8',
    ],
    ['a tensor twice', withHeaderText(headerText.replace('"c"', '"b"'), data), "its header holds the key 'b' twice"],
    [
      'a tensor twice, once escaped',
      withHeaderText(headerText.replace('"c"', '"\\u0062" '), data),
      "its header holds the key 'b' twice",
    ],
    [
      'a dtype twice',
      withHeaderText(headerText.replace('"dtype"', '"dtype":"F16","dtype"'), data),
      "its header holds the key 'dtype' twice",
    ],
  ])('with %s', async (_, bytes, text) => {
    await expect(openSafetensors(await written(bytes))).rejects.toEqual(invalid(text));
  });

  it('takes the same text in two places for no duplicate', async () => {
    const twice = withHeaderText(
      headerText.replace('{', '{"__metadata__":{"a":"{\\"b\\":\\\\","b":"a","dtype":"\\",\\"a\\":"},'),
      data,
    );
    expect((await readAll(await written(twice))).values.get('b')).toEqual(Float32Array.of(7, -8));
  });

  it('with a header nested deeper than any stack', async () => {
    const deep = 200_000;
    for (const place of ['"shape":', '"data_offsets":', '"dtype":', '']) {
      const nested = `${'['.repeat(deep)}${']'.repeat(deep)}`;
      const header = place === '' ? `{"b":${nested}}` : headerText.replace(place, `${place}${nested},"was":`);
      await expect(openSafetensors(await written(withHeaderText(header, data)))).rejects.toEqual(
        invalid(/tensor '[ab]'/),
      );
    }
  });

  it('with a text longer than a regular expression can take', async () => {
    const long = '\\\\'.repeat(5_000_000);
    const file = withHeaderText(`{"__metadata__":{"x":"${long}"},"a":1}`, data);
    await expect(openSafetensors(await written(file))).rejects.toEqual(invalid("tensor 'a' is 1 in its header"));
  });

  const zipStart = Buffer.from([0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0, 0, 0]);
  const graph = createGraph('some_graph');
  graph.output(graph.op('Relu', [graph.input('x', 'float32', [1])]), 'y', 'float32', [1]);
  it.each<[string, Uint8Array | string, string]>([
    [
      'PyTorch checkpoint',
      Buffer.concat([zipStart, Buffer.from('....dinov2_vits14_pretrain/data.pkl')]),
      "it is a PyTorch checkpoint (a zip with a pickle, which can run code when it is loaded): give the model's `model.safetensors` instead",
    ],
    ['other zip', Buffer.concat([zipStart, Buffer.from('....readme.txt')]), 'it is a zip archive: unpack it'],
    [
      'pickle',
      Buffer.from([0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50]),
      'it is a pickle, such as an old PyTorch checkpoint',
    ],
    [
      'Git LFS pointer',
      'version https://git-lfs.github.com/spec/v1\noid sha256:12ab\nsize 88241976\n',
      'it is a Git LFS pointer',
    ],
    [
      'web page',
      '\n<!DOCTYPE html><html><head><title>Log in</title>',
      'it is a web page (HTML or XML): the download gave a page',
    ],
    ['error in XML', '\ufeff<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'it is a web page'],
    ['gzip', gzipSync(plain), 'it is compressed with gzip: unpack it'],
    ['zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 4, 0, 1, 0, 0, 0]), 'it is compressed with zstd: unpack it'],
    ['ONNX model', graph.encode(), 'it seems to be an ONNX model'],
    ['HDF5', Buffer.from([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a, 0]), 'it is an HDF5 file'],
    ['GGUF', Buffer.from([0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0, 5]), 'it is a GGUF file'],
    ['numpy array', Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 0x76]), 'it is a numpy array'],
    ['JSON text', '{\n  "weight_map": {"a": "model-00001-of-00002.safetensors"}\n}', 'it is JSON text'],
    ['two bytes of a web page', '<h', 'it is a web page'],
  ])('that is another thing: %s', async (_, content, text) => {
    const path = await written(Buffer.from(content));
    const message = expect.stringContaining(`cannot be used: ${text}`);
    await expect(openSafetensors(path)).rejects.toEqual(expect.objectContaining({ code: 'invalid_weights', message }));
  });

  it('not for a length that looks like another kind of file', async () => {
    // 0x0280 = 640 begins like a pickle, 0x8b1f like gzip.
    for (const bytes of [0x280, 0x8b1f]) {
      const path = await written(withHeaderText(headerText.padEnd(bytes), data));
      expect((await readAll(path)).values.get('b')).toEqual(Float32Array.of(7, -8));
    }
    // 0x023c begins like a web page.
    const cut = withHeaderText(headerText.padEnd(0x23c), data).subarray(0, 100);
    await expect(openSafetensors(await written(cut))).rejects.toEqual(invalid('it was cut short'));
  });

  it('that is not there, or a folder', async () => {
    await expect(openSafetensors(join(folder, 'absent.safetensors'))).rejects.toEqual(
      invalid("^The weights file 'absent.safetensors' cannot be used: there is no such file: check its name.$"),
    );
    await expect(openSafetensors(join(folder, 'a\0b'))).rejects.toEqual(invalid('cannot be read'));
    await mkdir(join(folder, 'weights'));
    await expect(openSafetensors(join(folder, 'weights'))).rejects.toEqual(invalid('it is a folder or a device'));
  });
});

describe('read', () => {
  async function reading(bytes: Uint8Array, destinations: Record<string, Float32Array>) {
    const file = await openSafetensors(await written(bytes));
    return file.read(new Map(Object.entries(destinations))).finally(() => file.close());
  }
  const three = new Float32Array(3);

  it.each<[string, NewTensor, string]>([
    ['NaN', f32([3], [1, 2, Number.NaN]), "'x' holds NaN at index 2 .byte (\\d+).; weights must be finite"],
    ['infinity', f32([3], [1, Number.POSITIVE_INFINITY, Number.NaN]), "'x' holds Infinity at index 1 .byte"],
    ['-infinity', f32([3], [Number.NEGATIVE_INFINITY, 0, 0]), "'x' holds -Infinity at index 0 .byte"],
    [
      'F64',
      { dtype: 'F64', shape: [3], values: [1, 2, 3] },
      "'x' has the dtype F64; read are F32, F16, BF16: save the",
    ],
    ['I64', { dtype: 'I64', shape: [3], values: [1, 2, 3] }, "'x' has the dtype I64; read are F32, F16, BF16"],
  ])('refuses %s', async (_, tensor, text) => {
    await expect(reading(encodeSafetensors(new Map([['x', tensor]])), { x: three })).rejects.toEqual(invalid(text));
  });

  it.each<[string, string, number]>([
    ['F16', 'Infinity', 0x7c00],
    ['F16', '-Infinity', 0xfc00],
    ['F16', 'NaN', 0x7e00],
    ['F16', 'NaN', 0xfc01],
    ['BF16', 'Infinity', 0x7f80],
    ['BF16', 'NaN', 0xffc0],
  ])('refuses %s %s', async (dtype, shown, bits) => {
    const entry = { dtype, shape: [3], data_offsets: [0, 6] };
    const header = JSON.stringify({ x: entry });
    const file = withHeaderText(header, new Uint8Array(Uint16Array.of(0, bits, 0).buffer));
    const place = `'x' holds ${shown} at index 1 .byte ${8 + header.length + 2}.`;
    await expect(reading(file, { x: three })).rejects.toEqual(invalid(place));
  });

  it('names index and byte beyond the first step', async () => {
    const values = new Float32Array(1_500_000);
    values[1_400_001] = Number.NaN;
    const file = encodeSafetensors(new Map([['x', f32([values.length], values)]]));
    const byte = partsOf(file).header.length + 8 + 4 * 1_400_001;
    await expect(reading(file, { x: new Float32Array(values.length) })).rejects.toEqual(
      invalid(`'x' holds NaN at index 1400001 .byte ${byte}.`),
    );
  });

  it('does not look at the values of tensors that nobody asks for', async () => {
    const file = encodeSafetensors(
      new Map([
        ['x', f32([2], [Number.NaN, 0])],
        ['y', f32([3], [1, 2, 3])],
      ]),
    );
    await expect(reading(file, { y: three })).resolves.toMatch(/^[0-9a-f]{64}$/);
    expect([...three]).toEqual([1, 2, 3]);
  });

  it('refuses absent tensors, and arrays of another length', async () => {
    await expect(reading(plain, { d: three })).rejects.toEqual(invalid("the tensor 'd' is missing"));
    await expect(reading(plain, { b: three })).rejects.toEqual(
      expect.objectContaining({ code: 'shape_mismatch', message: "The tensor 'b' has 2 values, its array 3." }),
    );
  });

  it('refuses a file that shrinks after it was opened', async () => {
    const path = await written(plain);
    const file = await openSafetensors(path);
    await truncate(path, plain.length - 10);
    await expect(file.read(new Map())).rejects.toEqual(
      invalid(`it was cut at byte ${plain.length - 10} while it was read`),
    );
    await file.close();
  });
});

const python = pythonWith('safetensors');

describe.skipIf(python === undefined)('the reference implementation', () => {
  it('reads what these tests write', async () => {
    const script = `
import sys, safetensors, struct
tensors = safetensors.deserialize(open(sys.argv[1], 'rb').read())
for name, tensor in sorted(tensors, key=lambda item: item[0]):
    data = bytes(tensor['data'])
    print(name, tensor['dtype'], tensor['shape'], struct.unpack('<%df' % (len(data) // 4), data))`;
    expect(runPython(python ?? '', script, await written(plain)).split('\n')).toEqual([
      'a F32 [2, 3] (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)',
      'b F32 [2] (7.0, -8.0)',
      'c F32 [4] (0.5, 0.0, 0.25, -0.0)',
    ]);
  });
});
