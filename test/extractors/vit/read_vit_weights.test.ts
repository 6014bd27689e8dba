import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InspectionError } from '../../../src/errors.ts';
import { readVitWeights, type VitNaming } from '../../../src/extractors/vit/read_vit_weights.ts';
import type { VitWeights } from '../../../src/extractors/vit/vit_weights.ts';
import { readSafetensors } from '../../golden/safetensors.ts';
import { hasShared, sharedFile } from '../../npy.ts';
import {
  encodeSafetensors,
  f32,
  type Header,
  type NewTensor,
  partsOf,
  withHeader,
  withHeaderText,
} from './safetensors_writer.ts';
import { renamed, type SomeVit, someVit, tensorsOf, unitSize } from './some_vit_weights.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'okng-vit-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function written(bytes: Uint8Array): Promise<string> {
  const path = join(folder, 'vit.safetensors');
  await writeFile(path, bytes);
  return path;
}

type Tensors = Map<string, NewTensor>;

const heads = unitSize.heads;
const reading = async (tensors: Tensors) => readVitWeights(await written(encodeSafetensors(tensors)), { heads });

const plain = someVit(unitSize);
const withRegisters = someVit({ ...unitSize, registers: 4 }, 2);
const namings: readonly VitNaming[] = ['timm', 'huggingface', 'meta'];

