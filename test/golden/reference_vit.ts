import { createGraph, type GraphBuilder, type Value } from '../../src/onnx/onnx_graph.ts';
import { openSession } from '../../src/onnx/onnx_session.ts';
import type { PatchGrid } from '../../src/patchcore/grid.ts';
import { createMatrix, type Matrix } from '../../src/patchcore/matrix.ts';
import type { WeightTensor } from './safetensors.ts';

/**
 * DINOv2 ViT-S/14 written down as plainly as it can be, to compare faster ones with (Oquab et al. 2023, arXiv:2304.07193;
 * Dosovitskiy et al. 2021, arXiv:2010.11929; tensor names of timm's `vit_small_patch14_dinov2.lvd142m`). Nothing is fused
 * by hand, all is float32.
 */

const width = 384;
const heads = 6;
const headWidth = width / heads;
const blocks = 12;
const patchSize = 14;
const trainedGrid = { rows: 37, cols: 37 };
const layerNormEpsilon = 1e-6;
/** 0-based, raw: the final norm is not applied. */
const keptBlocks = [9, 10, 11];

export type Weights = ReadonlyMap<string, WeightTensor>;

export interface ReferenceVit {
  /** [1 + rows · cols, 384]: the class token's, then the grid's. */
  readonly positions: Float32Array;
  /** @param input [3, 14 · rows, 14 · cols] @returns [rows · cols, 3 · 384] */
  tokens(input: Float32Array): Promise<Matrix>;
  dispose(): Promise<void>;
}

/**
 * Takes some 300 MB; a picture of 448 × 448 takes half a second.
 *
 * @param weights as read from a checkpoint. In the reference data's random ones every norm is (1, 0), every layer scale 0.1
 *   and every bias of a block 0: a graph that mixes those up is only found out with weights changed on purpose.
 */
export async function openReferenceVit(weights: Weights, grid: PatchGrid, threads: number): Promise<ReferenceVit> {
  const positions = resizedPositions(tensor(weights, 'pos_embed'), grid);
  const session = await openSession(vitGraph(weights, positions, grid), { threads });
  const dims = [1, 3, grid.rows * patchSize, grid.cols * patchSize];
  return {
    positions,
    tokens: async (input) => {
      const { tokens } = await session.run({ input: { dims, data: input } });
      return createMatrix(grid.rows * grid.cols, keptBlocks.length * width, tokens?.data as Float32Array);
    },
    dispose: () => session.dispose(),
  };
}

function tensor(weights: Weights, name: string): WeightTensor {
  const found = weights.get(name);
  if (found === undefined) throw new Error(`the weights have no tensor ${name}`);
  return found;
}

/** The graph as an exporter would write it: nothing fused, nothing folded. */
export function plainVitGraph(weights: Weights, grid: PatchGrid): Uint8Array {
  return vitGraph(weights, resizedPositions(tensor(weights, 'pos_embed'), grid), grid);
}

function vitGraph(weights: Weights, positions: Float32Array, { rows, cols }: PatchGrid): Uint8Array {
  const graph = createGraph('reference_vit');
  const patches = rows * cols;
  const tokens = patches + 1;
  const weight = (name: string): Value => {
    const { dims, data } = tensor(weights, name);
    return graph.constant(dims, data, name);
  };

  const input = graph.input('input', 'float32', [1, 3, rows * patchSize, cols * patchSize]);
  const conv = graph.op('Conv', [input, weight('patch_embed.proj.weight'), weight('patch_embed.proj.bias')], {
    kernel_shape: [patchSize, patchSize],
    strides: [patchSize, patchSize],
  });
  const flat = graph.op('Reshape', [conv, graph.ints([1, width, patches])]);
  const embedded = graph.op('Transpose', [flat], { perm: [0, 2, 1] });
  const all = graph.op('Concat', [weight('cls_token'), embedded], { axis: 1 });
  let x = graph.op('Add', [all, graph.constant([1, tokens, width], positions, 'positions')]);

  const kept: Value[] = [];
  for (let block = 0; block < blocks; block++) {
    const name = (part: string) => `blocks.${block}.${part}`;
    const attended = attention(graph, weight, name, layerNorm(graph, weight, name('norm1'), x), tokens);
    x = graph.op('Add', [x, graph.op('Mul', [attended, weight(name('ls1.gamma'))])]);
    const thought = mlp(graph, weight, name, layerNorm(graph, weight, name('norm2'), x));
    x = graph.op('Add', [x, graph.op('Mul', [thought, weight(name('ls2.gamma'))])]);
    if (keptBlocks.includes(block)) {
      kept.push(graph.op('Slice', [x, graph.ints([1]), graph.ints([tokens]), graph.ints([1])]));
    }
  }
  graph.output(graph.op('Concat', kept, { axis: 2 }), 'tokens', 'float32', [1, patches, keptBlocks.length * width]);
  return graph.encode();
}

