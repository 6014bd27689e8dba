/** A decoded picture: 8-bit RGB, row-major, interleaved. `data.length === height · width · 3`. */
export interface RgbImage {
  readonly height: number;
  readonly width: number;
  readonly data: Uint8Array;
}

/** One channel of 8 bits, row-major. */
export interface GrayImage {
  readonly height: number;
  readonly width: number;
  readonly data: Uint8Array;
}
