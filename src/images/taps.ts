/** For every output pixel of one axis: where its input pixels begin, and their weights (sum 1). */
export interface Taps<Weights> {
  /** Never falls. */
  readonly first: Int32Array;
  /** [outputs · count]; an output that needs fewer has zeros behind, and these may reach beyond the last input. */
  readonly weights: Weights;
  readonly count: number;
}

/** The predecessor's cubic (Keys with a = -0.5, as Pillow's BICUBIC). */
const cubicA = -0.5;

/** Taps of a cubic, widened when shrinking; their weights in whole numbers. */
export function cubicTaps(inputs: number, outputs: number): Taps<Int16Array> {
  const stretch = Math.max(1, inputs / outputs);
  const taps = makeTaps(inputs, outputs, 2 * stretch, (distance) => cubic(distance / stretch), 2);
  return { ...taps, weights: inHalves(taps.weights) };
}

/** Taps of the covered area when shrinking, of a line when growing. */
export function areaTaps(inputs: number, outputs: number): Taps<Float64Array> {
  const scale = inputs / outputs;
  if (scale <= 1) return makeTaps(inputs, outputs, 1, (distance) => Math.max(0, 1 - Math.abs(distance)));
  // How much of the input pixel at this distance lies inside the output pixel.
  const covered = (distance: number) =>
    Math.max(0, Math.min(distance + 0.5, scale / 2) - Math.max(distance - 0.5, -scale / 2));
  return makeTaps(inputs, outputs, scale / 2 + 0.5, covered);
}

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((cubicA + 2) * x - (cubicA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * cubicA;
  return 0;
}

/** Of every two weights, 22 bits behind the point: both without their lower 11 bits, then both lower 11 bits. */
function inHalves(weights: Float64Array): Int16Array {
  const halves = new Int16Array(2 * weights.length);
  for (let tap = 0; tap < weights.length; tap++) {
    const weight = weights[tap] as number;
    // Halves away from zero, as Pillow does.
    const whole = Math.trunc(weight * 2 ** 22 + (weight < 0 ? -0.5 : 0.5));
    const at = 4 * (tap >> 1) + (tap & 1);
    halves[at] = whole >> 11;
    halves[at + 2] = whole & 0x7ff;
  }
  return halves;
}

/** @param atOnce the count becomes a multiple of this */
function makeTaps(
  inputs: number,
  outputs: number,
  support: number,
  weightAt: (distance: number) => number,
  atOnce = 1,
): Taps<Float64Array> {
  const most = Math.min(inputs, Math.ceil(support) * 2 + 2);
  const froms = new Int32Array(outputs);
  const ends = new Int32Array(outputs);
  const first = new Int32Array(outputs);
  const all = new Float64Array(outputs * most);
  for (let output = 0; output < outputs; output++) {
    const centre = ((output + 0.5) * inputs) / outputs;
    const from = Math.max(0, Math.floor(centre - support + 0.5));
    const to = Math.min(inputs, Math.floor(centre + support + 0.5));
    let sum = 0;
    // Inputs of weight 0 at either end are left out: they would cost a pass for nothing.
    let start = to;
    let end = from;
    for (let input = from; input < to; input++) {
      const weight = weightAt(input + 0.5 - centre);
      all[output * most + input - from] = weight;
      sum += weight;
      if (weight === 0) continue;
      start = Math.min(start, input);
      end = input + 1;
    }
    for (let i = 0; i < to - from; i++) all[output * most + i] = (all[output * most + i] as number) / sum;
    froms[output] = from;
    ends[output] = end;
    first[output] = start;
  }
  // Left out at the picture's edge, an input may still be the next output's first: `first` must not fall.
  let count = 1;
  for (let output = outputs - 1; output >= 0; output--) {
    first[output] = Math.min(first[output] as number, first[output + 1] ?? inputs);
    count = Math.max(count, (ends[output] as number) - (first[output] as number));
  }
  count = Math.ceil(count / atOnce) * atOnce;
  const weights = new Float64Array(outputs * count);
  for (let output = 0; output < outputs; output++) {
    const start = output * most - (froms[output] as number);
    weights.set(all.subarray(start + (first[output] as number), start + (ends[output] as number)), output * count);
  }
  return { first, weights, count };
}
