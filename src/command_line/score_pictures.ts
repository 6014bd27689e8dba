import { InspectionError } from '../errors.ts';
import type { FitRequest } from '../inspection/fit_model.ts';
import type { ShapeSpec } from '../patchcore/roi_mask.ts';
import { inParallel } from '../store/in_parallel.ts';
import type { Inspector, WorkHooks } from './inspector.ts';
import { pictureFault, picturePaths, readPicture } from './pictures.ts';

export interface ScoreOrder {
  readonly key: FitRequest['key'];
  readonly mmPerPx: number;
  /** Of every picture. */
  readonly shape: ShapeSpec;
  /** Folders or files; empty: none. */
  readonly ok: readonly string[];
  readonly ng: readonly string[];
}

/** Pictures by what became of them, in the order of the paths. */
export interface PictureScores {
  /** Of pictures that are not in the memory. */
  readonly okScores: readonly number[];
  readonly ngScores: readonly number[];
  /** Left out: a picture that the memory was fitted from scores lower than its like, which says nothing of them. */
  readonly okInMemory: readonly string[];
  readonly ngInMemory: readonly string[];
  /** What is wrong with those that could not be scored, each by name. */
  readonly faults: readonly string[];
  /** False: the memory does not say which pictures it was fitted from. */
  readonly memoryTells: boolean;
}

/** Pictures under way at a time: the service has others to answer. */
const underWay = 3;

/**
 * Scores good and bad parts for a calibration, all with one memory.
 *
 * @throws InspectionError `not_found` and `no_images` for a path; what inspecting throws that is no picture's fault;
 *   `not_ready` when the memory was replaced meanwhile; the signal's reason
 */
export async function scorePictures(
  inspector: Inspector,
  { key, mmPerPx, shape, ok, ng }: ScoreOrder,
  { onProgress, signal }: WorkHooks,
): Promise<PictureScores> {
  const files = [
    ...(await picturePaths(ok)).map((file) => ({ file, isOk: true })),
    ...(await picturePaths(ng)).map((file) => ({ file, isOk: false })),
  ];
  const memoryId = await inspector.memoryIdOf(key);
  let done = 0;
  const outcomes = await inParallel(files, underWay, async ({ file, isOk }) => {
    signal.throwIfAborted();
    try {
      const picture = await readPicture(file);
      const { score, inMemory } = await inspector.inspect(
        { key, mmPerPx, picture, shape, includeHeatmap: false },
        signal,
      );
      return { file, isOk, score, inMemory };
    } catch (error) {
      return { fault: pictureFault(file, error) };
    } finally {
      onProgress('pictures', ++done, files.length);
    }
  });
  signal.throwIfAborted();
  if ((await inspector.memoryIdOf(key)) !== memoryId) {
    throw new InspectionError(
      'not_ready',
      'The model was replaced while the pictures were scored, and scores of two memories make no threshold; calibrate again.',
    );
  }
  const scored = outcomes.flatMap((outcome) => ('fault' in outcome ? [] : [outcome]));
  const of = (isOk: boolean, inMemory: boolean) =>
    scored.filter((one) => one.isOk === isOk && (one.inMemory === true) === inMemory);
  return {
    okScores: of(true, false).map(({ score }) => score),
    ngScores: of(false, false).map(({ score }) => score),
    okInMemory: of(true, true).map(({ file }) => file),
    ngInMemory: of(false, true).map(({ file }) => file),
    faults: outcomes.flatMap((outcome) => ('fault' in outcome ? [outcome.fault] : [])),
    memoryTells: scored.every(({ inMemory }) => inMemory !== null),
  };
}