/** Arrays as the hash of their bytes: `toEqual` takes milliseconds for each thousand values. */
function hashed(value: unknown): unknown {
  if (value instanceof Float32Array) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${value.length} values, sha256 ${createHash('sha256').update(bytes).digest('hex')}`;
  }
  if (Array.isArray(value)) return value.map(hashed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, hashed(part)]));
}

function expectSame(found: VitWeights, expected: VitWeights): void {
  expect(hashed(found)).toEqual(hashed(expected));
}

/** Every array of the weights. */
function arraysOf(value: unknown): Float32Array[] {
  if (value instanceof Float32Array) return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(arraysOf) : [];
}

describe('readVitWeights', () => {
  describe.each<[string, SomeVit, number]>([
    ['without registers', plain, 0],
    ['with registers', withRegisters, 4],
  ])('a model %s', (_, vit, registers) => {
    it.each(namings)('is the same in the names of %s', async (naming) => {
      const file = encodeSafetensors(tensorsOf(vit, naming), { format: 'pt' });
      const { weights, sha256, variant } = await readVitWeights(await written(file), { heads });
      expectSame(weights, vit.weights);
      expect(sha256).toBe(createHash('sha256').update(file).digest('hex'));
      const suggestedName = registers === 0 ? 'vit_32x2_patch14_dinov2' : 'vit_32x2_patch14_reg4_dinov2';
      expect(variant).toEqual({ family: null, registers, naming, suggestedName });
    });

    it.each(['F16', 'BF16'] as const)('is the same in %s', async (dtype) => {
      for (const naming of namings) {
        const tensors = [...tensorsOf(vit, naming)].map(([name, tensor]) => [name, { ...tensor, dtype }] as const);
        expectSame((await reading(new Map(tensors))).weights, vit.weights);
      }
    });
  });

  it('gives arrays that fill their buffers, so that they may be moved', async () => {
    for (const naming of namings) {
      const { weights } = await reading(tensorsOf(withRegisters, naming));
      const arrays = arraysOf(weights);
      expect(arrays.length).toBe(7 + 2 * 14);
      expect(arrays.every((array) => array.byteLength === array.buffer.byteLength)).toBe(true);
      expect(new Set(arrays.map(({ buffer }) => buffer)).size).toBe(arrays.length);
    }
  });

  it.each<[VitNaming, string]>([
    ['huggingface', 'dinov2.'],
    ['huggingface', 'dinov2_with_registers.'],
    ['meta', 'backbone.'],
    ['meta', 'student.backbone.'],
    ['timm', 'model.'],
    ['timm', '0.'],
  ])('reads the names of %s after %s, and passes over what is outside', async (naming, prefix) => {
    const tensors = renamed(tensorsOf(withRegisters, naming), (name) => prefix + name);
    tensors.set('classifier.weight', f32([3, 64], new Float32Array(192)));
    tensors.set('linear_head.bias', { dtype: 'I64', shape: [1], values: [3] });
    const { weights, variant } = await reading(tensors);
    expectSame(weights, withRegisters.weights);
    expect(variant.naming).toBe(naming);
  });

  it('takes the teacher of a training checkpoint, and only that', async () => {
    const student = renamed(tensorsOf(plain, 'meta'), (name) => `student.backbone.${name}`);
    const teacher = renamed(tensorsOf(someVit(unitSize, 9), 'meta'), (name) => `teacher.backbone.${name}`);
    const head: Tensors = new Map([['teacher.dino_head.last_layer.weight', f32([1], [1])]]);
    const both = await reading(new Map([...student, ...head, ...teacher]));
    expectSame(both.weights, someVit(unitSize, 9).weights);
    const other = renamed(teacher, (name) => name.replace('teacher', 'other'));
    await expect(reading(new Map([...student, ...other]))).rejects.toThrow(
      "it holds 2 networks, with prefixes such as 'student.backbone.', 'other.backbone.': save one of them",
    );
  });

  it('reads blocks in chunks, counted through', async () => {
    const vit = someVit({ ...unitSize, depth: 4 });
    const chunked = renamed(tensorsOf(vit, 'meta'), (name) =>
      name.replace(/^blocks\.(\d+)/, (_, block) => `blocks.${Math.floor(block / 2)}.${block}`),
    );
    expect([...chunked.keys()]).toContain('blocks.1.3.attn.qkv.weight');
    expectSame((await reading(chunked)).weights, vit.weights);
  });

  it('passes over the heads of classifiers and of the training, inside the prefix as well', async () => {
    for (const name of ['head.weight', 'classifier.bias', 'dino_head.mlp.0.weight', 'ibot_head.last_layer.weight_g']) {
      const tensors = tensorsOf(plain, 'timm').set(name, f32([2], [Number.NaN, 1]));
      expectSame((await reading(tensors)).weights, plain.weights);
    }
  });

  it("calls the plain names timm, and those with a mask token or Meta's registers meta", async () => {
    const tensors = tensorsOf(plain, 'timm');
    expect((await reading(tensors)).variant.naming).toBe('timm');
    tensors.set('mask_token', f32([1, 32], new Float32Array(32)));
    expect((await reading(tensors)).variant.naming).toBe('meta');
    const unmasked = tensorsOf(withRegisters, 'meta');
    unmasked.delete('mask_token');
    expect((await reading(unmasked)).variant.naming).toBe('meta');
  });

  it.each<[string, number, number, number, string]>([
    ['vit_small', 384, 12, 0, 'vit_small_patch14_dinov2.lvd142m'],
    ['vit_small', 384, 12, 4, 'vit_small_patch14_reg4_dinov2.lvd142m'],
    ['vit_base', 768, 12, 0, 'vit_base_patch14_dinov2.lvd142m'],
  ])('recognises %s of width %i with %i blocks and %i registers', async (family, width, depth, registers, name) => {
    const { path } = await sparseFile(width, depth, registers);
    const { weights, variant, sha256 } = await readVitWeights(path);
    expect(variant).toEqual({ family, registers, naming: 'meta', suggestedName: name });
    expect([weights.width, weights.heads, weights.blocks.length]).toEqual([width, width / 64, depth]);
    expect(weights.positionGrid).toEqual({ rows: 37, cols: 37 });
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('takes the shapes of vit_large, and begins to read', async () => {
    const { path, dataAt } = await sparseFile(1024, 24, 4);
    const handle = await open(path, 'r+');
    await handle.write(Uint8Array.of(0xff, 0xff), 0, 2, dataAt);
    await handle.close();
    await expect(readVitWeights(path)).rejects.toThrow(`'cls_token' holds NaN at index 0 (byte ${dataAt})`);
  });

  it.skipIf(!hasShared)('reads the ViT-S/14 of the reference data, value by value', async () => {
    const path = sharedFile('golden/weights.safetensors');
    const { weights, variant, sha256 } = await readVitWeights(path);
    expect(variant).toEqual({
      family: 'vit_small',
      registers: 0,
      naming: 'timm',
      suggestedName: 'vit_small_patch14_dinov2.lvd142m',
    });
    expect(sha256).toBe(createHash('sha256').update(readFileSync(path)).digest('hex'));
    expect({ ...weights, blocks: weights.blocks.length }).toMatchObject({
      width: 384,
      heads: 6,
      patchSize: 14,
      positionGrid: { rows: 37, cols: 37 },
      blocks: 12,
    });
    const trusted = readSafetensors(path);
    const data = (name: string) => trusted.get(name)?.data as Float32Array;
    const equal = (found: Float32Array, expected: Float32Array) =>
      expect(Buffer.from(found.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
    equal(weights.patch.weight, data('patch_embed.proj.weight'));
    equal(weights.positions, data('pos_embed').slice(384));
    equal(
      weights.classToken,
      data('cls_token').map((value, i) => value + (data('pos_embed')[i] as number)),
    );
    for (const [i, block] of weights.blocks.entries()) {
      equal(block.qkv.weight, data(`blocks.${i}.attn.qkv.weight`));
      equal(block.proj.weight, data(`blocks.${i}.attn.proj.weight`));
      equal(block.fc1.weight, data(`blocks.${i}.mlp.fc1.weight`));
      equal(block.fc2.weight, data(`blocks.${i}.mlp.fc2.weight`));
      equal(block.attnScale, data(`blocks.${i}.ls1.gamma`));
      equal(block.mlpScale, data(`blocks.${i}.ls2.gamma`));
    }
  });
  if (!existsSync(sharedFile('golden'))) console.log('skipped: ../shared/golden is not here');
});

/** A file of zeros in float16 that takes no room on the disk. */
async function sparseFile(width: number, depth: number, registers: number) {
  // One block's shapes, of unit width, are scaled up.
  const unit = tensorsOf(someVit({ width: 1, heads: 1, depth, registers, gridSide: 37 }), 'meta');
  const header: Header = {};
  let end = 0;
  for (const [name, { shape }] of unit) {
    const scaled = scaledShape(name, shape, width);
    const begin = end;
    end += 2 * scaled.reduce((count, length) => count * length, 1);
    header[name] = { dtype: 'F16', shape: scaled, data_offsets: [begin, end] };
  }
  const head = withHeaderText(JSON.stringify(header), new Uint8Array(0));
  const path = join(folder, 'sparse.safetensors');
  await writeFile(path, head);
  const handle = await open(path, 'r+');
  await handle.truncate(head.length + end);
  await handle.close();
  return { path, dataAt: head.length };
}

function scaledShape(name: string, shape: readonly number[], width: number): number[] {
  if (/token|pos_embed/.test(name)) return [...shape.slice(0, -1), width];
  const [outputs = 1, ...inputs] = shape;
  return [outputs * width, ...(name.startsWith('patch') ? inputs : inputs.map((length) => length * width))];
}

/** The files that this process holds open. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // The one that listed the folder.
      return [];
    }
  });
}

type Change = (tensors: Tensors) => unknown;
const put =
  (name: string, shape: readonly number[]): Change =>
  (tensors) =>
    tensors.set(name, f32(shape, new Float32Array(shape.reduce((count, length) => count * length, 1))));
const without =
  (name: string): Change =>
  (tensors) =>
    tensors.delete(name);

describe('a model is refused', () => {
  it.each<[string, VitNaming, Change, string]>([
    [
      'without a tensor',
      'timm',
      without('blocks.1.mlp.fc2.bias'),
      "the tensor 'blocks.1.mlp.fc2.bias' is missing: give the whole DINOv2 model",
    ],
    ['without the final norm', 'meta', without('norm.weight'), "the tensor 'norm.weight' is missing"],
    ['without layer scale', 'timm', without('blocks.0.ls1.gamma'), "the tensor 'blocks.0.ls1.gamma' is missing"],
    [
      'without keys',
      'huggingface',
      without('encoder.layer.0.attention.attention.key.weight'),
      "the tensor 'encoder.layer.0.attention.attention.key.weight' is missing",
    ],
    ['without positions, such as DINOv3', 'meta', without('pos_embed'), "the tensor 'pos_embed' is missing"],
    [
      'without a patch embedding',
      'timm',
      without('patch_embed.proj.weight'),
      "it has no tensor 'patch_embed.proj.weight' (timm, Meta) or 'embeddings.patch_embeddings.projection.weight' (Hugging Face); its first one is 'cls_token': give the weights of a DINOv2 model",
    ],
    ['without anything', 'timm', (tensors) => tensors.clear(), '(Hugging Face) nor any other: give the weights'],
    [
      'with a wrong shape',
      'timm',
      put('blocks.1.mlp.fc1.weight', [127, 32]),
      "the tensor 'blocks.1.mlp.fc1.weight' has the shape [127, 32], expected is [128, 32]",
    ],
    [
      'with a transposed matrix',
      'timm',
      put('blocks.0.mlp.fc1.weight', [32, 128]),
      "'blocks.0.mlp.fc1.weight' has the shape [32, 128], expected is [128, 32]",
    ],
    [
      'with an axis more',
      'timm',
      put('blocks.0.norm1.weight', [1, 32]),
      "'blocks.0.norm1.weight' has the shape [1, 32], expected is [32]",
    ],
    [
      'with an axis less',
      'timm',
      put('blocks.0.attn.proj.weight', [32]),
      "'blocks.0.attn.proj.weight' has the shape [32], expected is [32, 32]",
    ],
    [
      'with positions of four axes',
      'timm',
      put('pos_embed', [1, 10, 32, 1]),
      "'pos_embed' has the shape [1, 10, 32, 1], expected is [1, tokens, 32]",
    ],
    [
      'with positions of two pictures',
      'timm',
      put('pos_embed', [2, 10, 32]),
      "'pos_embed' has the shape [2, 10, 32], expected is [1, tokens, 32]",
    ],
    [
      'with mixed widths',
      'huggingface',
      put('encoder.layer.1.attention.attention.value.weight', [48, 48]),
      "'encoder.layer.1.attention.attention.value.weight' has the shape [48, 48], expected is [32, 32]",
    ],
    [
      'with another class token',
      'timm',
      put('cls_token', [1, 32]),
      "'cls_token' has the shape [1, 32], expected is [1, 1, 32]",
    ],
    [
      'with registers of another width',
      'timm',
      put('reg_token', [1, 4, 16]),
      "'reg_token' has the shape [1, 4, 16], expected is [1, tokens, 32]",
    ],
    [
      'with a block missing',
      'timm',
      (tensors) =>
        [...tensors.keys()].filter((name) => name.startsWith('blocks.0.')).map((name) => tensors.delete(name)),
      "its 1 blocks lack block 0 (no tensor 'blocks.0.norm1.weight'): give the whole model",
    ],
    [
      'without blocks',
      'timm',
      (tensors) => [...tensors.keys()].filter((name) => name.startsWith('blocks.')).map((name) => tensors.delete(name)),
      "its 0 blocks lack block 0 (no tensor 'blocks.0.norm1.weight')",
    ],
    [
      'with a block far away',
      'timm',
      put('blocks.99999999999.norm1.weight', [32]),
      "its 3 blocks lack block 2 (no tensor 'blocks.2.norm1.weight')",
    ],
    [
      'with positions that are no square',
      'timm',
      put('pos_embed', [1, 12, 32]),
      "'pos_embed' has 12 positions; expected is one each for the class token and a square number of patches, such as 1370",
    ],
    [
      'with a class position only',
      'huggingface',
      put('embeddings.position_embeddings', [1, 1, 32]),
      "'embeddings.position_embeddings' has 1 positions",
    ],
    [
      'without a class position',
      'meta',
      put('pos_embed', [1, 9, 32]),
      "'pos_embed' has 9 positions; expected is one each for the class token and",
    ],
    [
      'with a class position beside registers of timm',
      'timm',
      put('reg_token', [1, 4, 32]),
      "'pos_embed' has 10 positions; expected is one each for a square number of patches, such as 1369",
    ],
    [
      'with patches of 16 pixels',
      'timm',
      put('patch_embed.proj.weight', [32, 3, 16, 16]),
      "'patch_embed.proj.weight' has the shape [32, 3, 16, 16], DINOv2's is [width, 3, 14, 14]",
    ],
    [
      'with patches of another height',
      'timm',
      put('patch_embed.proj.weight', [32, 3, 16, 14]),
      "has the shape [32, 3, 16, 14], DINOv2's is",
    ],
    [
      'with patches of another width',
      'timm',
      put('patch_embed.proj.weight', [32, 3, 14, 16]),
      "has the shape [32, 3, 14, 16], DINOv2's is",
    ],
    [
      'of films',
      'timm',
      put('patch_embed.proj.weight', [32, 3, 14, 14, 1]),
      "has the shape [32, 3, 14, 14, 1], DINOv2's is",
    ],
    [
      'with a name that only ends alike',
      'timm',
      (tensors) =>
        tensors.set('x_patch_embed.proj.weight', tensors.get('patch_embed.proj.weight') as NewTensor) &&
        tensors.delete('patch_embed.proj.weight'),
      "it has no tensor 'patch_embed.proj.weight'",
    ],
    [
      'of gray pictures',
      'timm',
      put('patch_embed.proj.weight', [32, 1, 14, 14]),
      "'patch_embed.proj.weight' has the shape [32, 1, 14, 14], DINOv2's",
    ],
    [
      'of no width',
      'timm',
      put('patch_embed.proj.weight', [0, 3, 14, 14]),
      "'patch_embed.proj.weight' has the shape [0, 3, 14, 14], DINOv2's",
    ],
    [
      'with a gated MLP, as Meta names it',
      'meta',
      put('blocks.0.mlp.w12.weight', [2]),
      "it seems to be DINOv2's giant model, with a gated MLP (the tensor 'blocks.0.mlp.w12.weight', width 32), which is not read: give the small, base or large one",
    ],
    [
      'with a gated MLP, as Hugging Face names it',
      'huggingface',
      put('encoder.layer.0.mlp.weights_in.weight', [2]),
      "giant model, with a gated MLP (the tensor 'encoder.layer.0.mlp.weights_in.weight'",
    ],
    [
      'of the giant model, as timm names it',
      'timm',
      put('patch_embed.proj.weight', [1536, 3, 14, 14]),
      "giant model, with a gated MLP (the tensor 'patch_embed.proj.weight', width 1536)",
    ],
    [
      'with a part that DINOv2 has not',
      'timm',
      put('blocks.0.attn.q_norm.weight', [16]),
      "the tensor 'blocks.0.attn.q_norm.weight' is no part of a DINOv2 model: give the model as it was published",
    ],
    [
      'with a norm before the blocks',
      'timm',
      put('norm_pre.weight', [32]),
      "the tensor 'norm_pre.weight' is no part of a DINOv2 model",
    ],
    [
      'with both kinds of registers',
      'timm',
      (tensors) => {
        put('reg_token', [1, 4, 32])(tensors);
        put('pos_embed', [1, 9, 32])(tensors);
        put('register_tokens', [1, 4, 32])(tensors);
      },
      "the tensor 'register_tokens' is no part of a DINOv2 model",
    ],
    [
      'with a part twice',
      'meta',
      put('blocks.0.1.norm1.weight', [32]),
      "the tensors 'blocks.1.norm1.weight' and 'blocks.0.1.norm1.weight' are the same part of the model",
    ],
    [
      'in float64',
      'timm',
      (tensors) => tensors.set('norm.bias', { dtype: 'F64', shape: [32], values: new Float64Array(32) }),
      "'norm.bias' has the dtype F64; read are F32, F16, BF16: save the model in one of these",
    ],
    [
      'with NaN',
      'timm',
      (tensors) => tensors.set('norm.bias', f32([32], new Float32Array(32).fill(Number.NaN, 3))),
      "'norm.bias' holds NaN at index 3",
    ],
    [
      'with an infinite value',
      'huggingface',
      (tensors) => tensors.set('layernorm.weight', f32([32], new Float32Array(32).fill(-Infinity, 31))),
      "'layernorm.weight' holds -Infinity at index 31",
    ],
  ])('%s (%s)', async (_, naming, change, text) => {
    const tensors = tensorsOf(plain, naming);
    change(tensors);
    await expect(reading(tensors)).rejects.toEqual(
      expect.objectContaining({ code: 'invalid_weights', message: expect.stringContaining(text) }),
    );
  });

  it('names the tensor as it stands in the file', async () => {
    const tensors = renamed(tensorsOf(plain, 'meta'), (name) => `backbone.${name}`);
    put('backbone.blocks.1.ls2.gamma', [31])(tensors);
    await expect(reading(tensors)).rejects.toThrow(
      "'backbone.blocks.1.ls2.gamma' has the shape [31], expected is [32]",
    );
    const chunked = renamed(tensors, (name) => name.replace('.blocks.', '.blocks.0.'));
    await expect(reading(chunked)).rejects.toThrow("'backbone.blocks.0.1.ls2.gamma' has the shape [31]");
    tensors.delete('backbone.blocks.1.ls2.gamma');
    await expect(reading(tensors)).rejects.toThrow("'backbone.blocks.1.ls2.gamma' is missing");
  });

  it.skipIf(!existsSync('/proc/self/fd'))('and its file closed, as a good one is', async () => {
    const tensors = tensorsOf(plain, 'timm');
    const good = await written(encodeSafetensors(tensors));
    await readVitWeights(good, { heads });
    await expect(readVitWeights(good)).rejects.toThrow('of width 32');
    expect(openFiles()).not.toContain(good);
    const cut = await written(encodeSafetensors(tensors).subarray(0, 1000));
    await expect(readVitWeights(cut)).rejects.toThrow('cut short');
    expect(openFiles()).not.toContain(cut);
    const kept = await open(cut, 'r');
    expect(openFiles()).toContain(cut);
    await kept.close();
  });

  it('of another size than the published ones, unless the heads are told', async () => {
    const path = await written(encodeSafetensors(tensorsOf(plain, 'timm')));
    await expect(readVitWeights(path)).rejects.toThrow(
      'it has 2 blocks of width 32; read are vit_small (12 blocks of width 384), vit_base (12 blocks of width 768), vit_large (24 blocks of width 1024).',
    );
    for (const wrong of [0, -2, 0.5, 3, 64, Number.NaN]) {
      await expect(readVitWeights(path, { heads: wrong })).rejects.toThrow(
        `its width 32 cannot be shared by ${wrong} heads`,
      );
    }
  });

  it('with a block too few, by the published sizes', async () => {
    const { path } = await sparseFile(384, 11, 0);
    await expect(readVitWeights(path)).rejects.toThrow('it has 11 blocks of width 384; read are vit_small (12 blocks');
  });

  it('before memory is taken for what its width promises', async () => {
    const width = 2 ** 17;
    const header: Header = {
      'patch_embed.proj.weight': {
        dtype: 'F16',
        shape: [width, 3, 14, 14],
        data_offsets: [0, width * 588 * 2],
      },
    };
    let end = width * 588 * 2;
    for (const [name, { shape }] of tensorsOf(plain, 'timm')) {
      if (name === 'patch_embed.proj.weight') continue;
      const wide = /token|pos_embed|patch_embed.proj.bias|norm1/.test(name)
        ? shape.map((length) => (length === 32 ? width : length))
        : shape;
      const begin = end;
      end += 2 * wide.reduce((count, length) => count * length, 1);
      header[name] = { dtype: 'F16', shape: wide, data_offsets: [begin, end] };
    }
    const head = withHeaderText(JSON.stringify(header), new Uint8Array(0));
    const path = join(folder, 'wide.safetensors');
    await writeFile(path, head);
    const handle = await open(path, 'r+');
    await handle.truncate(head.length + end);
    await handle.close();
    await expect(readVitWeights(path, { heads })).rejects.toThrow(
      "'blocks.0.attn.qkv.weight' has the shape [96, 32], expected is [393216, 131072]",
    );
  });

  const small = encodeSafetensors(
    tensorsOf(someVit({ width: 2, heads: 1, depth: 1, registers: 1, gridSide: 1 }), 'meta'),
  );
  const headerBytes = 8 + partsOf(small).header.length;

  it('when it is cut short in its header or at the end of a tensor', async () => {
    const { header } = partsOf(small);
    const ends = Object.values(JSON.parse(header) as Header).map(
      (entry) => (entry.data_offsets as number[])[1] as number,
    );
    const cuts = [...Array(headerBytes).keys(), ...ends.flatMap((end) => [headerBytes + end - 1, headerBytes + end])];
    for (const cut of cuts.filter((length) => length < small.length && (length < 64 || length % 16 < 2))) {
      await expect(readVitWeights(await written(small.subarray(0, cut)), { heads: 1 })).rejects.toThrow(
        expect.objectContaining({
          code: 'invalid_weights',
          message: expect.stringMatching(/cut short|empty|fewer than/),
        }),
      );
    }
  });

  it('never with another error, whatever bytes are changed', async () => {
    const place = fc.oneof(
      fc.nat({ max: 7 }),
      fc.integer({ min: 8, max: headerBytes - 1 }),
      fc.integer({ min: headerBytes, max: small.length - 1 }),
    );
    // Digits and JSON's own letters keep the header readable more often.
    const byte = fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(...Buffer.from('0123456789-.e"{}[],:')));
    const flips = fc.array(fc.tuple(place, byte), { minLength: 1, maxLength: 4 });
    const length = fc.option(fc.nat({ max: small.length }), { nil: small.length, freq: 5 });
    await fc.assert(
      fc.asyncProperty(flips, length, async (changes, kept) => {
        const file = Buffer.from(small);
        for (const [at, value] of changes) file[at] = value;
        await onlyNamedErrors(file.subarray(0, kept));
      }),
      { numRuns: 500 },
    );
  });

  it('never with another error, whatever numbers its header holds', async () => {
    const length = fc.oneof(
      fc.nat({ max: 8 }),
      fc.constantFrom(-1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e308),
    );
    const names = Object.keys(JSON.parse(partsOf(small).header) as Header);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...names),
        fc.option(fc.array(length, { maxLength: 5 }), { nil: undefined }),
        fc.option(fc.array(length, { maxLength: 3 }), { nil: undefined }),
        async (name, shape, offsets) => {
          const changed = withHeader(small, (header) =>
            Object.assign(header[name] as object, {
              ...(shape && { shape }),
              ...(offsets && { data_offsets: offsets }),
            }),
          );
          await onlyNamedErrors(changed);
        },
      ),
      { numRuns: 500 },
    );
  });

  async function onlyNamedErrors(file: Uint8Array): Promise<void> {
    let weights: VitWeights;
    try {
      ({ weights } = await readVitWeights(await written(file), { heads: 1 }));
    } catch (error) {
      expect(error).toBeInstanceOf(InspectionError);
      expect(error).toMatchObject({ code: 'invalid_weights' });
      return;
    }
    // Values may have changed, nothing else.
    expect(arraysOf(weights).every((array) => array.every(Number.isFinite))).toBe(true);
    expect(weights).toMatchObject({ width: 2, positionGrid: { rows: 1, cols: 1 } });
  }
});
