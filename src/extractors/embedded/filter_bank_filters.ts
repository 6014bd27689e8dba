/**
 * The numbers of the filter bank: filters as flat arrays, and separable steps on a grid as matrices.
 *
 * Every coefficient is rounded to 1e-7 before it is stored as float32. `Math.exp` and `Math.cos` may differ in their
 * last bit between versions of V8 and processors; after the rounding the graph's bytes, and with them the
 * extractor's fingerprint, are the same everywhere. The error is far below what the bank can see.
 */

/** Side of the oriented filters in pixels. */
export const filterSize = 9;
/** Directions kπ/6. */
export const orientations = 6;

const morletWavelength = 4;
const morletSigma = 1.8;
/** Below 1 the envelope is longer along the stripes than across them. */
const morletSlant = 0.6;

const radius = (filterSize - 1) / 2;
const coefficientStep = 1e7;

/** A square filter of `filterSize`², row-major. */
export type Filter = readonly number[];

/**
 * Real and imaginary part of the Morlet wavelet of direction kπ/6:
 * ψ = g · (exp(i ξ u) − K) / (Σg / 2), g = exp(−(u² + slant² v²) / 2σ²), ξ = 2π / wavelength,
 * u = x cos θ + y sin θ, v = y cos θ − x sin θ; K = Σ g exp(iξu) / Σ g makes it zero-mean.
 */
export function morlet(k: number): { readonly real: Filter; readonly imaginary: Filter } {
  const angle = (k * Math.PI) / orientations;
  const cells = filterCells().map(({ x, y }) => {
    const u = x * Math.cos(angle) + y * Math.sin(angle);
    const v = y * Math.cos(angle) - x * Math.sin(angle);
    const envelope = Math.exp(-(u * u + (morletSlant * v) ** 2) / (2 * morletSigma ** 2));
    return { envelope, phase: (2 * Math.PI * u) / morletWavelength };
  });
  const mass = cells.reduce((sum, { envelope }) => sum + envelope, 0);
  const offset = cells.reduce((sum, { envelope, phase }) => sum + envelope * Math.cos(phase), 0) / mass;
  return {
    real: cells.map(({ envelope, phase }) => (2 * envelope * (Math.cos(phase) - offset)) / mass),
    // The sine part is odd: its mean is zero already.
    imaginary: cells.map(({ envelope, phase }) => (2 * envelope * Math.sin(phase)) / mass),
  };
}

/** Gaussian of `inner` sigma (5 taps) minus Gaussian of `outer` sigma (7 taps), in a frame of `filterSize`. */
export function differenceOfGaussians(inner: number, outer: number): Filter {
  const narrow = gaussianTaps(inner, 5);
  const wide = gaussianTaps(outer, 7);
  const tap = (taps: readonly number[], offset: number) => taps[offset + (taps.length - 1) / 2] ?? 0;
  return filterCells().map(({ x, y }) => tap(narrow, x) * tap(narrow, y) - tap(wide, x) * tap(wide, y));
}

/**
 * The filter at each of `phases`² neighbouring pixels, row-major, in a frame of (`filterSize` + `phases` − 1)²: with them a
 * convolution of stride `phases` gives what the filter alone gives at stride 1.
 */
export function phaseFilters(filter: Filter, phases: number): readonly (readonly number[])[] {
  const side = filterSize + phases - 1;
  return Array.from({ length: phases * phases }, (_, phase) => {
    const moved = new Array<number>(side * side).fill(0);
    const start = Math.floor(phase / phases) * side + (phase % phases);
    for (const [index, value] of filter.entries()) {
      moved[start + Math.floor(index / filterSize) * side + (index % filterSize)] = value;
    }
    return moved;
  });
}

/**
 * The Walsh functions of `count` (a power of two) samples, ±1 / count: function k is negative at the samples that share an
 * odd number of bits with k. Function 0 gives the mean, the squares of all others add up to the variance.
 */
export function walshFunctions(count: number): readonly (readonly number[])[] {
  return Array.from({ length: count }, (_, k) =>
    Array.from({ length: count }, (__, sample) => (hasOddBits(k & sample) ? -1 : 1) / count),
  );
}

function hasOddBits(bits: number): boolean {
  let odd = false;
  for (let rest = bits; rest !== 0; rest &= rest - 1) odd = !odd;
  return odd;
}

/** `count` (odd) samples of a Gaussian around its centre; they sum to 1. */
export function gaussianTaps(sigma: number, count: number): readonly number[] {
  const half = (count - 1) / 2;
  const taps = Array.from({ length: count }, (_, index) => Math.exp(-((index - half) ** 2) / (2 * sigma ** 2)));
  const mass = taps.reduce((sum, tap) => sum + tap, 0);
  return taps.map((tap) => tap / mass);
}

/**
 * Gaussian smoothing of `size` samples as a matrix [size, size], row-major; samples beyond the border are mirrored
 * without repeating the edge (reflect-101).
 */
export function smoothingMatrix(size: number, sigma: number, taps: number): readonly number[] {
  const weights = gaussianTaps(sigma, taps);
  const half = (taps - 1) / 2;
  const matrix = new Array<number>(size * size).fill(0);
  for (let row = 0; row < size; row++) {
    weights.forEach((weight, tap) => {
      const reached = Math.abs(row + tap - half);
      const col = reached < size ? reached : 2 * (size - 1) - reached;
      matrix[row * size + col] += weight;
    });
  }
  return matrix;
}

/** Linear interpolation from `from` to `to` samples as a matrix [to, from]; pixel centres at halves, edges held. */
export function interpolationMatrix(from: number, to: number): readonly number[] {
  const matrix = new Array<number>(to * from).fill(0);
  for (let row = 0; row < to; row++) {
    const position = Math.min(Math.max(((row + 0.5) * from) / to - 0.5, 0), from - 1);
    const left = Math.min(Math.floor(position), from - 2);
    matrix[row * from + left] += 1 - (position - left);
    matrix[row * from + left + 1] += position - left;
  }
  return matrix;
}

/** Rows become columns. */
export function transposed(rows: number, cols: number, matrix: readonly number[]): readonly number[] {
  return Array.from({ length: rows * cols }, (_, index) => matrix[(index % rows) * cols + Math.floor(index / rows)]);
}

/** The coefficients as the graph stores them: rounded to 1e-7, never -0. */
export function storedCoefficients(values: readonly number[]): Float32Array {
  return new Float32Array(values.map((value) => Math.round(value * coefficientStep) / coefficientStep + 0));
}

function filterCells(): readonly { readonly x: number; readonly y: number }[] {
  return Array.from({ length: filterSize * filterSize }, (_, index) => ({
    x: (index % filterSize) - radius,
    y: Math.floor(index / filterSize) - radius,
  }));
}
