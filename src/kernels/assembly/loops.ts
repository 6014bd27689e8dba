// AssemblyScript, not TypeScript: `npm run build` makes dist/kernels/loops.wasm of it. Loops over pixels and embeddings for
// which JavaScript has no vector instructions. Addresses are bytes in the module's memory, which the caller lays out; what is
// said to be "read beyond" must lie inside the memory but may hold anything. Sums run in float64 and in the order of the
// plain loop, so that results are its bit for bit.

/**
 * One picture row, scaled along itself.
 *
 * @param source [pixels · 3] bytes; up to 5 are read beyond the last tap
 * @param first [pixels] int32: the source pixel each output pixel begins with
 * @param weights [pixels · count] float64
 * @param out [pixels · 3] float32; one more is written behind
 */
export function scaleRow(
  source: usize,
  first: usize,
  weights: usize,
  count: i32,
  pixels: i32,
  rounded: bool,
  out: usize,
): void {
  for (let pixel = 0; pixel < pixels; pixel++) {
    let from = source + 3 * <usize>load<i32>(first);
    let redGreen = f64x2.splat(0);
    let blue = f64x2.splat(0);
    for (let tap = 0; tap < count; tap++) {
      const weight = v128.load64_splat(weights);
      const bytes = v128.load32_zero(from);
      const words = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(bytes));
      redGreen = f64x2.add(redGreen, f64x2.mul(weight, f64x2.convert_low_i32x4_s(words)));
      blue = f64x2.add(
        blue,
        f64x2.mul(
          weight,
          f64x2.convert_low_i32x4_s(i8x16.shuffle(words, words, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)),
        ),
      );
      from += 3;
      weights += 8;
    }
    const sums = together(redGreen, blue);
    v128.store(out, rounded ? toBytes(sums) : sums);
    first += 4;
    out += 12;
  }
}

/**
 * The weighted sum of rows.
 *
 * @param rows [count] int32 addresses of rows of `length` float32; up to 3 more are read behind each
 * @param weights [count] float64
 * @param out [length] float32; up to 3 more are written behind
 */
export function sumRows(rows: usize, weights: usize, count: i32, length: usize, rounded: bool, out: usize): void {
  const bytes: usize = 4 * length;
  for (let at: usize = 0; at < bytes; at += 16) {
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let row = 0; row < count; row++) {
      const weight = v128.load64_splat(weights + 8 * row);
      const values = v128.load(<usize>load<i32>(rows + 4 * row) + at);
      low = f64x2.add(low, f64x2.mul(weight, f64x2.promote_low_f32x4(values)));
      high = f64x2.add(high, f64x2.mul(weight, f64x2.promote_low_f32x4(upperHalf(values))));
    }
    const sums = together(low, high);
    v128.store(out + at, rounded ? toBytes(sums) : sums);
  }
}

/**
 * (value / 255 - mean) · scale of every pixel, each channel into a row of its own.
 *
 * @param row [pixels · 3] float32 0..255
 * @param means [3] float64
 * @param scales [3] float64
 * @param out 3 addresses of [pixels] float32
 */
export function normaliseRow(
  row: usize,
  pixels: i32,
  means: usize,
  scales: usize,
  red: usize,
  green: usize,
  blue: usize,
): void {
  const redMean = load<f64>(means);
  const greenMean = load<f64>(means, 8);
  const blueMean = load<f64>(means, 16);
  const redScale = load<f64>(scales);
  const greenScale = load<f64>(scales, 8);
  const blueScale = load<f64>(scales, 16);
  for (let pixel = 0; pixel < pixels; pixel++) {
    store<f32>(red, <f32>((<f64>load<f32>(row) / 255 - redMean) * redScale));
    store<f32>(green, <f32>((<f64>load<f32>(row, 4) / 255 - greenMean) * greenScale));
    store<f32>(blue, <f32>((<f64>load<f32>(row, 8) / 255 - blueMean) * blueScale));
    row += 12;
    red += 4;
    green += 4;
    blue += 4;
  }
}

/** Two pairs of float64 as four float32. */
function together(low: v128, high: v128): v128 {
  return i8x16.shuffle(
    f32x4.demote_f64x2_zero(low),
    f32x4.demote_f64x2_zero(high),
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
  );
}

