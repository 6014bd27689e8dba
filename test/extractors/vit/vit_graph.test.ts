import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { int8ProductsAreExact } from '../../../src/extractors/vit/int8_products.ts';
import { readVitWeights } from '../../../src/extractors/vit/read_vit_weights.ts';
import { type VitGraphOptions, type VitPrecision, writeVitGraph } from '../../../src/extractors/vit/vit_graph.ts';
import type { Linear, VitWeights } from '../../../src/extractors/vit/vit_weights.ts';
import { decodeImage } from '../../../src/images/decode.ts';
import { prepareInput } from '../../../src/images/letterbox.ts';
import { createOnnxNeighbors } from '../../../src/neighbors/onnx_neighbors.ts';
import { createOnnxProducts, type OnnxProducts } from '../../../src/neighbors/onnx_products.ts';
import { type OnnxSession, openSession } from '../../../src/onnx/onnx_session.ts';
import { percentile } from '../../../src/patchcore/image_score.ts';
import {
  concatRows,
  createMatrix,
  type Matrix,
  normalizeRows,
  type UnitRowMatrix,
} from '../../../src/patchcore/matrix.ts';
import { buildMemoryBank } from '../../../src/patchcore/memory_bank.ts';
import { preprocessing, size } from '../../golden/reference_run.ts';
import { hasShared, readSharedNpy, sharedFile } from '../../npy.ts';
import { runLoopVit } from './loop_vit.ts';
import { someVit } from './some_vit_weights.ts';

const exactProducts = await int8ProductsAreExact();
const precisions = exactProducts ? (['fp32', 'int8'] as const) : (['fp32'] as const);
if (!exactProducts) console.log('the tests of int8 are skipped: without VNNI, ONNX Runtime cuts off its products');

interface Picture {
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}

interface Result {
  readonly tokens: Float32Array;
  readonly imageVector: Float32Array;
}

/** Depth 2, width 32, 2 heads, trained on 3 × 3 patches of 14 pixels; every norm, bias and layer scale is random. */
function unitVit(registers: number): VitWeights {
  const { weights } = someVit({ width: 32, heads: 2, depth: 2, registers, gridSide: 3 }, 3 + registers);
  return {
    ...weights,
    patch: calmed(weights.patch),
    blocks: weights.blocks.map((block) => ({
      ...block,
      qkv: calmed(block.qkv),
      proj: calmed(block.proj),
      fc1: calmed(block.fc1),
      fc2: calmed(block.fc2),
    })),
  };
}

/** Weights as small as trained ones: attention that picks one token and numbers in the thousands hide errors. */
function calmed({ weight, bias }: Linear): Linear {
  const spread = 2 / Math.sqrt(weight.length / bias.length);
  return { weight: weight.map((value) => value * spread), bias };
}

function noise(height: number, width: number, seed = 1): Picture {
  let state = seed;
  const data = Float32Array.from({ length: 3 * height * width }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return { height, width, data };
}

async function run(
  weights: VitWeights,
  options: Omit<VitGraphOptions, 'height' | 'width'>,
  pictures: readonly Picture[],
  kept?: readonly number[],
) {
  const { height, width } = pictures[0] as Picture;
  const session = await openSession(writeVitGraph(weights, { ...options, height, width }), { threads: 1 });
  const data = Float32Array.from(pictures.flatMap((picture) => [...picture.data]));
  const outputs = await session.run({
    input: { dims: [pictures.length, 3, height, width], data },
    ...(kept !== undefined && { kept: { dims: [kept.length], data: Float32Array.from(kept) } }),
  });
  await session.dispose();
  const patches = kept?.length ?? (height / weights.patchSize) * (width / weights.patchSize);
  expect(outputs.tokens?.dims).toEqual([pictures.length, patches, options.blocks.length * weights.width]);
  expect(outputs.image_vector?.dims).toEqual([pictures.length, weights.width]);
  return { tokens: outputs.tokens?.data, imageVector: outputs.image_vector?.data } as Result;
}

/** The greatest difference, as a share of the greatest expected number. */
function worstError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(found.length).toBe(expected.length);
  const differences = Array.from(expected, (value, i) => Math.abs(value - (found[i] as number)));
  return Math.max(...differences) / Math.max(...Array.from(expected, Math.abs));
}

