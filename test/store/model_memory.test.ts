import { describe, expect, it } from 'vitest';
import type { ScoreMode } from '../../src/patchcore/image_score.ts';
import type { PositionMemory } from '../../src/patchcore/position_memory.ts';
import { decodeFlatL2 } from '../../src/store/faiss_file.ts';
import { besidesBank, decodeMemory, encodeMemory, memoryIdOf, readModelMemory } from '../../src/store/model_memory.ts';
import type { NpyArray } from '../../src/store/npy.ts';
import { encodeNpz } from '../../src/store/npz.ts';
import { axisBank, someMemory } from './some_memory.ts';

const fileName = 'YQ__Yg.npz';
const read = (bytes: Uint8Array) => decodeMemory({ bytes, stamp: 's' }, fileName);
const scalar = (value: number): NpyArray => ({ dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(value)) });
const text = (value: string): NpyArray => ({ dtype: 'text', shape: [], data: [value] });
const emb = (rows: number, cols: number, ...data: number[]): NpyArray => ({
  dtype: 'float32',
  shape: [rows, cols],
  data: Float32Array.from(data),
});
const good = { emb: emb(2, 2, 1, 0, 0, 1), token_h: scalar(32), token_w: scalar(31), metadata: text('{}') };

describe('encodeMemory', () => {
  it('can be read back, metadata with the memory id', () => {
    const memory = someMemory(7);
    const { npz, index, memoryId } = encodeMemory(memory);
    const stored = read(npz);
    expect(stored).toMatchObject({ bank: memory.bank, grid: memory.grid, memoryId, stamp: 's' });
    expect(stored.metadata).toEqual({ ...memory.metadata, memory_id: memoryId });
    expect(decodeFlatL2(index, '')).toEqual(memory.bank);
  });

  it('refuses a bank without rows and numbers that JSON would lose', () => {
    expect(() => encodeMemory({ ...someMemory(1), bank: axisBank(0, 4, 0) })).toThrow(/without rows/);
    const metadata = { ...someMemory(1).metadata, mm_per_px: Number.NaN };
    expect(() => encodeMemory({ ...someMemory(1), metadata })).toThrow(/'mm_per_px' is NaN/);
  });
});

describe('the pictures of a memory', () => {
  const picture = { name: 'a.png', height: 4, width: 5, frame: [0, 0, 4, 5] as const, left_out_score: null };
  const withPictures = (pictures: readonly object[]) => ({ ...good, metadata: text(JSON.stringify({ pictures })) });

  it('keep their hash and their ROI, which say nothing of scores', () => {
    const memory = someMemory(1);
    const known = { ...picture, sha256: 'f'.repeat(64), shape: { kind: 'circle', cx: 1, r: 2.5 } };
    const { npz, memoryId } = encodeMemory({ ...memory, metadata: { ...memory.metadata, pictures: [known] } });
    expect(read(npz).metadata.pictures).toEqual([known]);
    expect(memoryId).toBe(encodeMemory(memory).memoryId);
  });

  it('of an earlier version have neither, and are read as before', () => {
    expect(read(encodeNpz(withPictures([picture]))).metadata.pictures).toEqual([picture]);
  });
});

describe('memoryIdOf', () => {
  const position = (weight: number, turn: number): PositionMemory => ({
    grid: { rows: 1, cols: 2 },
    rows: axisBank(2, 4, turn),
    starts: Int32Array.of(0, 1, 2),
    picture: Int32Array.of(0, 1),
    weight,
  });

  it('changes with everything that makes scores, and with nothing else', () => {
    const plain = {
      bank: axisBank(4, 4, 0),
      grid: { rows: 32, cols: 31 },
      fingerprint: 'f',
      scoreMode: 'percentile' as ScoreMode,
      position: null as PositionMemory | null,
    };
    const others = [
      {},
      { bank: axisBank(4, 4, 1) },
      { bank: axisBank(2, 8, 0) },
      { grid: { rows: 31, cols: 32 } },
      { fingerprint: 'g' },
      { scoreMode: 'top_share' as const },
      { position: position(0.5, 0) },
      { position: position(0.25, 0) },
      { position: position(0.5, 1) },
    ];
    const ids = others.map((change) => memoryIdOf({ ...plain, ...change }));
    expect(new Set(ids).size).toBe(others.length);
    expect(memoryIdOf({ ...plain, grid: { ...plain.grid } })).toBe(ids[0]);
    expect(ids[0]).toMatch(/^[0-9a-f]{64}$/);
  });

  it('is, for a memory of a bank alone, what it was before there were positions and modes', () => {
    const memory = { bank: axisBank(4, 4, 0), grid: { rows: 32, cols: 31 }, fingerprint: 'f' };
    expect(memoryIdOf({ ...memory, scoreMode: 'percentile', position: null })).toBe(
      'a1349f45fd4fe6096541d567135767cc9336fc60e77ac11ff89cc1275924cc7e',
    );
  });
});

