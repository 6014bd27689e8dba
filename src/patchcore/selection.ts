import { layout, loopSlack, loopsWith } from '../kernels/loops.ts';

/** A copy of some values, in which one is at its place: none before it is larger, none behind it smaller. */
export interface Selected {
  readonly values: Float32Array | Float64Array;
  /** Where the one lies. */
  readonly at: number;
}

/**
 * Finds the value at `rank` of the sorted order, counted from 0.
 *
 * Cost: linear in the mean, also for many equal values. Of many float32 values most are passed over once by vector
 * instructions: those that a sample shows to lie far from the ranks asked for.
 *
 * @param values not changed; at least one
 * @param end the values of the ranks from `rank` to `end` (which is not one of them) lie at `at` and behind it, whatever else
 *   does
 */
export function selectRank(values: Float32Array | Float64Array, rank: number, end: number): Selected {
  const near = values instanceof Float32Array && values.length >= shortest ? valuesNear(values, rank, end) : null;
  const some = near === null ? values.slice() : near.values;
  const at = rank - (near?.below ?? 0);
  selectInPlace(some, at);
  return { values: some, at };
}

/** Fewer values are faster sorted out where they are. */
const shortest = 16384;

const sampleSize = 1024;

interface NearValues {
  readonly values: Float32Array;
  /** How many of all values are smaller than every one of these. */
  readonly below: number;
}

/** At least the values of the ranks asked for, and a few percent more; null where the sample was misleading. */
function valuesNear(values: Float32Array, rank: number, end: number): NearValues | null {
  const step = (values.length - 1) / (sampleSize - 1);
  const sample = Float32Array.from({ length: sampleSize }, (_, i) => values[Math.floor(i * step)] as number).sort();
  const place = (of: number) => of / step;
  // Three standard deviations of where a rank falls in a sample.
  const margin = (of: number) => 3 * Math.sqrt(place(of) * (1 - of / values.length)) + 2;
  const least = sample[Math.floor(place(rank) - margin(rank))] ?? Number.NEGATIVE_INFINITY;
  const most = sample[Math.ceil(place(end) + margin(end))] ?? Number.POSITIVE_INFINITY;
  const near = valuesBetween(values, least, most);
  return near.below <= rank && near.below + near.values.length >= end ? near : null;
}

/** Values that are looked at in one go. */
const chunk = 16384;

function valuesBetween(values: Float32Array, least: number, most: number): NearValues {
  const plan = layout();
  const [valuesAt, pickedAt, belowAt] = [plan(chunk * 4), plan(chunk * 4 + loopSlack), plan(4)];
  const loops = loopsWith(plan(0));
  const { buffer } = loops.memory;
  const input = new Float32Array(buffer, valuesAt, chunk);
  const belowInChunk = new Int32Array(buffer, belowAt, 1);
  const parts: Float32Array[] = [];
  let below = 0;
  for (let start = 0; start < values.length; start += chunk) {
    const some = values.subarray(start, start + chunk);
    input.set(some);
    input.fill(Number.NaN, some.length);
    const count = loops.pickBetween(valuesAt, some.length, least, most, pickedAt, belowAt);
    parts.push(new Float32Array(buffer, pickedAt, count).slice());
    below += belowInChunk[0] as number;
  }
  const picked = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    picked.set(part, at);
    at += part.length;
  }
  return { values: picked, below };
}

/** Puts the value of `rank` at its place; smaller ones end up left of it, larger ones right. */
function selectInPlace(values: Float32Array | Float64Array, rank: number): void {
  let left = 0;
  let right = values.length - 1;
  while (left < right) {
    const pivot = medianOfThree(values[left] as number, values[(left + right) >> 1] as number, values[right] as number);
    // Both scans stop at equal values, so that many equal ones still split in halves.
    let i = left;
    let j = right;
    while (i <= j) {
      while ((values[i] as number) < pivot) i++;
      while ((values[j] as number) > pivot) j--;
      if (i <= j) {
        const swap = values[i] as number;
        values[i] = values[j] as number;
        values[j] = swap;
        i++;
        j--;
      }
    }
    if (rank <= j) right = j;
    else if (rank >= i) left = i;
    else return;
  }
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
