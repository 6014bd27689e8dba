// AssemblyScript, not TypeScript: `npm run build` makes dist/kernels/loops.wasm of it. Loops over pixels and embeddings for
// which JavaScript has no vector instructions. Addresses are bytes in the module's memory, which the caller lays out; what is
// said to be "read beyond" must lie inside the memory but may hold anything. Sums run in float64 and in the order of the
// plain loop, so that results are its bit for bit.

// biome-ignore lint/correctness/useImportExtensions: AssemblyScript adds the extension itself.
export { largestMagnitude, subtractInPlace, toSteps } from './int8_loops';

/**
 * One picture row, scaled along itself.
 *
 * @param source [pixels · 3] bytes; up to 5 are read beyond the last tap
 * @param first [pixels] int32: the source pixel each output pixel begins with
 * @param weights [pixels · count] float64
 * @param out [pixels · 3] float32; one more is written behind
 */
export function scaleRow(source: usize, first: usize, weights: usize, count: i32, pixels: i32, out: usize): void {
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
    v128.store(out, together(redGreen, blue));
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
export function sumRows(rows: usize, weights: usize, count: i32, length: usize, out: usize): void {
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
    v128.store(out + at, together(low, high));
  }
}

/**
 * {@link scaleRow} in whole numbers: weights of 22 bits behind the point, sums rounded to bytes, halves up.
 *
 * @param source [pixels · 3] bytes; up to 2 are read beyond the last tap
 * @param weights [pixels · count / 2 · 4] int16: of every two weights both upper parts, then both lower 11 bits
 * @param count even
 * @param out [pixels · 3] bytes; one more is written behind
 */
export function scaleByteRow(source: usize, first: usize, weights: usize, count: i32, pixels: i32, out: usize): void {
  for (let pixel = 0; pixel < pixels; pixel++) {
    let from = source + 3 * <usize>load<i32>(first);
    let upper = i32x4.splat(0);
    let lower = i32x4.splat(0);
    for (let tap = 0; tap < count; tap += 2) {
      // Red, green and blue of both pixels side by side, as int16.
      const taps = i8x16.swizzle(
        v128.load64_zero(from),
        i8x16(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1),
      );
      upper = i32x4.add(upper, i32x4.dot_i16x8_s(taps, v128.load32_splat(weights)));
      lower = i32x4.add(lower, i32x4.dot_i16x8_s(taps, v128.load32_splat(weights, 4)));
      from += 6;
      weights += 8;
    }
    const words = i16x8.narrow_i32x4_s(rounded(upper, lower), upper);
    v128.store32_lane(out, i8x16.narrow_i16x8_u(words, words), 0);
    first += 4;
    out += 3;
  }
}

/**
 * {@link sumRows} in whole numbers, as {@link scaleByteRow}.
 *
 * @param rows [count] int32 addresses of rows of `length` bytes; up to 7 more are read behind each
 * @param weights [count / 2 · 4] int16
 * @param count even
 * @param out [length] bytes; up to 7 more are written behind
 */
