import type { InspectionError } from '../../errors.ts';
import { invalidWeights, openSafetensors, quotedName, type SafetensorsFile } from './safetensors.ts';
import type { Linear, Norm, VitBlock, VitWeights } from './vit_weights.ts';

export type VitFamily = 'vit_small' | 'vit_base' | 'vit_large';

/** Whose names the tensors have: timm's, those of Hugging Face transformers, or those of facebookresearch/dinov2. */
export type VitNaming = 'timm' | 'huggingface' | 'meta';

/** Which of the published models it is. */
export interface VitVariant {
  /** null for a model of another size. */
  readonly family: VitFamily | null;
  /** Number of register tokens. */
  readonly registers: number;
  readonly naming: VitNaming;
  /** As timm calls it, such as `vit_small_patch14_reg4_dinov2.lvd142m`; usable as a model card's name. */
  readonly suggestedName: string;
}

export interface VitWeightsFile {
  readonly weights: VitWeights;
  /** Of the file, lower-case hex. */
  readonly sha256: string;
  readonly variant: VitVariant;
}

export interface ReadVitOptions {
  /** For models of other sizes than the published ones, whose heads are 64 wide; must divide the width. */
  readonly heads?: number;
}

/** All DINOv2 models. */
const patchSize = 14;
const headWidth = 64;
const mlpRatio = 4;

const families: readonly { readonly family: VitFamily; readonly width: number; readonly depth: number }[] = [
  { family: 'vit_small', width: 384, depth: 12 },
  { family: 'vit_base', width: 768, depth: 12 },
  { family: 'vit_large', width: 1024, depth: 24 },
];

/** The giant's MLP is gated (SwiGLU): another network. */
const giantWidth = 1536;
const gatedMlp = /\.mlp\.(w12|w3|weights_in|weights_out)\./;

/** The names of a model's parts: norms and linear layers without `.weight` and `.bias`. */
interface PartNames {
  readonly classToken: string;
  /** The first that is there. */
  readonly registers: readonly string[];
  readonly positions: string;
  readonly patch: string;
  readonly blocks: string;
  readonly norm1: string;
  /** One joined layer, or those whose outputs follow each other. */
  readonly qkv: readonly string[];
  readonly proj: string;
  readonly attnScale: string;
  readonly norm2: string;
  readonly fc1: string;
  readonly fc2: string;
  readonly mlpScale: string;
  readonly norm: string;
}

/**
 * timm's names: timm/models/vision_transformer.py of huggingface/pytorch-image-models. Meta's (facebookresearch/dinov2,
 * dinov2/models/vision_transformer.py) differ in the registers' name and in `mask_token`.
 */
const timmRegisters = 'reg_token';
const metaRegisters = 'register_tokens';
const timmNames: PartNames = {
  classToken: 'cls_token',
  registers: [timmRegisters, metaRegisters],
  positions: 'pos_embed',
  patch: 'patch_embed.proj',
  blocks: 'blocks',
  norm1: 'norm1',
  qkv: ['attn.qkv'],
  proj: 'attn.proj',
  attnScale: 'ls1.gamma',
  norm2: 'norm2',
  fc1: 'mlp.fc1',
  fc2: 'mlp.fc2',
  mlpScale: 'ls2.gamma',
  norm: 'norm',
};

/** Source: models/dinov2_with_registers/convert_dinov2_with_registers_to_hf.py of huggingface/transformers. */
const huggingfaceNames: PartNames = {
  classToken: 'embeddings.cls_token',
  registers: ['embeddings.register_tokens'],
  positions: 'embeddings.position_embeddings',
  patch: 'embeddings.patch_embeddings.projection',
  blocks: 'encoder.layer',
  norm1: 'norm1',
  qkv: ['attention.attention.query', 'attention.attention.key', 'attention.attention.value'],
  proj: 'attention.output.dense',
  attnScale: 'layer_scale1.lambda1',
  norm2: 'norm2',
  fc1: 'mlp.fc1',
  fc2: 'mlp.fc2',
  mlpScale: 'layer_scale2.lambda1',
  norm: 'layernorm',
};

/** Tensors that no patch embedding depends on. Any other unknown one would change the network, so it is refused. */
const needless = /^(?:(?:embeddings\.)?mask_token$|(?:head|classifier|linear_head|dino_head|ibot_head)\.)/;

/** Meta's training code keeps blocks in chunks: `blocks.<chunk>.<block>.`, blocks counted through. */
const chunk = /^(blocks)\.\d+(?=\.\d+\.)/;

