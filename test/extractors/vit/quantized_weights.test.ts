import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { quantizeWeights } from '../../../src/extractors/vit/quantized_weights.ts';

describe('quantizeWeights', () => {
  it('gives every output its own scale, and the inputs as rows', () => {
    const weight = Float32Array.of(127, -32, 0.4, 0.5, 0, -1);
    const { data, scales } = quantizeWeights(weight, 2, 3);
    expect([...scales]).toEqual([1, Math.fround(1 / 127)]);
    expect([...data]).toEqual([127, 64, -32, 0, 0, -127]);
  });

  it('gives 0 for an output without weights', () => {
    const { data, scales } = quantizeWeights(Float32Array.of(0, 1e-44, -0), 1, 3);
    expect([...data]).toEqual([0, 0, 0]);
    expect([...scales]).toEqual([1]);
  });

  it('is off by half a step at most, and never -128', () => {
    const size = fc.integer({ min: 1, max: 6 });
    const numbers = fc.infiniteStream(fc.float({ min: -1e3, max: 1e3, noNaN: true }));
    fc.assert(
      fc.property(size, size, numbers, (outputs, inputs, stream) => {
        const weight = Float32Array.from({ length: outputs * inputs }, () => stream.next().value as number);
        const { data, scales } = quantizeWeights(weight, outputs, inputs);
        for (let output = 0; output < outputs; output++) {
          const scale = scales[output] as number;
          for (let input = 0; input < inputs; input++) {
            const value = data[input * outputs + output] as number;
            const error = Math.abs(value * scale - (weight[output * inputs + input] as number));
            expect(error).toBeLessThanOrEqual(scale * 0.5001);
            expect(value).toBeGreaterThanOrEqual(-127);
          }
        }
      }),
    );
  });
});
