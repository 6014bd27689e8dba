import type { PatchGrid } from '../../patchcore/grid.ts';

/** A linear layer as trained: y = W x + b. */
export interface Linear {
  /** [outputs, inputs] row-major. */
  readonly weight: Float32Array;
  /** [outputs] */
  readonly bias: Float32Array;
}

/** Layer norm's affine part. */
export interface Norm {
  /** [width] */
  readonly scale: Float32Array;
  /** [width] */
  readonly bias: Float32Array;
}

/** One pre-norm transformer block: x += attnScale · proj(attention(norm1 x)); x += mlpScale · fc2(gelu(fc1(norm2 x))). */
export interface VitBlock {
  readonly norm1: Norm;
  /** Outputs: queries of all heads, then keys, then values; 3 · width. */
  readonly qkv: Linear;
  readonly proj: Linear;
  /** [width] layer scale after the attention. */
  readonly attnScale: Float32Array;
  readonly norm2: Norm;
  readonly fc1: Linear;
  readonly fc2: Linear;
  /** [width] layer scale after the MLP. */
  readonly mlpScale: Float32Array;
}

/**
 * A DINOv2 vision transformer's weights in one form, whoever published them (Oquab et al. 2023, arXiv:2304.07193;
 * registers: Darcet et al. 2023, arXiv:2309.16588).
 */
export interface VitWeights {
  readonly width: number;
  readonly heads: number;
  /** Side of a patch in input pixels. */
  readonly patchSize: number;
  /** inputs: 3 · patchSize², channel by channel, row-major. */
  readonly patch: Linear;
  /** [width] the class token with its own position added. */
  readonly classToken: Float32Array;
  /** [registers · width] tokens without positions, after the class token; empty without registers. */
  readonly registers: Float32Array;
  /** The grid that the positions were trained for. */
  readonly positionGrid: PatchGrid;
  /** [rows · cols · width] of positionGrid, patches only. */
  readonly positions: Float32Array;
  readonly blocks: readonly VitBlock[];
  /** The norm after the last block. */
  readonly norm: Norm;
}
