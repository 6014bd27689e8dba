import { cpus, loadavg } from 'node:os';

/** One row of the table: milliseconds of every repetition. */
export interface Sample {
  readonly name: string;
  readonly unit: 'ms' | 'MiB' | 's';
  readonly values: readonly number[];
}

/**
 * Times several pieces of work in turn, A B C A B C …, so that a machine that speeds up or slows down does so for all of
 * them. The first `warmup` rounds are not counted.
 */
export async function interleaved(
  works: Readonly<Record<string, () => Promise<unknown>>>,
  rounds: number,
  warmup = 2,
): Promise<readonly Sample[]> {
  const times = new Map<string, number[]>(Object.keys(works).map((name) => [name, []]));
  for (let round = -warmup; round < rounds; round++) {
    for (const [name, work] of Object.entries(works)) {
      const started = performance.now();
      await work();
      if (round >= 0) times.get(name)?.push(performance.now() - started);
    }
  }
  return [...times].map(([name, values]) => ({ name, unit: 'ms', values }));
}

/** The p-th percentile, linear between neighbours. */
export function percentileOf(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = ((sorted.length - 1) * p) / 100;
  const low = sorted[Math.floor(position)] as number;
  const high = sorted[Math.ceil(position)] as number;
  return low + (high - low) * (position - Math.floor(position));
}

/** What the numbers were measured on. */
export function machine(): string {
  const [first] = cpus();
  return `${cpus().length} × ${first?.model ?? 'unknown processor'}, Node ${process.version}, load ${loadavg()
    .map((value) => value.toFixed(2))
    .join(' ')}`;
}

/** Prints median, p95 and count per sample, and the ratio to the first of its group where there is one. */
export function printTable(title: string, samples: readonly Sample[]): void {
  const width = Math.max(40, ...samples.map(({ name }) => name.length));
  console.log(`\n${title}`);
  console.log(`${''.padEnd(width)}  ${'median'.padStart(10)}  ${'p95'.padStart(10)}  ${'n'.padStart(4)}`);
  for (const { name, unit, values } of samples) {
    const median = percentileOf(values, 50).toFixed(unit === 's' ? 2 : 1);
    const p95 = percentileOf(values, 95).toFixed(unit === 's' ? 2 : 1);
    console.log(
      `${name.padEnd(width)}  ${`${median} ${unit}`.padStart(10)}  ${`${p95} ${unit}`.padStart(10)}  ${String(values.length).padStart(4)}`,
    );
  }
}
