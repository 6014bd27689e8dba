import { InspectionError } from '../../errors.ts';
import { createGraph, elementTypes, type GraphBuilder, type Value } from '../../onnx/onnx_graph.ts';
import type { PatchGrid } from '../../patchcore/grid.ts';
import { resizePositions } from './position_embedding.ts';
import { fp32Linear, int8Linear, type LinearWriter } from './vit_linear.ts';
import type { Linear, Norm, VitBlock, VitWeights } from './vit_weights.ts';

export type VitPrecision = 'fp32' | 'int8';

export interface VitGraphOptions {
  /** Input size in pixels, multiples of the weights' patch size. */
  readonly height: number;
  readonly width: number;
  /** 0-based, at least one; `tokens` has their columns in this order. */
  readonly blocks: readonly number[];
  readonly precision: VitPrecision;
  /** Only the patches that the input `kept` names go through the blocks; false by default. */
  readonly keptOnly?: boolean;
}

/** What the parts of one graph share. */
interface VitWriter {
  readonly graph: GraphBuilder;
  readonly linear: LinearWriter;
  readonly width: number;
  readonly heads: number;
  /** [k] the only patches that go on behind their embedding; null: all. */
  readonly kept: Value | null;
}

/** Tokens as rows [n · perPicture, width], picture by picture. */
interface TokenRows {
  readonly rows: Value;
  /** -1: any number, of a single picture. */
  readonly perPicture: number;
}

const contrib = 'com.microsoft';
const layerNormEpsilon = 1e-6;

/**
 * Writes a DINOv2 vision transformer as one ONNX graph for one input size (opset 17 and `com.microsoft`, so for ONNX
 * Runtime only). Equal weights and options give equal bytes.
 *
 * Input `input` [n, 3, height, width]: normalised RGB. Outputs:
 * - `tokens` [n, patches, width · blocks]: for every patch, row-major, the residual stream after each of `blocks`, side by
 *   side. Raw: without the final norm, without class token and registers.
 * - `image_vector` [n, width]: the class token after the last block and the final norm.
 *
 * n is free in fp32 and 1 in int8, whose rounding of one picture would follow the others of its batch. All blocks run,
 * because the class token needs them; where the last one is not among `blocks`, it runs for that token only.
 *
 * With `keptOnly` n is 1, and a second input `kept` [k] names places of the patch grid, row-major from 0 (whole numbers, but
 * float32, as all that our sessions take). Behind their embedding only these patches, the class token and the registers go
 * on; `tokens` [1, k, width · blocks] has the order of `kept`. Nothing of the service uses it: it is there to measure what
 * a ROI mask would save and spoil, and for whoever ships that.
 *
 * The numbers are those of the network as published. What makes it faster than a graph as exporters write it: attention
 * in one operator, which keeps its 1,025 × 1,025 shares in the cache; a GELU in one; layer scales within the layers before
 * them. The norms keep their scales: they cost nothing there, and in int8 they tame channels that stand out.
 *
 * int8 concerns the linear layers alone, see `int8Linear`. Integer products of queries with keys and of shares with
 * values, with a softmax between them, took as long as the float32 operator, because there rounding and scaling cost what
 * the products save. Known of its accuracy: cosines of 0.99998 between patch embeddings in int8 and fp32 on the reference
 * pictures with random weights, 0.9998 when their layer scales are 1 instead of 0.1. Published weights have tokens and
 * channels that stand out more, and were not at hand: `tryPrecisions` decides on the weights themselves.
 *
 * ViT-S/14 at 448 × 448, medians of 20 runs in turns, 2 cores of a 2.5 GHz Xeon with AVX-512 VNNI:
 *
 * | | plain | fp32 | int8 |
 * |---|---|---|---|
 * | one thread | 763 ms | 606 ms | 396 ms |
 * | two threads | 415 ms | 331 ms | 223 ms |
 *
 * In a profile of int8 on one thread attention takes 214 ms and the products of the linear layers 125: together 0.44 of the
 * plain graph, whatever is saved on the rest.
 *
 * Cost of writing: half a second and twice the weights' size in memory in fp32.
 *
 * @throws InspectionError `invalid_config` when size or blocks do not fit the weights
 *
 * Sources: Oquab et al. 2023, arXiv:2304.07193; registers: Darcet et al. 2023, arXiv:2309.16588.
 */