export function sumByteRows(rows: usize, weights: usize, count: i32, length: usize, out: usize): void {
  for (let at: usize = 0; at < length; at += 8) {
    let upperLeft = i32x4.splat(0);
    let lowerLeft = i32x4.splat(0);
    let upperRight = i32x4.splat(0);
    let lowerRight = i32x4.splat(0);
    for (let tap = 0; tap < count; tap += 2) {
      const above = v128.load64_zero(<usize>load<i32>(rows + 4 * tap) + at);
      const below = v128.load64_zero(<usize>load<i32>(rows + 4 * tap, 4) + at);
      const taps = i8x16.shuffle(above, below, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const left = i16x8.extend_low_i8x16_u(taps);
      const right = i16x8.extend_high_i8x16_u(taps);
      const upper = v128.load32_splat(weights + 4 * tap);
      const lower = v128.load32_splat(weights + 4 * tap, 4);
      upperLeft = i32x4.add(upperLeft, i32x4.dot_i16x8_s(left, upper));
      lowerLeft = i32x4.add(lowerLeft, i32x4.dot_i16x8_s(left, lower));
      upperRight = i32x4.add(upperRight, i32x4.dot_i16x8_s(right, upper));
      lowerRight = i32x4.add(lowerRight, i32x4.dot_i16x8_s(right, lower));
    }
    const words = i16x8.narrow_i32x4_s(rounded(upperLeft, lowerLeft), rounded(upperRight, lowerRight));
    v128.store64_lane(out + at, i8x16.narrow_i16x8_u(words, words), 0);
  }
}

/** Sums of products with 22 bits behind the point, told by their upper parts and their lower 11 bits. */
function rounded(upper: v128, lower: v128): v128 {
  const sums = i32x4.add(i32x4.shl(upper, 11), lower);
  return i32x4.shr_s(i32x4.add(sums, i32x4.splat(1 << 21)), 22);
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

/**
 * A byte's number from a table of its channel, each channel into a row of its own.
 *
 * @param row [pixels · 3] bytes
 * @param tables [3 · 256] float32
 * @param out 3 addresses of [pixels] float32
 */
export function lookUpRow(row: usize, pixels: i32, tables: usize, red: usize, green: usize, blue: usize): void {
  for (let pixel = 0; pixel < pixels; pixel++) {
    store<f32>(red, load<f32>(tables + 4 * <usize>load<u8>(row)));
    store<f32>(green, load<f32>(tables + 4 * <usize>load<u8>(row, 1), 1024));
    store<f32>(blue, load<f32>(tables + 4 * <usize>load<u8>(row, 2), 2048));
    row += 3;
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
 * Picks the values from `least` to `most`, in their order.
 *
 * @param values [count] float32, filled up with NaN to a multiple of 4
 * @param out float32: the picked; up to 4 more are written behind
 * @param below int32: how many are less than `least`
 * @returns how many were picked
 */
export function pickBetween(values: usize, count: i32, least: f32, most: f32, out: usize, below: usize): i32 {
  const lower = f32x4.splat(least);
  const upper = f32x4.splat(most);
  const first = out;
  let less = i32x4.splat(0);
  for (const behind = values + 4 * count; values < behind; values += 16) {
    const four = v128.load(values);
    // True is -1.
    less = i32x4.sub(less, f32x4.lt(four, lower));
    const picked = i32x4.bitmask(v128.and(f32x4.ge(four, lower), f32x4.le(four, upper)));
    if (picked === 0) continue;
    v128.store32_lane(out, four, 0);
    out += 4 * (picked & 1);
    v128.store32_lane(out, four, 1);
    out += 2 * (picked & 2);
    v128.store32_lane(out, four, 2);
    out += picked & 4;
    v128.store32_lane(out, four, 3);
    out += (picked & 8) >> 1;
  }
  const lanes = i32x4.add(less, i32x4.shuffle(less, less, 1, 0, 3, 2));
  store<i32>(below, i32x4.extract_lane(lanes, 0) + i32x4.extract_lane(lanes, 2));
  return <i32>((out - first) >> 2);
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
    // Added to 2^23, a whole number stands in the low bits: a third of this loop's time less than converting it.
    const words = v128.and(f32x4.add(levels, f32x4.splat(8388608)), i32x4.splat(255));
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

/**
 * zlib's checksum (RFC 1950, section 9) of what came before and these bytes.
 *
 * @param sum of what came before; 1 at the beginning
 */
export function adler32(bytes: usize, count: i32, sum: u32): u32 {
  let low = sum & 0xffff;
  let high = sum >> 16;
  while (count > 0) {
    // So many bytes cannot make the sums too large for 32 bits.
    const some = min(count, 5552);
    for (const behind = bytes + some; bytes < behind; bytes++) {
      low += load<u8>(bytes);
      high += low;
    }
    low %= 65521;
    high %= 65521;
    count -= some;
  }
  return (high << 16) | low;
}

/** @param count at most 2^24 */
export function sumBytes(bytes: usize, count: i32): u32 {
  let sums = i32x4.splat(0);
  const whole = bytes + (count & ~15);
  const behind = bytes + count;
  for (; bytes < whole; bytes += 16) {
    sums = i32x4.add(sums, i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(v128.load(bytes))));
  }
  const lanes = i32x4.add(sums, i32x4.shuffle(sums, sums, 2, 3, 0, 1));
  let sum = <u32>i32x4.extract_lane(lanes, 0) + <u32>i32x4.extract_lane(lanes, 1);
  for (; bytes < behind; bytes++) sum += load<u8>(bytes);
  return sum;
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

/**
 * Brings every row as near as its nearest of some picks: the least squared distance, a + b - 2 · dot, or 0 where that is less
 * than `equalShare` of a + b.
 *
 * @param dots [rows · picks] float32; one more is read behind
 * @param squares [rows] float64, the rows' squared lengths
 * @param pickSquares [picks] float64, the picks'; one more is read behind, which must be infinite
 * @param nearest [rows] float32, made smaller in place
 */
export function approachPicks(
  dots: usize,
  rows: i32,
  picks: i32,
  squares: usize,
  pickSquares: usize,
  equalShare: f64,
  nearest: usize,
): void {
  const share = f64x2.splat(equalShare);
  const bytes: usize = 4 * <usize>picks;
  for (const behind = dots + <usize>rows * bytes; dots < behind; dots += bytes, squares += 8, nearest += 4) {
    const square = v128.load64_splat(squares);
    let least = f64x2.splat(<f64>load<f32>(nearest));
    for (let at: usize = 0; at < bytes; at += 8) {
      const dot = f64x2.promote_low_f32x4(v128.load64_zero(dots + at));
      const sum = f64x2.add(square, v128.load(pickSquares + 2 * at));
      const squared = f64x2.sub(sum, f64x2.add(dot, dot));
      const distinct = v128.andnot(squared, f64x2.lt(squared, f64x2.mul(share, sum)));
      least = f64x2.pmin(least, distinct);
    }
    store<f32>(nearest, <f32>min(f64x2.extract_lane(least, 0), f64x2.extract_lane(least, 1)));
  }
}

/**
 * Of every row the largest dot product with a pick of another picture and the number of that pick, and of every pick the
 * largest with a row of another picture and the number of that row: where they are larger than those that are there already.
 * Of equal ones the first.
 *
 * @param dots [rows · picks] float32
 * @param pictures [rows] int32, `best` float32 and `bestPick` int32, changed in place
 * @param pickPictures [picks] int32, `bestOfPick` float32 and `bestRow` int32, changed in place
 * @param firstRow the number of the first row; picks are numbered from `firstPick`
 */
export function bestOfOthers(
  dots: usize,
  rows: i32,
  picks: i32,
  firstRow: i32,
  firstPick: i32,
  pictures: usize,
  best: usize,
  bestPick: usize,
  pickPictures: usize,
  bestOfPick: usize,
  bestRow: usize,
): void {
  const bytes: usize = 4 * <usize>picks;
  const whole = bytes & ~15;
  for (let row = firstRow; row < firstRow + rows; row++, dots += bytes, pictures += 4, best += 4, bestPick += 4) {
    const picture = load<i32>(pictures);
    const own = i32x4.splat(picture);
    let largest = f32x4.splat(-Infinity);
    let at: usize = 0;
    for (; at < whole; at += 16) {
      const mine = i32x4.eq(v128.load(pickPictures + at), own);
      const dot = v128.bitselect(f32x4.splat(-Infinity), v128.load(dots + at), mine);
      largest = f32x4.pmax(largest, dot);
      const before = v128.load(bestOfPick + at);
      const more = f32x4.gt(dot, before);
      if (!v128.any_true(more)) continue;
      v128.store(bestOfPick + at, f32x4.pmax(before, dot));
      v128.store(bestRow + at, v128.bitselect(i32x4.splat(row), v128.load(bestRow + at), more));
    }
    const pairs = f32x4.pmax(largest, upperHalf(largest));
    let most = max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
    for (; at < bytes; at += 4) {
      if (load<i32>(pickPictures + at) === picture) continue;
      const dot = load<f32>(dots + at);
      if (dot > most) most = dot;
      if (!(dot > load<f32>(bestOfPick + at))) continue;
      store<f32>(bestOfPick + at, dot);
      store<i32>(bestRow + at, row);
    }
    if (!(most > load<f32>(best))) continue;
    // So seldom that it pays to look for the number only here.
    at = 0;
    while (load<f32>(dots + at) !== most || load<i32>(pickPictures + at) === picture) at += 4;
    store<f32>(best, most);
    store<i32>(bestPick, firstPick + <i32>(at >> 2));
  }
}
