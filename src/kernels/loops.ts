import { readFileSync } from 'node:fs';

/** What Node has and its types (without a browser's) lack. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Memory: new (pages: { readonly initial: number }) => { readonly buffer: ArrayBuffer };
  readonly Instance: new (module: object, imports: object) => { readonly exports: object };
};

/** The loops of `assembly/`, which describes each, and the memory their addresses are of. */
export interface Loops {
  readonly memory: { readonly buffer: ArrayBuffer };
  scaleRow(source: number, first: number, weights: number, count: number, pixels: number, out: number): void;
  sumRows(rows: number, weights: number, count: number, length: number, out: number): void;
  scaleByteRow(source: number, first: number, weights: number, count: number, pixels: number, out: number): void;
  sumByteRows(rows: number, weights: number, count: number, length: number, out: number): void;
  normaliseRow(
    row: number,
    pixels: number,
    means: number,
    scales: number,
    red: number,
    green: number,
    blue: number,
  ): void;
  lookUpRow(row: number, pixels: number, tables: number, red: number, green: number, blue: number): void;
  pickBetween(values: number, count: number, least: number, most: number, out: number, below: number): number;
  paint(values: number, count: number, low: number, scale: number, out: number): void;
  reaching(values: number, mask: number, count: number, threshold: number, out: number): number;
  differences(row: number, above: number, count: number, out: number): void;
  adler32(bytes: number, count: number, sum: number): number;
  sumBytes(bytes: number, count: number): number;
  squaredLength(row: number, length: number): number;
  squaredDistance(a: number, b: number, length: number): number;
  scaleInPlace(row: number, length: number, factor: number): void;
  subtractInPlace(row: number, other: number, length: number): void;
  largestMagnitude(row: number, length: number): number;
  toSteps(row: number, length: number, step: number, zero: number, out: number): number;
  approachPicks(
    dots: number,
    rows: number,
    picks: number,
    squares: number,
    pickSquares: number,
    equalShare: number,
    nearest: number,
  ): void;
  bestOfOthers(
    dots: number,
    rows: number,
    picks: number,
    firstRow: number,
    firstPick: number,
    pictures: number,
    best: number,
    bestPick: number,
    pickPictures: number,
    bestOfPick: number,
    bestRow: number,
  ): void;
}

/** What loops may read or write behind an array. */
export const loopSlack = 16;

const pageBytes = 65536;

let module: object | null = null;
let largest: Loops | null = null;

/**
 * The loops with at least so much memory, from address 0 on. What one caller lays down there the next one overwrites: use
 * them within one step, without waiting in between. A thread keeps the largest memory it needed.
 *
 * Cost: a millisecond at the first call, a tenth whenever more memory is needed than before. The memory is then another one:
 * growing it would detach its arrays, after which V8 checks at every access to any array of the thread whether it is still
 * there.
 */
export function loopsWith(bytes: number): Loops {
  const needed = bytes + loopSlack;
  if (largest === null || largest.memory.buffer.byteLength < needed) {
    module ??= new WebAssembly.Module(readFileSync(moduleUrl()));
    const memory = new WebAssembly.Memory({ initial: 2 ** Math.ceil(Math.log2(needed / pageBytes + 1)) });
    largest = { memory, ...new WebAssembly.Instance(module, { env: { memory } }).exports } as Loops;
  }
  return largest;
}

/** Run from source (scripts, tests), the build's module is used: it is made of another language. */
function moduleUrl(): URL {
  return new URL(`${import.meta.url.endsWith('.ts') ? '../../dist/kernels/' : './'}loops.wasm`, import.meta.url);
}

/**
 * Lays arrays out one behind the other: each call gives the address of the next so many bytes, a multiple of 16 as loops and
 * typed arrays want it.
 *
 * @param from where the first one lies, a multiple of 16
 */
export function layout(from = 0): (bytes: number) => number {
  let next = from;
  return (bytes) => {
    const address = next;
    next = inSixteens(next + bytes);
    return address;
  };
}

export function inSixteens(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}