describe('writeVitGraph', () => {
  it.each([
    { registers: 2, height: 42, width: 42, blocks: [0, 1] },
    { registers: 2, height: 28, width: 28, blocks: [1] },
    { registers: 2, height: 28, width: 70, blocks: [1, 0] },
    { registers: 2, height: 56, width: 14, blocks: [0] },
    { registers: 0, height: 28, width: 42, blocks: [0, 1] },
    { registers: 0, height: 14, width: 14, blocks: [0] },
  ])('is the network of the papers: $registers registers, $height × $width, blocks $blocks (2e-6)', async (c) => {
    const weights = unitVit(c.registers);
    const picture = noise(c.height, c.width);
    const found = await run(weights, { precision: 'fp32', blocks: c.blocks }, [picture]);
    const expected = runLoopVit(weights, picture.data, picture, c.blocks);
    expect(worstError(found.tokens, expected.tokens)).toBeLessThan(2e-6);
    expect(worstError(found.imageVector, expected.imageVector)).toBeLessThan(2e-6);
  });

  it.skipIf(!exactProducts).each([
    { registers: 2, height: 42, width: 42, blocks: [0, 1] },
    { registers: 0, height: 28, width: 42, blocks: [0] },
  ])('keeps to it in int8: $registers registers, $height × $width, blocks $blocks (3 %)', async (c) => {
    const weights = unitVit(c.registers);
    const picture = noise(c.height, c.width);
    const found = await run(weights, { precision: 'int8', blocks: c.blocks }, [picture]);
    const expected = runLoopVit(weights, picture.data, picture, c.blocks);
    expect(worstError(found.tokens, expected.tokens)).toBeLessThan(0.03);
    expect(worstError(found.imageVector, expected.imageVector)).toBeLessThan(0.03);
  });

  describe.each(precisions)('with patches kept in %s', (precision) => {
    const tolerance = { fp32: 2e-6, int8: 0.03 }[precision];
    const picture = noise(28, 42);
    const runKept = (weights: VitWeights, blocks: readonly number[], kept: readonly number[]) =>
      run(weights, { precision, blocks, keptOnly: true }, [picture], kept);

    it.each([
      { registers: 2, kept: [5, 0, 3], blocks: [0, 1] },
      { registers: 0, kept: [1, 2, 4, 5], blocks: [0] },
      { registers: 2, kept: [4], blocks: [1, 0] },
    ])('is the network of these tokens: $registers registers, patches $kept, blocks $blocks', async (c) => {
      const weights = unitVit(c.registers);
      const found = await runKept(weights, c.blocks, c.kept);
      const expected = runLoopVit(weights, picture.data, picture, c.blocks, c.kept);
      expect(worstError(found.tokens, expected.tokens)).toBeLessThan(tolerance);
      expect(worstError(found.imageVector, expected.imageVector)).toBeLessThan(tolerance);
    });

    it('is the graph without the choice, bit for bit, when every patch is kept', async () => {
      const weights = unitVit(2);
      const all = await run(weights, { precision, blocks: [0, 1] }, [picture]);
      expect(await runKept(weights, [0, 1], [0, 1, 2, 3, 4, 5])).toEqual(all);
    });
  });

  it('gives every picture of a batch what it gives it alone (1e-6)', async () => {
    const weights = unitVit(2);
    const pictures = [1, 2, 3].map((seed) => noise(28, 42, seed));
    const options = { precision: 'fp32', blocks: [0, 1] } as const;
    const together = await run(weights, options, pictures);
    for (const [i, picture] of pictures.entries()) {
      const alone = await run(weights, options, [picture]);
      const part = (of: Float32Array, own: Float32Array) => of.subarray(i * own.length, (i + 1) * own.length);
      expect(worstError(part(together.tokens, alone.tokens), alone.tokens)).toBeLessThan(1e-6);
      expect(worstError(part(together.imageVector, alone.imageVector), alone.imageVector)).toBeLessThan(1e-6);
    }
  });

  it('takes any number of pictures in fp32, and one in int8', async () => {
    for (const [precision, batch] of [
      ['fp32', -1],
      ['int8', 1],
    ] as const) {
      const graph = writeVitGraph(unitVit(0), { height: 28, width: 42, blocks: [1], precision });
      const session = await openSession(graph, { threads: 1 });
      expect(session.inputDims('input')).toEqual([batch, 3, 28, 42]);
      await session.dispose();
    }
  });

  it('is a smaller file in int8: the blocks take a quarter, the patch embedding stays', () => {
    const [fp32 = 0, int8 = 0] = (['fp32', 'int8'] as const).map(
      (precision) => writeVitGraph(unitVit(0), { height: 28, width: 42, blocks: [1], precision }).length,
    );
    const blockWeights = 2 * 12 * 32 * 32;
    expect(fp32 - int8).toBeGreaterThan(0.9 * 3 * blockWeights);
  });

  it.each(['fp32', 'int8'] as const)('writes the same %s file again', (precision) => {
    const options = { height: 28, width: 42, blocks: [1], precision };
    const [first, second] = [0, 1].map(() => Buffer.from(writeVitGraph(unitVit(2), options)));
    expect(first?.equals(second as Buffer)).toBe(true);
  });

  it.each([
    [{ height: 30 }, 'The input size 30 × 42 does not fit'],
    [{ width: 0 }, 'The input size 28 × 0 does not fit'],
    [{ width: Number.NaN }, 'both must be multiples of 14'],
    [{ blocks: [1, 2] }, 'There is no block 2 in the vision transformer; choose among its blocks 0 to 1.'],
    [{ blocks: [-1] }, 'There is no block -1'],
    [{ blocks: [0.5] }, 'There is no block 0.5'],
    [{ blocks: [] }, 'No block is chosen'],
  ])('refuses %o', (wrong, sentence) => {
    const options = { height: 28, width: 42, blocks: [1], precision: 'fp32', ...wrong } as const;
    const write = () => writeVitGraph(unitVit(0), options);
    expect(write).toThrow(expect.objectContaining({ code: 'invalid_config' }));
    expect(write).toThrow(sentence);
  });
});