export function writeVitGraph(weights: VitWeights, options: VitGraphOptions): Uint8Array {
  const { width, heads, blocks } = weights;
  const grid = patchGrid(weights.patchSize, options);
  requireBlocks(options.blocks, blocks.length);
  const { precision, keptOnly = false } = options;
  const patches = keptOnly ? 'k' : grid.rows * grid.cols;
  const batch = precision === 'int8' || keptOnly ? 1 : 'n';
  const graph = createGraph('vit');
  const linear = precision === 'int8' ? int8Linear(graph) : fp32Linear(graph);
  const input = graph.input('input', 'float32', [batch, 3, options.height, options.width]);
  const kept = keptOnly ? graph.input('kept', 'float32', ['k']) : null;
  const writer: VitWriter = { graph, linear, width, heads, kept };

  let stream = writeEmbedding(writer, weights, input, grid);
  const tokens = stream.perPicture;
  const streams = blocks.map((block, index) => {
    const classOnly = index === blocks.length - 1 && !options.blocks.includes(index);
    stream = writeBlock(writer, block, stream, classOnly ? classRows(writer, stream) : stream);
    return stream;
  });

  const columns = options.blocks.length * width;
  const chosen = options.blocks.map((block) => (streams[block] as TokenRows).rows);
  const rows = graph.op('Concat', chosen, { axis: 1 });
  const pictures = writePictures(graph, { rows, perPicture: tokens }, columns);
  const first = graph.ints([1 + weights.registers.length / width]);
  const behind = graph.ints([keptOnly ? Number.MAX_SAFE_INTEGER : tokens]);
  const ofPatches = graph.op('Slice', [pictures, first, behind, graph.ints([1])]);
  graph.output(ofPatches, 'tokens', 'float32', [batch, patches, columns]);
  const imageVector = writeNorm(writer, weights.norm, classRows(writer, stream).rows);
  graph.output(imageVector, 'image_vector', 'float32', [batch, width]);
  return graph.encode();
}

function patchGrid(patchSize: number, { height, width }: VitGraphOptions): PatchGrid {
  const rows = height / patchSize;
  const cols = width / patchSize;
  if (Number.isInteger(rows) && Number.isInteger(cols) && rows > 0 && cols > 0) return { rows, cols };
  throw new InspectionError(
    'invalid_config',
    `The input size ${height} × ${width} does not fit the vision transformer: both must be multiples of ${patchSize}, for example ${32 * patchSize} × ${32 * patchSize}.`,
  );
}

function requireBlocks(wanted: readonly number[], depth: number): void {
  const wrong = wanted.find((block) => !(Number.isInteger(block) && block >= 0 && block < depth));
  if (wrong === undefined && wanted.length > 0) return;
  const what = wrong === undefined ? 'No block is chosen' : `There is no block ${wrong}`;
  throw new InspectionError(
    'invalid_config',
    `${what} in the vision transformer; choose among its blocks 0 to ${depth - 1}.`,
  );
}

/** Class token, registers, then every patch with its position. */
function writeEmbedding(
  { graph, width, kept }: VitWriter,
  weights: VitWeights,
  input: Value,
  grid: PatchGrid,
): TokenRows {
  const { patchSize: side, patch, classToken, registers } = weights;
  const patches = grid.rows * grid.cols;
  const filters = graph.constant([width, 3, side, side], patch.weight);
  const map = graph.op('Conv', [input, filters, graph.constant([width], patch.bias)], {
    kernel_shape: [side, side],
    strides: [side, side],
  });
  const columns = graph.op('Reshape', [map, graph.ints([0, width, patches])]);
  const positions = resizePositions(weights.positions, weights.positionGrid, grid, width);
  const placed = graph.op('Add', [
    graph.op('Transpose', [columns], { perm: [0, 2, 1] }),
    graph.constant([1, patches, width], positions),
  ]);

  const others = 1 + registers.length / width;
  const batch = graph.op('Shape', [input], { start: 0, end: 1 });
  const repeated = graph.op('Expand', [
    graph.constant([1, others, width], Float32Array.of(...classToken, ...registers)),
    graph.op('Concat', [batch, graph.ints([others, width])], { axis: 0 }),
  ]);
  const places = kept === null ? null : graph.op('Cast', [kept], { to: elementTypes.int64 });
  const going = places === null ? placed : graph.op('Gather', [placed, places], { axis: 1 });
  const all = graph.op('Concat', [repeated, going], { axis: 1 });
  const perPicture = kept === null ? others + patches : -1;
  return { rows: graph.op('Reshape', [all, graph.ints([-1, width])]), perPicture };
}

