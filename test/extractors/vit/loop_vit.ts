import { resizePositions } from '../../../src/extractors/vit/position_embedding.ts';
import type { Linear, Norm, VitBlock, VitWeights } from '../../../src/extractors/vit/vit_weights.ts';

/**
 * A vision transformer in plain loops over double precision numbers, one picture at a time: slow, and easy to compare with
 * the papers (Dosovitskiy et al. 2021, arXiv:2010.11929; layer scale: Touvron et al. 2021, arXiv:2103.17239; registers:
 * Darcet et al. 2023, arXiv:2309.16588).
 */

type Row = readonly number[];

export interface LoopVitResult {
  /** [patches][width · blocks], concatenated. */
  readonly tokens: readonly number[];
  readonly imageVector: readonly number[];
}

/**
 * @param input [3, height, width]
 * @param kept the patches that go on behind their embedding, in this order; absent: all
 */
export function runLoopVit(
  weights: VitWeights,
  input: Float32Array,
  size: { readonly height: number; readonly width: number },
  blocks: readonly number[],
  kept?: readonly number[],
): LoopVitResult {
  const others = 1 + weights.registers.length / weights.width;
  const embedded = embed(weights, input, size);
  const patchTokens = embedded.slice(others);
  let tokens: readonly Row[] = [
    ...embedded.slice(0, others),
    ...(kept === undefined ? patchTokens : kept.map((patch) => patchTokens[patch] as Row)),
  ];
  const after = weights.blocks.map((block) => {
    tokens = runBlock(block, weights.heads, tokens);
    return tokens;
  });
  const patches = tokens
    .slice(others)
    .map((_, patch) => blocks.flatMap((block) => after[block]?.[others + patch] ?? []));
  return { tokens: patches.flat(), imageVector: norm(weights.norm, tokens[0] as Row) };
}

function embed(weights: VitWeights, input: Float32Array, size: { height: number; width: number }): readonly Row[] {
  const { width, patchSize, patch, classToken, registers, positionGrid } = weights;
  const grid = { rows: size.height / patchSize, cols: size.width / patchSize };
  const positions = resizePositions(weights.positions, positionGrid, grid, width);
  const tokens: Row[] = [[...classToken]];
  for (let start = 0; start < registers.length; start += width) {
    tokens.push([...registers.subarray(start, start + width)]);
  }
  for (let row = 0; row < grid.rows; row++) {
    for (let col = 0; col < grid.cols; col++) {
      const pixels: number[] = [];
      for (let channel = 0; channel < 3; channel++) {
        for (let y = row * patchSize; y < (row + 1) * patchSize; y++) {
          for (let x = col * patchSize; x < (col + 1) * patchSize; x++) {
            pixels.push(input[(channel * size.height + y) * size.width + x] as number);
          }
        }
      }
      const at = (row * grid.cols + col) * width;
      tokens.push(linear(patch, pixels).map((value, i) => value + (positions[at + i] as number)));
    }
  }
  return tokens;
}

function runBlock(block: VitBlock, heads: number, tokens: readonly Row[]): readonly Row[] {
  const attended = attention(
    tokens.map((token) => linear(block.qkv, norm(block.norm1, token))),
    heads,
  );
  return tokens.map((token, t) => {
    const between = addScaled(token, linear(block.proj, attended[t] as Row), block.attnScale);
    const hidden = linear(block.fc1, norm(block.norm2, between)).map(gelu);
    return addScaled(between, linear(block.fc2, hidden), block.mlpScale);
  });
}

/** @param joined of every token: its queries, keys and values, each head by head */
function attention(joined: readonly Row[], heads: number): readonly Row[] {
  const width = (joined[0]?.length ?? 0) / 3;
  const headWidth = width / heads;
  return joined.map((asking) => {
    const mixed = new Array<number>(width).fill(0);
    for (let head = 0; head < heads; head++) {
      const start = head * headWidth;
      const query = asking.slice(start, start + headWidth);
      const logits = joined.map(
        (token) => dot(query, token.slice(width + start, width + start + headWidth)) / Math.sqrt(headWidth),
      );
      const shares = softmax(logits);
      for (const [t, token] of joined.entries()) {
        for (let i = 0; i < headWidth; i++) {
          mixed[start + i] =
            (mixed[start + i] as number) + (shares[t] as number) * (token[2 * width + start + i] as number);
        }
      }
    }
    return mixed;
  });
}

function linear({ weight, bias }: Linear, x: Row): Row {
  return Array.from(bias, (value, output) => {
    let sum = value;
    for (let i = 0; i < x.length; i++) sum += (weight[output * x.length + i] as number) * (x[i] as number);
    return sum;
  });
}

function norm({ scale, bias }: Norm, x: Row): Row {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return x.map(
    (value, i) => ((value - mean) / Math.sqrt(variance + 1e-6)) * (scale[i] as number) + (bias[i] as number),
  );
}

function addScaled(x: Row, addend: Row, scale: Float32Array): Row {
  return x.map((value, i) => value + (addend[i] as number) * (scale[i] as number));
}

function dot(a: Row, b: Row): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
}

function softmax(logits: Row): Row {
  const greatest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - greatest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function gelu(x: number): number {
  return (x * (1 + erf(x / Math.SQRT2))) / 2;
}

/** Maclaurin's series, good to 1e-9 up to 4; beyond, erf is ±1 to 2e-8. */
function erf(x: number): number {
  if (Math.abs(x) > 4) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; n < 80; n++) {
    term *= -(x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