/**
 * Reads the published weights of a DINOv2 small, base or large, with or without registers, from a safetensors file in
 * one of three namings; a prefix before all names (`backbone.`, `dinov2.`, ...) and classifier heads do not matter.
 *
 * Reads the file once; takes the memory of its weights in float32 (1.2 GB for the large model) and some milliseconds
 * of the calling thread for each 4 MiB.
 *
 * @returns every array fills a buffer of its own, so that it may be moved to another thread
 * @throws InspectionError `invalid_weights` when the file is not there, damaged, of another format or another model;
 *   names the tensor with its shape and the expected one
 *
 * Sources: Oquab et al. 2023, arXiv:2304.07193; Darcet et al. 2023, arXiv:2309.16588.
 */
export async function readVitWeights(path: string, options: ReadVitOptions = {}): Promise<VitWeightsFile> {
  const file = await openSafetensors(path);
  try {
    const model = findModel(file);
    const { family, width, depth, heads } = sizeOf(model, options.heads);
    const claims = createClaims(model, width);
    const { classToken, classPositions, allPositions, side, ...rest } = claimParts(model, claims, width, depth);
    requireAllClaimed(model, claims);
    const sha256 = await file.read(claims.destinations);

    for (let i = 0; i < classPositions * width; i++) {
      classToken[i] = (classToken[i] as number) + (allPositions[i] as number);
    }
    const weights: VitWeights = {
      ...rest,
      width,
      heads,
      patchSize,
      classToken,
      positionGrid: { rows: side, cols: side },
      positions: allPositions.slice(classPositions * width),
    };
    const registers = rest.registers.length / width;
    const suggestedName = nameOf(family, width, depth, registers);
    return { weights, sha256, variant: { family, registers, naming: model.naming, suggestedName } };
  } finally {
    await file.close();
  }
}

function nameOf(family: VitFamily | null, width: number, depth: number, registers: number): string {
  const size = family ?? `vit_${width}x${depth}`;
  const trainedOn = family === null ? '' : '.lvd142m';
  return `${size}_patch${patchSize}${registers === 0 ? '' : `_reg${registers}`}_dinov2${trainedOn}`;
}

/** The tensors of one model in a file. */
interface ModelTensors {
  readonly file: SafetensorsFile;
  readonly names: PartNames;
  readonly naming: VitNaming;
  /** Before every name of the model, with its dot; may be empty. */
  readonly prefix: string;
  /** By name without prefix and chunk: the name in the file. */
  readonly fullNames: ReadonlyMap<string, string>;
}

function refusal({ fileName }: SafetensorsFile, what: string): InspectionError {
  return invalidWeights(fileName, what);
}

function findModel(file: SafetensorsFile): ModelTensors {
  const { names, prefix } = findNames(file);
  const fullNames = new Map<string, string>();
  for (const fullName of file.tensors.keys()) {
    if (!fullName.startsWith(prefix)) continue;
    const name = fullName.slice(prefix.length).replace(chunk, '$1');
    const other = fullNames.get(name);
    if (other !== undefined) {
      throw refusal(
        file,
        `the tensors ${quotedName(other)} and ${quotedName(fullName)} are the same part of the model`,
      );
    }
    fullNames.set(name, fullName);
  }
  return { file, names, naming: namingOf(names, fullNames), prefix, fullNames };
}

/** The patch embedding tells the naming and the prefix. */
function findNames(file: SafetensorsFile): { readonly names: PartNames; readonly prefix: string } {
  const found = [...file.tensors.keys()].flatMap((fullName) =>
    [timmNames, huggingfaceNames].flatMap((names) => {
      const ending = `${names.patch}.weight`;
      const prefix = fullName.slice(0, -ending.length);
      return fullName.endsWith(ending) && (prefix === '' || prefix.endsWith('.')) ? [{ names, prefix }] : [];
    }),
  );
  // Training checkpoints hold two networks; the teacher is the one that is published and evaluated.
  const [only, second] = found.length > 1 ? found.filter(({ prefix }) => prefix.startsWith('teacher.')) : found;
  if (only !== undefined && second === undefined) return only;
  if (found.length > 1) {
    const prefixes = found
      .slice(0, 4)
      .map(({ prefix }) => quotedName(prefix))
      .join(', ');
    throw refusal(
      file,
      `it holds ${found.length} networks, with prefixes such as ${prefixes}: save one of them by itself`,
    );
  }
  const [example] = file.tensors.keys();
  throw refusal(
    file,
    `it has no tensor '${timmNames.patch}.weight' (timm, Meta) or '${huggingfaceNames.patch}.weight' (Hugging Face)${example === undefined ? ' nor any other' : `; its first one is ${quotedName(example)}`}: give the weights of a DINOv2 model`,
  );
}

