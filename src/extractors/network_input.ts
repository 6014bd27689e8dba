import { InspectionError } from '../errors.ts';
import type { NetworkInput, Preprocessing } from './extractor.ts';

/** @throws InspectionError `shape_mismatch` when the input is not of the preprocessing's size */
export function requireInputSize(input: NetworkInput, { height, width }: Preprocessing): void {
  if (input.height === height && input.width === width && input.data.length === 3 * height * width) return;
  throw new InspectionError(
    'shape_mismatch',
    `The extractor takes 3 × ${height} × ${width} numbers, the input has ${input.data.length} for ${input.height} × ${input.width} pixels; prepare the picture with this extractor's own preprocessing.`,
  );
}
