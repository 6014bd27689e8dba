import { InspectionError } from '../errors.ts';
import type { PatchGrid } from '../patchcore/grid.ts';
import type { EmbeddedPicture } from './vision.ts';

/** What a network says of a picture, on its way to a bank. */
export interface ExtractedPicture extends EmbeddedPicture {
  readonly grid: PatchGrid;
  /** [embeddings.rows] the cell of each. */
  readonly cells: Int32Array;
  /** For errors. */
  readonly extractorName: string;
}

/** NaN compares as smaller than every threshold: a part it touches would pass. */
export function notFinite(extractorName: string): InspectionError {
  return new InspectionError(
    'not_a_number',
    `The extractor ${extractorName} gives numbers for this picture that are not finite, so the picture can be neither fitted nor judged; check the model file and its precision (float16 overflows), or use another extractor.`,
  );
}
