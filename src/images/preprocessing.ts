/**
 * How a picture becomes the network's input. Part of the fingerprint: change a value and every memory made before is
 * refused.
 */
export interface Preprocessing {
  /** The network's input size in pixels. */
  readonly height: number;
  readonly width: number;
  /** `letterbox`: aspect ratio kept, centred, padded with black. `stretch`: both axes scaled to fill. */
  readonly fit: 'letterbox' | 'stretch';
  /** `bicubic`: a = -0.5, antialiased when shrinking. `area`: box average when shrinking, bilinear when growing. */
  readonly resample: 'bicubic' | 'area';
  /** Channel order of the input tensor. */
  readonly colorOrder: 'rgb' | 'bgr';
  /** Applied to values 0..1: (v - mean) / std, one number per channel in the tensor's order. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** One prepared input: [3, height, width] float32 as the preprocessing says. */
export interface NetworkInput {
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}