type Weight = (name: string) => Value;
type BlockName = (part: string) => string;

function layerNorm(graph: GraphBuilder, weight: Weight, name: string, x: Value): Value {
  const inputs = [x, weight(`${name}.weight`), weight(`${name}.bias`)];
  return graph.op('LayerNormalization', inputs, { axis: -1, epsilon: { float: layerNormEpsilon } });
}

/** x · Wᵀ + b: the weights are stored [out, in]. */
function linear(graph: GraphBuilder, weight: Weight, name: string, x: Value): Value {
  const transposed = graph.op('Transpose', [weight(`${name}.weight`)], { perm: [1, 0] });
  return graph.op('Add', [graph.op('MatMul', [x, transposed]), weight(`${name}.bias`)]);
}

/** softmax(Q Kᵀ / √d) V, head by head; queries, keys and values come from one joined layer in that order. */
function attention(graph: GraphBuilder, weight: Weight, name: BlockName, x: Value, tokens: number): Value {
  const joined = linear(graph, weight, name('attn.qkv'), x);
  const split = graph.op('Reshape', [joined, graph.ints([1, tokens, 3, heads, headWidth])]);
  // [3, 1, heads, tokens, headWidth]
  const parts = graph.op('Transpose', [split], { perm: [2, 0, 3, 1, 4] });
  const part = (index: number) =>
    graph.op('Gather', [parts, graph.constant([], BigInt64Array.of(BigInt(index)))], { axis: 0 });
  const queries = graph.op('Mul', [part(0), graph.scalar(1 / Math.sqrt(headWidth))]);
  const keys = graph.op('Transpose', [part(1)], { perm: [0, 1, 3, 2] });
  const shares = graph.op('Softmax', [graph.op('MatMul', [queries, keys])], { axis: -1 });
  const mixed = graph.op('Transpose', [graph.op('MatMul', [shares, part(2)])], { perm: [0, 2, 1, 3] });
  return linear(graph, weight, name('attn.proj'), graph.op('Reshape', [mixed, graph.ints([1, tokens, width])]));
}

/** With the exact GELU: x · (1 + erf(x / √2)) / 2. */
function mlp(graph: GraphBuilder, weight: Weight, name: BlockName, x: Value): Value {
  const hidden = linear(graph, weight, name('mlp.fc1'), x);
  const erf = graph.op('Erf', [graph.op('Mul', [hidden, graph.scalar(Math.SQRT1_2)])]);
  const half = graph.op('Mul', [hidden, graph.scalar(0.5)]);
  const gelu = graph.op('Mul', [half, graph.op('Add', [erf, graph.scalar(1)])]);
  return linear(graph, weight, name('mlp.fc2'), gelu);
}

/**
 * The position embedding of another grid: bicubic with a = -0.75, half-pixel centres, borders repeated, no antialias, as
 * PyTorch's `interpolate` does it. The class token's stays.
 */
function resizedPositions({ data }: WeightTensor, grid: PatchGrid): Float32Array {
  const resized = new Float32Array((1 + grid.rows * grid.cols) * width);
  resized.set(data.subarray(0, width));
  const down = cubicTaps(trainedGrid.rows, grid.rows);
  const across = cubicTaps(trainedGrid.cols, grid.cols);
  for (const [row, vertical] of down.entries()) {
    for (const [col, horizontal] of across.entries()) {
      const to = (1 + row * grid.cols + col) * width;
      for (let i = 0; i < width; i++) {
        let sum = 0;
        for (const { at: y, weight: share } of vertical) {
          for (const { at: x, weight } of horizontal) {
            sum += share * weight * (data[(1 + y * trainedGrid.cols + x) * width + i] as number);
          }
        }
        resized[to + i] = sum;
      }
    }
  }
  return resized;
}

interface Tap {
  readonly at: number;
  readonly weight: number;
}

/** For every cell of the new axis: four cells of the old one. */
function cubicTaps(from: number, to: number): readonly (readonly Tap[])[] {
  return Array.from({ length: to }, (_, cell) => {
    const position = ((cell + 0.5) * from) / to - 0.5;
    const first = Math.floor(position) - 1;
    return [0, 1, 2, 3].map((i) => ({
      at: Math.min(from - 1, Math.max(0, first + i)),
      weight: cubic(position - (first + i)),
    }));
  });
}

/** Keys' cubic kernel. */
function cubic(distance: number): number {
  const a = -0.75;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? a * (((x - 5) * x + 8) * x - 4) : 0;
}
