import { z } from 'zod';

const values = z.array(z.number()).min(1).readonly();

/** What one thing costs, with every repetition, so that a later run can tell change from noise. */
export const figureSchema = z.object({
  subject: z.string(),
  name: z.string(),
  unit: z.enum(['ms', 'MiB', 'pictures/s']),
  /** One per repetition. */
  values,
  /** What the same repetition would have cost at the limit, in the same unit; null: this is such a measure itself. */
  reference: z.object({ name: z.string(), values }).nullable(),
  /** Its point on a curve. */
  at: z.object({ curve: z.string(), series: z.string(), x: z.number().positive() }).optional(),
});

export type Figure = z.infer<typeof figureSchema>;

/** A figure as its subject measures it. */
export type Measured = Omit<Figure, 'subject'>;

/**
 * The figure over its reference, repetition by repetition: both were measured within the same seconds, so that a machine
 * that was slow for a while was slow for both. Null where there is no reference.
 */
export function ratios({ values, reference }: Figure): readonly number[] | null {
  return reference === null ? null : values.map((value, i) => value / (reference.values[i] as number));
}

/** Identifies a figure among those of a run. */
export function figureName({ subject, name }: Figure): string {
  return `${subject}: ${name}`;
}
