import { cpus, loadavg } from 'node:os';
import { percentile } from '../../src/patchcore/image_score.ts';

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

/** What the numbers were measured on. */
export function machine(): string {
  const [first] = cpus();
  return `${cpus().length} × ${first?.model ?? 'unknown processor'}, Node ${process.version}, load ${loadavg()
    .map((value) => value.toFixed(2))
    .join(' ')}`;
}

/** Prints median, p95, p99 and count per sample; fewer than 100 values have no p99. */
export function printTable(title: string, samples: readonly Sample[]): void {
  const width = Math.max(40, ...samples.map(({ name }) => name.length));
  const cell = (text: string) => text.padStart(10);
  console.log(`\n${title}`);
  console.log(`${''.padEnd(width)}  ${cell('median')}  ${cell('p95')}  ${cell('p99')}  ${'n'.padStart(4)}`);
  for (const { name, unit, values } of samples) {
    const at = (p: number) => `${percentile(Float64Array.from(values), p).toFixed(unit === 's' ? 2 : 1)} ${unit}`;
    const p99 = values.length < 100 ? '' : at(99);
    console.log(
      `${name.padEnd(width)}  ${cell(at(50))}  ${cell(at(95))}  ${cell(p99)}  ${String(values.length).padStart(4)}`,
    );
  }
}