function upperHalf(values: v128): v128 {
  return i8x16.shuffle(values, values, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** The nearest of 0..255, halves up. */
function toBytes(values: v128): v128 {
  // Halves to even, so half of the halves must go up by one. Subtracting is exact; adding a half first would not be.
  const even = f32x4.nearest(values);
  const low = f32x4.eq(f32x4.sub(values, even), f32x4.splat(0.5));
  const nearest = f32x4.add(even, v128.and(low, f32x4.splat(1)));
  return f32x4.pmax(f32x4.pmin(nearest, f32x4.splat(255)), f32x4.splat(0));
}

/**
 * (value - low) · scale of every value, rounded to the nearest of 0..255.
 *
 * @param values [count] float32; up to 3 more are read behind
 * @param out [count] bytes; up to 3 more are written behind
 */
export function paint(values: usize, count: i32, low: f32, scale: f32, out: usize): void {
  const lowest = f32x4.splat(low);
  const factor = f32x4.splat(scale);
  for (const behind = values + 4 * count; values < behind; values += 16, out += 4) {
    const levels = toBytes(f32x4.mul(f32x4.sub(v128.load(values), lowest), factor));
    const words = i32x4.trunc_sat_f32x4_u(levels);
    const halves = i16x8.narrow_i32x4_u(words, words);
    v128.store32_lane(out, i8x16.narrow_i16x8_u(halves, halves), 0);
  }
}

/**
 * Which values reach a threshold inside a mask.
 *
 * @param values [count] float32; up to 15 more are read behind
 * @param mask [count] bytes 0 or 1; up to 15 more are read behind
 * @param out [count] bytes 0 or 1; up to 15 more are written behind
 * @returns whether any does
 */
export function reaching(values: usize, mask: usize, count: i32, threshold: f64, out: usize): bool {
  // In float64, as numbers compare: a threshold may lie between two float32.
  const least = f64x2.splat(threshold);
  let any = i8x16.splat(0);
  for (let left = count; left > 0; left -= 16) {
    let reached = i8x16.narrow_i16x8_s(
      i16x8.narrow_i32x4_s(fourReach(v128.load(values), least), fourReach(v128.load(values, 16), least)),
      i16x8.narrow_i32x4_s(fourReach(v128.load(values, 32), least), fourReach(v128.load(values, 48), least)),
    );
    reached = v128.and(reached, v128.load(mask));
    v128.store(out, reached);
    // What lies behind the row is not ours to count.
    if (left < 16) for (let i = left; i < 16; i++) store<u8>(out + i, 0);
    any = v128.or(any, v128.load(out));
    values += 64;
    mask += 16;
    out += 16;
  }
  return v128.any_true(any);
}

/** -1 where it reaches, else 0. */
function fourReach(values: v128, least: v128): v128 {
  const low = f64x2.ge(f64x2.promote_low_f32x4(values), least);
  const high = f64x2.ge(f64x2.promote_low_f32x4(upperHalf(values)), least);
  return i8x16.shuffle(low, high, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}

/**
 * Every byte less the one above it, modulo 256.
 *
 * @param row [count] bytes, as `above`; up to 15 more are read behind each
 * @param out [count] bytes; up to 15 more are written behind
 */
export function differences(row: usize, above: usize, count: i32, out: usize): void {
  for (const behind = row + count; row < behind; row += 16, above += 16, out += 16) {
    v128.store(out, i8x16.sub(v128.load(row), v128.load(above)));
  }
}

/** [length] float32 → the sum of squares, as {@link squaredDistance} adds up. */
export function squaredLength(row: usize, length: i32): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  const behind = row + 4 * (length & ~3);
  for (; row < behind; row += 16) {
    const values = v128.load(row);
    const first = f64x2.promote_low_f32x4(values);
    const second = f64x2.promote_low_f32x4(upperHalf(values));
    low = f64x2.add(low, f64x2.mul(first, first));
    high = f64x2.add(high, f64x2.mul(second, second));
  }
  let sum = f64x2.extract_lane(low, 0);
  for (let i = length & 3; i > 0; i--, row += 4) sum += <f64>load<f32>(row) * <f64>load<f32>(row);
  return sum + f64x2.extract_lane(low, 1) + (f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1));
}

/**
 * [length] float32 each → the squared Euclidean distance: four sums, of the elements 0, 4, 8, …, of 1, 5, 9, … and so on; what
 * is left over joins the first.
 */
export function squaredDistance(a: usize, b: usize, length: i32): f64 {
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  const behind = a + 4 * (length & ~3);
  for (; a < behind; a += 16, b += 16) {
    const left = v128.load(a);
    const right = v128.load(b);
    const first = f64x2.sub(f64x2.promote_low_f32x4(left), f64x2.promote_low_f32x4(right));
    const second = f64x2.sub(f64x2.promote_low_f32x4(upperHalf(left)), f64x2.promote_low_f32x4(upperHalf(right)));
    low = f64x2.add(low, f64x2.mul(first, first));
    high = f64x2.add(high, f64x2.mul(second, second));
  }
  let sum = f64x2.extract_lane(low, 0);
  for (let i = length & 3; i > 0; i--, a += 4, b += 4) {
    const difference = <f64>load<f32>(a) - <f64>load<f32>(b);
    sum += difference * difference;
  }
  return sum + f64x2.extract_lane(low, 1) + (f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1));
}

/** Multiplies [length] float32 in place, in float64; up to 3 more are changed behind. */
export function scaleInPlace(row: usize, length: i32, factor: f64): void {
  const scale = f64x2.splat(factor);
  const behind = row + 4 * length;
  for (; row < behind; row += 16) {
    const values = v128.load(row);
    v128.store(
      row,
      together(
        f64x2.mul(scale, f64x2.promote_low_f32x4(values)),
        f64x2.mul(scale, f64x2.promote_low_f32x4(upperHalf(values))),
      ),
    );
  }
}
