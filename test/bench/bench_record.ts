import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { InspectionError } from '../../src/errors.ts';
import { figureSchema } from './figure.ts';

const recordSchema = z.object({
  measured_at_utc: z.string(),
  machine: z.record(z.string(), z.string()),
  versions: z.record(z.string(), z.string()),
  /** Load averages of 1, 5 and 15 minutes. */
  load: z.object({ before: z.string(), after: z.string() }),
  sizes: z.string(),
  repetitions: z.number(),
  /** A sentence each. */
  left_out: z.array(z.string()),
  figures: z.array(figureSchema),
});

/** One run, as bench.json keeps it. */
export type BenchRecord = z.infer<typeof recordSchema>;

/** @throws InspectionError `invalid_value` for a file that is not there or no such record */
export function readBenchRecord(path: string): BenchRecord {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new InspectionError(
      'invalid_value',
      `${path} is not a record of this benchmark: give a bench.json that npm run bench has written.`,
      { cause },
    );
  }
}

/** Six digits are more than any repetition is worth. */
export function benchRecordText(record: BenchRecord): string {
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value);
  return `${JSON.stringify(record, rounded, 1)}\n`;
}