function namingOf(names: PartNames, fullNames: ReadonlyMap<string, string>): VitNaming {
  if (names === huggingfaceNames) return 'huggingface';
  return fullNames.has(metaRegisters) || fullNames.has('mask_token') ? 'meta' : 'timm';
}

interface ModelSize {
  readonly family: VitFamily | null;
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
}

function sizeOf(model: ModelTensors, wantedHeads: number | undefined): ModelSize {
  const { file, names, fullNames } = model;
  const patchName = `${names.patch}.weight`;
  const patchShape = shapeOf(model, patchName);
  const [width = 0, channels, height, across] = patchShape;
  if (patchShape.length !== 4 || width < 1 || channels !== 3 || height !== patchSize || across !== patchSize) {
    throw refusal(
      file,
      `${titleOf(model, patchName)} has the shape ${shapeText(patchShape)}, DINOv2's is [width, 3, ${patchSize}, ${patchSize}]: its patches are ${patchSize} pixels wide, those of other vision transformers (DINO, DINOv3, ...) are not`,
    );
  }
  const gated = [...fullNames.keys()].find((name) => gatedMlp.test(name));
  if (width === giantWidth || gated !== undefined) {
    throw refusal(
      file,
      `it seems to be DINOv2's giant model, with a gated MLP (${titleOf(model, gated ?? patchName)}, width ${width}), which is not read: give the small, base or large one`,
    );
  }
  const depth = depthOf(model);
  const family = families.find((known) => known.width === width && known.depth === depth)?.family ?? null;
  if (family === null && wantedHeads === undefined) {
    const known = families.map((one) => `${one.family} (${one.depth} blocks of width ${one.width})`).join(', ');
    throw refusal(file, `it has ${depth} blocks of width ${width}; read are ${known}`);
  }
  const heads = wantedHeads ?? width / headWidth;
  if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) {
    throw refusal(file, `its width ${width} cannot be shared by ${heads} heads`);
  }
  return { family, width, depth, heads };
}

function depthOf({ file, names, prefix, fullNames }: ModelTensors): number {
  const start = `${names.blocks}.`;
  const found = new Set<number>();
  for (const name of fullNames.keys()) {
    const number = name.startsWith(start) ? /^\d+(?=\.)/.exec(name.slice(start.length)) : null;
    if (number !== null) found.add(Number(number[0]));
  }
  for (let block = 0; block < Math.max(1, found.size); block++) {
    if (found.has(block)) continue;
    const missing = quotedName(`${prefix}${names.blocks}.${block}.${names.norm1}.weight`);
    throw refusal(file, `its ${found.size} blocks lack block ${block} (no tensor ${missing}): give the whole model`);
  }
  return found.size;
}

function titleOf({ prefix, fullNames }: ModelTensors, name: string): string {
  return `the tensor ${quotedName(fullNames.get(name) ?? prefix + name)}`;
}

function shapeText(shape: readonly (number | string)[]): string {
  const shown = shape.length > 8 ? [...shape.slice(0, 8), '…'] : shape;
  return `[${shown.join(', ')}]`;
}

function shapeOf(model: ModelTensors, name: string): readonly number[] {
  const fullName = model.fullNames.get(name);
  const info = fullName === undefined ? undefined : model.file.tensors.get(fullName);
  if (info === undefined) {
    throw refusal(model.file, `${titleOf(model, name)} is missing: give the whole DINOv2 model as it was published`);
  }
  return info.shape;
}

function requireShape(model: ModelTensors, name: string, expected: readonly number[]): void {
  const found = shapeOf(model, name);
  if (found.length === expected.length && found.every((length, axis) => length === expected[axis])) return;
  throw refusal(
    model.file,
    `${titleOf(model, name)} has the shape ${shapeText(found)}, expected is ${shapeText(expected)}`,
  );
}

/** Hands out arrays for the tensors of a file, to be filled when it is read. */
interface Claims {
  tensor(name: string, shape: readonly number[]): Float32Array;
  norm(name: string): Norm;
  /** @param layers equal ones, whose outputs follow each other in one */
  linear(layers: readonly string[], outputs: number, inputs: readonly number[]): Linear;
  /** By name in the file. */
  readonly destinations: ReadonlyMap<string, Float32Array>;
}

