// AssemblyScript, as loops.ts, which exports these: loops that turn numbers into steps.

/** Takes other numbers from [length] float32, in place. */
export function subtractInPlace(row: usize, other: usize, length: i32): void {
  const behind = row + 4 * (length & ~3);
  for (; row < behind; row += 16, other += 16) v128.store(row, f32x4.sub(v128.load(row), v128.load(other)));
  for (let i = length & 3; i > 0; i--, row += 4, other += 4) store<f32>(row, load<f32>(row) - load<f32>(other));
}

/** The largest |x| of [length] float32. */
export function largestMagnitude(row: usize, length: i32): f32 {
  let most = f32x4.splat(0);
  const behind = row + 4 * (length & ~3);
  for (; row < behind; row += 16) most = f32x4.pmax(most, f32x4.abs(v128.load(row)));
  let largest = max(
    max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
  for (let i = length & 3; i > 0; i--, row += 4) largest = max(largest, abs(load<f32>(row)));
  return largest;
}

/** Added to a small number, it rounds it to a whole one, halves to even, and puts that in the low bits. */
const whole: f32 = 12582912;

/**
 * Every value as a whole number of steps, halves to even, written as a byte: the low one of that number + `zero`.
 *
 * @param row [length] float32
 * @param step no value has more than 2^21 of them
 * @param out [length] bytes
 * @returns the squared length of what rounding took away: four sums, as those of `squaredDistance`
 */
export function toSteps(row: usize, length: i32, step: f32, zero: i32, out: usize): f64 {
  const steps = f32x4.splat(step);
  const size = f64x2.splat(step);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  const behind = row + 4 * (length & ~3);
  for (; row < behind; row += 16, out += 4) {
    const values = v128.load(row);
    const sums = f32x4.add(f32x4.div(values, steps), f32x4.splat(whole));
    const words = v128.and(i32x4.add(sums, i32x4.splat(zero)), i32x4.splat(255));
    const halves = i16x8.narrow_i32x4_u(words, words);
    v128.store32_lane(out, i8x16.narrow_i16x8_u(halves, halves), 0);
    const levels = f32x4.sub(sums, f32x4.splat(whole));
    const first = remainder(values, levels, size);
    const second = remainder(upper(values), upper(levels), size);
    low = f64x2.add(low, f64x2.mul(first, first));
    high = f64x2.add(high, f64x2.mul(second, second));
  }
  let sum = f64x2.extract_lane(low, 0);
  for (let i = length & 3; i > 0; i--, row += 4, out++) {
    const value = load<f32>(row);
    const level = nearest(value / step);
    store<u8>(out, <u8>(<i32>level + zero));
    const lost = <f64>value - <f64>level * <f64>step;
    sum += lost * lost;
  }
  return sum + f64x2.extract_lane(low, 1) + (f64x2.extract_lane(high, 0) + f64x2.extract_lane(high, 1));
}

/** value - level · step of the lower two, in float64. */
function remainder(values: v128, levels: v128, step: v128): v128 {
  return f64x2.sub(f64x2.promote_low_f32x4(values), f64x2.mul(f64x2.promote_low_f32x4(levels), step));
}

function upper(values: v128): v128 {
  return i8x16.shuffle(values, values, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
}
