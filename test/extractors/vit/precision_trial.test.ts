import { describe, expect, it } from 'vitest';
import { agrees, tryPrecisions } from '../../../src/extractors/vit/precision_trial.ts';
import { createGraph } from '../../../src/onnx/onnx_graph.ts';

/** tokens [1, 2, 2]: the first two pixels of a 1 × 2 picture as rows (red, green), the second row turned by `angle`. */
function turningGraph(angle: number): Uint8Array {
  const graph = createGraph('turning');
  const input = graph.input('input', 'float32', ['n', 3, 1, 2]);
  const colours = graph.op('Slice', [input, graph.ints([0]), graph.ints([2]), graph.ints([1])]);
  const rows = graph.op('Transpose', [graph.op('Reshape', [colours, graph.ints([0, 2, 2])])], { perm: [0, 2, 1] });
  const row = (index: number) => graph.op('Gather', [rows, graph.ints([index])], { axis: 1 });
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const turned = graph.op('MatMul', [row(1), graph.constant([2, 2], Float32Array.of(cos, sin, -sin, cos))]);
  graph.output(graph.op('Concat', [row(0), turned], { axis: 1 }), 'tokens', 'float32', ['n', 2, 2]);
  return graph.encode();
}

const picture = { height: 1, width: 2, data: Float32Array.of(1, 0.5, 2, 1, 0, 0) };

describe('tryPrecisions', () => {
  it('gives the cosine of every patch with its twin', async () => {
    const trial = await tryPrecisions({ fp32: turningGraph(0), int8: turningGraph(Math.PI / 3) }, [picture], 1);
    expect(trial.worstCosine).toBeCloseTo(0.5, 6);
    expect(trial.meanCosine).toBeCloseTo(0.75, 6);
    expect(trial.fp32Ms).toBeGreaterThan(0);
    expect(trial.int8Ms).toBeGreaterThan(0);
    expect(agrees(trial)).toBe(false);
  });

  it('agrees with itself, and tells how far it is', async () => {
    const seen: [number, number][] = [];
    const graph = turningGraph(0.3);
    const trial = await tryPrecisions({ fp32: graph, int8: graph }, [picture, picture], 1, (done, total) => {
      seen.push([done, total]);
    });
    expect(trial.worstCosine).toBeCloseTo(1, 6);
    expect(agrees(trial)).toBe(true);
    expect(seen.at(-1)).toEqual([12, 12]);
  });
});

describe('agrees', () => {
  const trial = { meanCosine: 0.9995, worstCosine: 0.995, fp32Ms: 2, int8Ms: 1 };

  it.each([
    ['both limits kept', trial, true],
    ['the limits themselves', { ...trial, meanCosine: 0.999, worstCosine: 0.99 }, true],
    ['a mean too low', { ...trial, meanCosine: 0.9989 }, false],
    ['one patch too far', { ...trial, worstCosine: 0.9899 }, false],
    ['no number', { ...trial, worstCosine: Number.NaN }, false],
  ])('%s: %#', (_, found, expected) => {
    expect(agrees(found)).toBe(expected);
  });
});