/** Every shape is checked before its array is made, so that the arrays never outgrow the file. */
function createClaims(model: ModelTensors, width: number): Claims {
  const destinations = new Map<string, Float32Array>();
  const claim = (name: string, values: Float32Array): void => {
    destinations.set(model.fullNames.get(name) as string, values);
  };
  const tensor = (name: string, shape: readonly number[]): Float32Array => {
    requireShape(model, name, shape);
    const values = new Float32Array(product(shape));
    claim(name, values);
    return values;
  };
  return {
    tensor,
    norm: (name) => ({ scale: tensor(`${name}.weight`, [width]), bias: tensor(`${name}.bias`, [width]) }),
    linear: (layers, outputs, inputs) => {
      const each = outputs / layers.length;
      for (const layer of layers) {
        requireShape(model, `${layer}.weight`, [each, ...inputs]);
        requireShape(model, `${layer}.bias`, [each]);
      }
      const weight = new Float32Array(outputs * product(inputs));
      const bias = new Float32Array(outputs);
      const weightsEach = each * product(inputs);
      for (const [i, layer] of layers.entries()) {
        claim(`${layer}.weight`, weight.subarray(i * weightsEach, (i + 1) * weightsEach));
        claim(`${layer}.bias`, bias.subarray(i * each, (i + 1) * each));
      }
      return { weight, bias };
    },
    destinations,
  };
}

/** The arrays of a model as they stand in its file, not yet filled. */
interface VitParts extends Pick<VitWeights, 'patch' | 'registers' | 'blocks' | 'norm'> {
  /** [width] */
  readonly classToken: Float32Array;
  /** 1: the class token's position comes first in `allPositions`; 0: it is in the class token already. */
  readonly classPositions: 0 | 1;
  /** [classPositions + side², width] */
  readonly allPositions: Float32Array;
  readonly side: number;
}

function claimParts(model: ModelTensors, claims: Claims, width: number, depth: number): VitParts {
  const { names, fullNames } = model;
  const registersName = names.registers.find((name) => fullNames.has(name));
  const registers = registersName === undefined ? 0 : tokensOf(model, registersName, width);
  // timm adds the class token's position to the token when it converts a model with registers.
  const classPositions = registersName === timmRegisters ? 0 : 1;
  const positions = tokensOf(model, names.positions, width);
  return {
    patch: claims.linear([names.patch], width, [3, patchSize, patchSize]),
    classToken: claims.tensor(names.classToken, [1, 1, width]),
    classPositions,
    registers: registersName === undefined ? new Float32Array(0) : claims.tensor(registersName, [1, registers, width]),
    allPositions: claims.tensor(names.positions, [1, positions, width]),
    side: gridSide(model, positions, classPositions),
    blocks: Array.from({ length: depth }, (_, block) => claimBlock(names, claims, width, block)),
    norm: claims.norm(names.norm),
  };
}

function claimBlock(names: PartNames, claims: Claims, width: number, block: number): VitBlock {
  const name = (part: string): string => `${names.blocks}.${block}.${part}`;
  return {
    norm1: claims.norm(name(names.norm1)),
    qkv: claims.linear(names.qkv.map(name), 3 * width, [width]),
    proj: claims.linear([name(names.proj)], width, [width]),
    attnScale: claims.tensor(name(names.attnScale), [width]),
    norm2: claims.norm(name(names.norm2)),
    fc1: claims.linear([name(names.fc1)], mlpRatio * width, [width]),
    fc2: claims.linear([name(names.fc2)], width, [mlpRatio * width]),
    mlpScale: claims.tensor(name(names.mlpScale), [width]),
  };
}

function requireAllClaimed(model: ModelTensors, { destinations }: Claims): void {
  for (const [name, fullName] of model.fullNames) {
    if (destinations.has(fullName) || needless.test(name)) continue;
    throw refusal(
      model.file,
      `${titleOf(model, name)} is no part of a DINOv2 model: give the model as it was published`,
    );
  }
}

function product(shape: readonly number[]): number {
  return shape.reduce((count, length) => count * length, 1);
}

/** The tokens of [1, tokens, width]. */
function tokensOf(model: ModelTensors, name: string, width: number): number {
  const shape = shapeOf(model, name);
  const [one, tokens, cols] = shape;
  if (shape.length === 3 && one === 1 && tokens !== undefined && cols === width) return tokens;
  throw refusal(
    model.file,
    `${titleOf(model, name)} has the shape ${shapeText(shape)}, expected is [1, tokens, ${width}]`,
  );
}

function gridSide(model: ModelTensors, positions: number, classPositions: number): number {
  const side = Math.sqrt(positions - classPositions);
  if (Number.isInteger(side) && side > 0) return side;
  const kinds = classPositions === 0 ? 'a square number of patches' : 'the class token and a square number of patches';
  throw refusal(
    model.file,
    `${titleOf(model, model.names.positions)} has ${positions} positions; expected is one each for ${kinds}, such as ${37 * 37 + classPositions}`,
  );
}