describe('positions and sources', () => {
  const grid = { rows: 1, cols: 2 };
  const position = {
    grid,
    rows: axisBank(3, 16, 0),
    starts: Int32Array.of(0, 2, 3),
    picture: Int32Array.of(0, 1, 1),
    weight: 0.5,
  };
  const sources = { picture: Int32Array.from({ length: 12 }, (_, i) => i % 2), cell: new Int32Array(12).fill(1) };

  it('are read back as they were', () => {
    const stored = read(encodeMemory({ ...someMemory(1), grid, position, sources }).npz);
    expect(stored.position).toEqual(position);
    expect(stored.sources).toEqual(sources);
  });

  it('can be kept without the bank: nothing of them is a view of the file any more', () => {
    const { npz } = encodeMemory({ ...someMemory(1), grid, position, sources });
    const kept = besidesBank(read(npz));
    expect(kept).toEqual({ position, sources });
    npz.fill(0);
    expect(kept).toEqual({ position, sources });
    expect(besidesBank(read(encodeMemory(someMemory(1)).npz))).toEqual({ position: null, sources: null });
  });

  it('may be absent', () => {
    const stored = read(encodeMemory(someMemory(1)).npz);
    expect([stored.position, stored.sources]).toEqual([null, null]);
  });

  it.each([
    ['starts that do not cover the rows', { ...position, starts: Int32Array.of(0, 2, 2) }],
    ['starts that fall', { ...position, starts: Int32Array.of(0, 4, 3) }],
    ['as many starts as another grid has', { ...position, starts: Int32Array.of(0, 3) }],
    ['a weight of 0', { ...position, weight: 0 }],
    ['a weight above 1', { ...position, weight: 1.5 }],
    ['pictures of other rows', { ...position, picture: Int32Array.of(0) }],
    ['another width', { ...position, rows: axisBank(3, 8, 0) }],
  ])('with %s are damage, by name: without them scores would be others', (_, broken) => {
    const { npz } = encodeMemory({ ...someMemory(1), grid, position: broken });
    expect(() => read(npz)).toThrow(
      expect.objectContaining({ code: 'damaged_file', message: expect.stringContaining(fileName) }),
    );
  });
});

describe('decodeMemory', () => {
  it('reads the predecessor: other keys, a square input size, int32 sides, or no metadata', () => {
    const json = '{"extractor": "vit_x", "input_size": 448, "coreset_rate": 0.02, "mm_per_px": "?", "k": 1}';
    const old = {
      ...good,
      token_h: { dtype: 'int32', shape: [1], data: Int32Array.of(32) } as const,
      metadata: text(json),
    };
    expect(read(encodeNpz(old)).metadata).toMatchObject({
      extractor: 'vit_x',
      input_size: { height: 448, width: 448 },
      coreset_rate: 0.02,
      mm_per_px: undefined,
    });
    const { metadata: _, ...bare } = good;
    expect(read(encodeNpz(bare))).toMatchObject({ grid: { rows: 32, cols: 31 }, metadata: {} });
  });

  it('keeps zero rows and rows a little shorter than 1', () => {
    const bank = emb(3, 2, 0, 0, 0.9, 0, 0.6, 0.8);
    expect(read(encodeNpz({ ...good, emb: bank })).bank.rows).toBe(3);
  });

  it.each<[string, Record<string, NpyArray>, RegExp]>([
    ['NaN', { ...good, emb: emb(2, 2, 1, 0, Number.NaN, 1) }, /'emb'.*row 1 has a number that is not finite/],
    ['Infinity', { ...good, emb: emb(2, 2, Infinity, 0, 0, 1) }, /'emb'.*row 0 has a number that is not finite/],
    ['rows not normalised', { ...good, emb: emb(2, 2, 1, 0, 3, 4) }, /row 1 has length 5/],
    ['one dimension', { ...good, emb: { dtype: 'float32', shape: [2], data: Float32Array.of(1, 0) } }, /float32 \(2\)/],
    ['no rows', { ...good, emb: emb(0, 2) }, /'emb' must be/],
    ['integers', { ...good, emb: { dtype: 'int32', shape: [1, 1], data: Int32Array.of(1) } }, /int32/],
    ['no sides', { emb: good.emb, metadata: good.metadata }, /'token_h' is missing/],
    ['no bank', { token_h: scalar(1), token_w: scalar(1) }, /'emb' is missing/],
    ['side 0', { ...good, token_w: scalar(0) }, /'token_w'.*not 0/],
    ['a negative side', { ...good, token_h: scalar(-32) }, /'token_h'.*not -32/],
    ['a huge side', { ...good, token_h: scalar(2 ** 40) }, /'token_h'/],
    ['two sides', { ...good, token_h: { dtype: 'int32', shape: [2], data: Int32Array.of(3, 4) } }, /not 3, 4/],
    ['half a side', { ...good, token_h: { dtype: 'float64', shape: [], data: Float64Array.of(1.5) } }, /not 1.5/],
    ['text as side', { ...good, token_h: text('32') }, /'token_h'/],
    ['broken JSON', { ...good, metadata: text('{') }, /not JSON/],
    ['a JSON list', { ...good, metadata: text('[]') }, /JSON object/],
    ['a number as metadata', { ...good, metadata: scalar(1) }, /'metadata' must be one text/],
    ['another memory id', { ...good, metadata: text('{"memory_id": "abc"}') }, /its metadata says abc/],
  ])('refuses %s by name', (_, arrays, message) => {
    expect(() => read(encodeNpz(arrays))).toThrow(
      expect.objectContaining({ code: 'damaged_file', message: expect.stringMatching(message) }),
    );
    expect(() => read(encodeNpz(arrays))).toThrow(fileName);
  });
});

it('readModelMemory says that there is none, in the words the GUI knows and without the path', async () => {
  const error = await readModelMemory('/some/where/YQ__Yg.npz').catch((caught: Error) => caught);
  expect(error).toMatchObject({ code: 'memory_not_fitted', message: expect.not.stringContaining('/some') });
  expect(error).toMatchObject({ message: expect.stringMatching(/memoria no encontrada.*memory not fitted/i) });
});
