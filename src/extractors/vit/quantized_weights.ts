/** A linear layer's weights in int8: W[output, input] ≈ scales[output] · data[input, output]. */
export interface QuantizedWeights {
  /** [inputs, outputs], -127..127. */
  readonly data: Int8Array;
  /** [outputs], positive. */
  readonly scales: Float32Array;
}

/**
 * Eight bits, though x64 processors without VNNI would need seven to multiply them exactly (see `int8ProductsAreExact`):
 * seven make two and a half times the squared error.
 */
const largest = 127;

/** An output whose weights are all below this is 0; a scale as small as they need might not be a float32. */
const negligible = 1e-30;

/**
 * Rounds the weights of a linear layer to int8, each output with a scale of its own, and transposes them.
 *
 * @param weight [outputs, inputs] row-major
 */
export function quantizeWeights(weight: Float32Array, outputs: number, inputs: number): QuantizedWeights {
  const data = new Int8Array(weight.length);
  const scales = new Float32Array(outputs);
  for (let output = 0; output < outputs; output++) {
    const row = weight.subarray(output * inputs, (output + 1) * inputs);
    let peak = 0;
    for (const value of row) peak = Math.max(peak, Math.abs(value));
    const scale = peak < negligible ? 1 : peak / largest;
    scales[output] = scale;
    for (let input = 0; input < inputs; input++) {
      data[input * outputs + output] = Math.round((row[input] as number) / scale);
    }
  }
  return { data, scales };
}
