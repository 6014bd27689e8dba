import type { VitNaming } from '../../../src/extractors/vit/read_vit_weights.ts';
import type { Linear, Norm, VitBlock, VitWeights } from '../../../src/extractors/vit/vit_weights.ts';
import { f32, type NewTensor } from './safetensors_writer.ts';

export interface VitSize {
  readonly width: number;
  readonly heads: number;
  readonly depth: number;
  readonly registers: number;
  readonly gridSide: number;
}

export const unitSize: VitSize = { width: 32, heads: 2, depth: 2, registers: 0, gridSide: 3 };

/** A model with the token and its position apart, as most files have them. */
export interface SomeVit {
  readonly weights: VitWeights;
  readonly classToken: Float32Array;
  readonly classPosition: Float32Array;
}

/** Random multiples of 1/64 from -1 to 1: sums of two, float16 and bfloat16 hold them exactly. */
export function someVit(size: VitSize, seed = 1): SomeVit {
  const { width, heads, depth, registers, gridSide } = size;
  let state = seed;
  const numbers = (count: number) =>
    Float32Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return ((state >>> 8) % 129) / 64 - 1;
    });
  const norm = (): Norm => ({ scale: numbers(width), bias: numbers(width) });
  const linear = (outputs: number, inputs: number): Linear => ({
    weight: numbers(outputs * inputs),
    bias: numbers(outputs),
  });
  const block = (): VitBlock => ({
    norm1: norm(),
    qkv: linear(3 * width, width),
    proj: linear(width, width),
    attnScale: numbers(width),
    norm2: norm(),
    fc1: linear(4 * width, width),
    fc2: linear(width, 4 * width),
    mlpScale: numbers(width),
  });
  const classToken = numbers(width);
  const classPosition = numbers(width);
  const weights: VitWeights = {
    width,
    heads,
    patchSize: 14,
    patch: linear(width, 3 * 14 * 14),
    classToken: classToken.map((value, i) => value + (classPosition[i] as number)),
    registers: numbers(registers * width),
    positionGrid: { rows: gridSide, cols: gridSide },
    positions: numbers(gridSide * gridSide * width),
    blocks: Array.from({ length: depth }, block),
    norm: norm(),
  };
  return { weights, classToken, classPosition };
}

/** The model's tensors as timm, Hugging Face or Meta publish them. */
export function tensorsOf(vit: SomeVit, naming: VitNaming): Map<string, NewTensor> {
  const { weights, classToken, classPosition } = vit;
  const { width, registers, positions } = weights;
  const tensors = new Map<string, NewTensor>();
  const put = (name: string, shape: readonly number[], values: ArrayLike<number>) =>
    tensors.set(name, f32(shape, values));
  const putNorm = (name: string, { scale, bias }: Norm) => {
    put(`${name}.weight`, [width], scale);
    put(`${name}.bias`, [width], bias);
  };
  const putLinear = (name: string, { weight, bias }: Linear) => {
    put(`${name}.weight`, [bias.length, weight.length / bias.length], weight);
    put(`${name}.bias`, [bias.length], bias);
  };
  const putPatch = (name: string) => {
    put(`${name}.weight`, [width, 3, 14, 14], weights.patch.weight);
    put(`${name}.bias`, [width], weights.patch.bias);
  };
  const tokens = (values: Float32Array) => [1, values.length / width, width];
  const withClass = Float32Array.from([...classPosition, ...positions]);
  const hasRegisters = registers.length > 0;

  if (naming === 'huggingface') {
    put('embeddings.cls_token', [1, 1, width], classToken);
    put('embeddings.mask_token', [1, width], new Float32Array(width));
    if (hasRegisters) put('embeddings.register_tokens', tokens(registers), registers);
    put('embeddings.position_embeddings', tokens(withClass), withClass);
    putPatch('embeddings.patch_embeddings.projection');
    for (const [i, block] of weights.blocks.entries()) {
      const name = `encoder.layer.${i}`;
      putNorm(`${name}.norm1`, block.norm1);
      for (const [part, role] of ['query', 'key', 'value'].entries()) {
        putLinear(`${name}.attention.attention.${role}`, {
          weight: block.qkv.weight.subarray(part * width * width, (part + 1) * width * width),
          bias: block.qkv.bias.subarray(part * width, (part + 1) * width),
        });
      }
      putLinear(`${name}.attention.output.dense`, block.proj);
      put(`${name}.layer_scale1.lambda1`, [width], block.attnScale);
      putNorm(`${name}.norm2`, block.norm2);
      putLinear(`${name}.mlp.fc1`, block.fc1);
      putLinear(`${name}.mlp.fc2`, block.fc2);
      put(`${name}.layer_scale2.lambda1`, [width], block.mlpScale);
    }
    putNorm('layernorm', weights.norm);
    return tensors;
  }

  const folded = naming === 'timm' && hasRegisters;
  put('cls_token', [1, 1, width], folded ? weights.classToken : classToken);
  if (naming === 'meta') put('mask_token', [1, width], new Float32Array(width));
  if (hasRegisters) put(naming === 'timm' ? 'reg_token' : 'register_tokens', tokens(registers), registers);
  put('pos_embed', tokens(folded ? positions : withClass), folded ? positions : withClass);
  putPatch('patch_embed.proj');
  for (const [i, block] of weights.blocks.entries()) {
    const name = `blocks.${i}`;
    putNorm(`${name}.norm1`, block.norm1);
    putLinear(`${name}.attn.qkv`, block.qkv);
    putLinear(`${name}.attn.proj`, block.proj);
    put(`${name}.ls1.gamma`, [width], block.attnScale);
    putNorm(`${name}.norm2`, block.norm2);
    putLinear(`${name}.mlp.fc1`, block.fc1);
    putLinear(`${name}.mlp.fc2`, block.fc2);
    put(`${name}.ls2.gamma`, [width], block.mlpScale);
  }
  putNorm('norm', weights.norm);
  return tensors;
}

/** The same tensors under other names. */
export function renamed(
  tensors: ReadonlyMap<string, NewTensor>,
  rename: (name: string) => string,
): Map<string, NewTensor> {
  return new Map([...tensors].map(([name, tensor]) => [rename(name), tensor]));
}
