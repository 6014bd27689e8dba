import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import type { StoredMemory, StoredPicture } from '../store/model_memory.ts';
import type { MemoryDescription } from './vision.ts';

/** What is known of a memory without its rows; what its file does not say is null, a generation 1. */
export function describeMemory({ bank, grid, metadata, memoryId, position }: StoredMemory): MemoryDescription {
  return {
    memoryId,
    fingerprint: metadata.fingerprint ?? null,
    extractorName: metadata.extractor ?? null,
    grid,
    rows: bank.rows,
    cols: bank.cols,
    coresetRateRequested: metadata.coreset_rate_requested ?? null,
    coresetRateApplied: metadata.coreset_rate_applied ?? null,
    mmPerPx: metadata.mm_per_px ?? null,
    generation: metadata.generation ?? 1,
    fittedAtUtc: metadata.fitted_at_utc ?? null,
    scoreMode: metadata.score_mode ?? 'percentile',
    positionWeight: position?.weight ?? 0,
    pictures: (metadata.pictures ?? []).map(
      ({ name, sha256, height, width, shape, frame, left_out_score, brightness }) => ({
        name,
        sha256: sha256 ?? null,
        size: { height, width },
        shape: shapeOf(shape),
        frame: { top: frame[0], left: frame[1], height: frame[2], width: frame[3] },
        leftOutScore: left_out_score,
        brightness: brightness ?? null,
      }),
    ),
  };
}

function shapeOf({ kind, ...numbers }: NonNullable<StoredPicture['shape']> = { kind: '' }): ShapeSpec {
  return { kind, numbers };
}