/** Rows as pictures [n, perPicture, columns]. */
function writePictures(graph: GraphBuilder, { rows, perPicture }: TokenRows, columns: number): Value {
  return graph.op('Reshape', [rows, graph.ints([perPicture === -1 ? 1 : -1, perPicture, columns])]);
}

/**
 * @param all what is attended to
 * @param wanted what attends, and goes on: `all`, or some of them
 */
function writeBlock(writer: VitWriter, block: VitBlock, all: TokenRows, wanted: TokenRows): TokenRows {
  const { graph, linear } = writer;
  const attended = writeAttention(writer, block, all, wanted);
  const between = graph.op('Add', [wanted.rows, attended]);
  const hidden = linear.even(writeNorm(writer, block.norm2, between), block.fc1);
  const gelu = graph.op('Gelu', [hidden], {}, contrib);
  const thought = linear.uneven(gelu, scaledOutputs(block.fc2, block.mlpScale));
  return { rows: graph.op('Add', [between, thought]), perPicture: wanted.perPicture };
}

function writeAttention(writer: VitWriter, block: VitBlock, all: TokenRows, wanted: TokenRows): Value {
  const { graph, linear, width, heads } = writer;
  const normed = writeNorm(writer, block.norm1, all.rows);
  const asking = wanted === all ? normed : writeNorm(writer, block.norm1, wanted.rows);
  const pictures = (rows: Value, { perPicture }: TokenRows): Value => writePictures(graph, { rows, perPicture }, width);
  const queries = pictures(linear.even(asking, layerOf(block.qkv, 0, width)), wanted);
  const keys = pictures(linear.even(normed, layerOf(block.qkv, 1, width)), all);
  const values = pictures(linear.even(normed, layerOf(block.qkv, 2, width)), all);
  const mixed = graph.op('MultiHeadAttention', [queries, keys, values], { num_heads: heads }, contrib);
  const rows = graph.op('Reshape', [mixed, graph.ints([-1, width])]);
  return linear.even(rows, scaledOutputs(block.proj, block.attnScale));
}

/** One of several layers of equal size that were trained as one. */
function layerOf({ weight, bias }: Linear, index: number, width: number): Linear {
  return {
    weight: weight.subarray(index * width * width, (index + 1) * width * width),
    bias: bias.subarray(index * width, (index + 1) * width),
  };
}

function writeNorm({ graph, width }: VitWriter, { scale, bias }: Norm, rows: Value): Value {
  const inputs = [rows, graph.constant([width], scale), graph.constant([width], bias)];
  return graph.op('LayerNormalization', inputs, { axis: -1, epsilon: { float: layerNormEpsilon } });
}

/** The class token of every picture. */
function classRows({ graph, width }: VitWriter, tokens: TokenRows): TokenRows {
  const pictures = writePictures(graph, tokens, width);
  const classes = graph.op('Slice', [pictures, graph.ints([0]), graph.ints([1]), graph.ints([1])]);
  return { rows: graph.op('Reshape', [classes, graph.ints([-1, width])]), perPicture: 1 };
}

/** The layer with a layer scale after it as one layer. */
function scaledOutputs({ weight, bias }: Linear, scale: Float32Array): Linear {
  const inputs = weight.length / scale.length;
  return {
    weight: weight.map((value, i) => value * (scale[Math.floor(i / inputs)] as number)),
    bias: bias.map((value, output) => value * (scale[output] as number)),
  };
}
