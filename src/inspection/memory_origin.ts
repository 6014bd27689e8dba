import { InspectionError } from '../errors.ts';
import type { ExtractorInfo } from '../extractors/extractor.ts';
import type { MemoryDescription } from '../workers/vision.ts';

/**
 * Whose a memory is: `okng` when it names the extractor that made it, `unknown` when it does not, as the predecessor's do
 * not. One of unknown origin is known by its shape alone: another network of the same shape would answer nonsense.
 */
export const memoryOrigins = ['okng', 'unknown'] as const;
export type MemoryOrigin = (typeof memoryOrigins)[number];

export function memoryOriginOf({ fingerprint }: Pick<MemoryDescription, 'fingerprint'>): MemoryOrigin {
  return fingerprint === null ? 'unknown' : 'okng';
}

/** What of a memory tells which extractor it needs. */
export type MemoryMaker = Pick<MemoryDescription, 'fingerprint' | 'extractorName' | 'cols' | 'grid'>;

/** What of an extractor tells whether a memory is for it. */
export type MatchedExtractor = Pick<ExtractorInfo, 'fingerprint' | 'name' | 'width' | 'grid' | 'patchSize'>;

/** DINOv2's last three blocks beside each other, and what `okng model fetch` calls the network. */
const dinov2OfWidth: ReadonlyMap<number, string> = new Map([
  [1152, 'dinov2-small'],
  [2304, 'dinov2-base'],
  [3072, 'dinov2-large'],
]);

/**
 * Why a memory cannot answer for pictures that this extractor embeds; null when it can.
 *
 * One that names its extractor needs the same fingerprint. One of unknown origin needs the same grid and width; a width that
 * only loading tells is not compared here.
 *
 * @returns InspectionError `extractor_mismatch` that says what to do
 */
export function extractorMismatch(memory: MemoryMaker, extractor: MatchedExtractor): InspectionError | null {
  const { fingerprint, cols, grid } = memory;
  if (fingerprint !== null) {
    if (fingerprint === extractor.fingerprint) return null;
    return new InspectionError(
      'extractor_mismatch',
      `The memory was made with the extractor ${memory.extractorName ?? 'unknown'} (fingerprint ${fingerprint.slice(0, 12)}), the service runs ${extractor.name} (${extractor.fingerprint.slice(0, 12)}); fit this role and ROI again, or start the service with EXTRACTOR and INPUT_SIZE as they were.`,
    );
  }
  if ((extractor.width === null || extractor.width === cols) && sameGrid(memory, extractor)) return null;
  return new InspectionError(
    'extractor_mismatch',
    `The memory, which does not say what made it, holds ${cols} numbers per patch on a ${grid.rows} × ${grid.cols} grid; the service runs ${extractor.name}, which gives ${extractor.width ?? 'patches'} on ${extractor.grid.rows} × ${extractor.grid.cols}. ${extractorAdvice(memory, [extractor])}`,
  );
}

/** How to come by an extractor for a memory that none of these is for, in one sentence. */
export function extractorAdvice(memory: MemoryMaker, extractors: readonly MatchedExtractor[]): string {
  const { fingerprint, extractorName, cols, grid } = memory;
  const orFit = 'or fit this role and ROI again.';
  if (fingerprint !== null) {
    return `Install ${extractorName ?? 'the extractor it was made with'} with the same weights, input size and precision, ${orFit}`;
  }
  const sameWidth = extractors.find(({ width }) => width === cols);
  if (sameWidth !== undefined) {
    const { name, patchSize } = sameWidth;
    const [height, width] = [grid.rows * patchSize, grid.cols * patchSize];
    return `Make ${name} for pictures of ${height} × ${width} ("okng model add --input-size ${height}x${width}", or INPUT_SIZE where its file takes any), ${orFit}`;
  }
  const weights = dinov2OfWidth.get(cols);
  return weights === undefined
    ? `Install the extractor that gives ${cols} numbers per patch, ${orFit}`
    : `${cols} is what DINOv2 gives: install it ("okng model add model.safetensors" or "okng model fetch ${weights}") and start the service with it, ${orFit}`;
}

/** Those of the extractors that the memory is for. @param extractors one whose width only loading tells is none of unknown origin's */
export function extractorsFor(
  memory: MemoryMaker,
  extractors: readonly MatchedExtractor[],
): readonly MatchedExtractor[] {
  return extractors.filter(
    (extractor) =>
      extractorMismatch(memory, extractor) === null && (memory.fingerprint !== null || extractor.width !== null),
  );
}

function sameGrid({ grid: a }: Pick<MemoryMaker, 'grid'>, { grid: b }: Pick<MatchedExtractor, 'grid'>): boolean {
  return a.rows === b.rows && a.cols === b.cols;
}