/** The reference implementation's pictures and tokens (torch 1.13), and its random ViT-S/14. */
describe.skipIf(!hasShared)('a ViT-S/14 on the reference pictures', () => {
  const patches = 32 * 32;
  const blocks = [9, 10, 11];
  const good = ['ok0', 'ok1', 'ok2'] as const;
  const names = [...good, 'test_ok', 'test_ng'] as const;
  type Name = (typeof names)[number];

  const sessions = new Map<VitPrecision, OnnxSession>();
  const tokens: Record<VitPrecision, Map<Name, Matrix>> = { fp32: new Map(), int8: new Map() };
  let engine: OnnxProducts;

  async function tokensOf(precision: VitPrecision, data: Float32Array, pictures = 1): Promise<Float32Array> {
    const input = { dims: [pictures, 3, size.height, size.width], data };
    const outputs = await sessions.get(precision)?.run({ input });
    return outputs?.tokens?.data as Float32Array;
  }

  const cosinesOf = (name: Name): number[] => {
    const [exact, quick] = [tokens.fp32, tokens.int8].map((of) => normalizeRows(of.get(name) as Matrix));
    return Array.from({ length: patches }, (_, row) => {
      const at = (of: UnitRowMatrix | undefined) => (of as UnitRowMatrix).data.subarray(row * 1152, (row + 1) * 1152);
      const other = at(quick);
      return at(exact).reduce((sum, value, i) => sum + value * (other[i] as number), 0);
    });
  };

  /** Of each picture: the 99th percentile of its patches' distances to a memory of the good ones. */
  async function scoresIn(precision: VitPrecision): Promise<readonly number[]> {
    const rows = (name: Name) => normalizeRows(tokens[precision].get(name) as Matrix);
    const bank = await buildMemoryBank(normalizeRows(concatRows(good.map(rows))), 0.05, engine.products);
    const neighbors = await createOnnxNeighbors(bank.rows, { threads: 2 });
    const scores: number[] = [];
    for (const name of names) scores.push(percentile((await neighbors.search(rows(name), 1)).distances, 99));
    await neighbors.dispose();
    return scores;
  }

  beforeAll(async () => {
    const { weights } = await readVitWeights(sharedFile('golden/weights.safetensors'));
    engine = await createOnnxProducts({ threads: 2 });
    for (const precision of precisions) {
      const graph = writeVitGraph(weights, { ...size, blocks, precision });
      sessions.set(precision, await openSession(graph, { threads: 2 }));
      for (const name of names) {
        const bytes = new Uint8Array(readFileSync(sharedFile(`golden/${name}.png`)));
        const image = await decodeImage(bytes, { name, maxPixels: 1e6 });
        const found = await tokensOf(precision, prepareInput(image, preprocessing).input.data);
        tokens[precision].set(name, createMatrix(patches, blocks.length * weights.width, found));
      }
    }
  });

  afterAll(async () => {
    for (const session of sessions.values()) await session.dispose();
    await engine?.dispose();
  });

  const worstDifference = (found: Float32Array, expected: Float32Array): number => {
    expect(found.length).toBe(expected.length);
    return expected.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (found[i] as number))), 0);
  };

  it.each(['ok0', 'rect_500x300'])('gives the reference tokens of %s (1e-5)', async (name) => {
    const found = await tokensOf('fp32', readSharedNpy(`golden/pre_${name}.npy`).data);
    expect(worstDifference(found, readSharedNpy(`golden/tok_${name}.npy`).data)).toBeLessThan(1e-5);
  });

  it.each(precisions)('gives the same bits twice in %s', async (precision) => {
    const { data } = readSharedNpy('golden/pre_ok0.npy');
    const [first, second] = [await tokensOf(precision, data), await tokensOf(precision, data)];
    expect(Buffer.from(first.buffer).equals(Buffer.from(second.buffer))).toBe(true);
  });

  it('gives a picture among four what it gives it alone (1e-5)', async () => {
    const pictures = ['ok0', 'rect_500x300', 'rect_500x300', 'ok0'].map(
      (name) => readSharedNpy(`golden/pre_${name}.npy`).data,
    );
    const together = await tokensOf('fp32', Float32Array.from(pictures.flatMap((data) => [...data])), 4);
    for (const [i, picture] of pictures.slice(0, 2).entries()) {
      const alone = await tokensOf('fp32', picture);
      const part = together.subarray(i * alone.length, (i + 1) * alone.length);
      expect(worstDifference(part, alone)).toBeLessThan(1e-5);
    }
  });

  it.skipIf(!exactProducts).each(names)('keeps the direction of every patch embedding of %s in int8', (name) => {
    const cosines = cosinesOf(name);
    expect(cosines.reduce((sum, cosine) => sum + cosine, 0) / patches).toBeGreaterThan(0.999);
    expect(Math.min(...cosines)).toBeGreaterThan(0.99);
  });

  it.skipIf(!exactProducts)('orders the pictures by their scores in int8 as in fp32', async () => {
    const order = async (precision: VitPrecision) => {
      const scores = await scoresIn(precision);
      return names.toSorted((a, b) => (scores[names.indexOf(a)] as number) - (scores[names.indexOf(b)] as number));
    };
    expect(await order('int8')).toEqual(await order('fp32'));
  });
});
