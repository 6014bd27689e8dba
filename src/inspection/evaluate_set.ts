import { InspectionError } from '../errors.ts';
import { auroc } from '../evaluation/auroc.ts';
import { bootstrapInterval } from '../evaluation/bootstrap.ts';
import type { Metric, MetricName, PictureResult, SetReport, ShownPicture } from '../evaluation/evaluation_report.ts';
import { averagePrecision, f1Max, rates } from '../evaluation/image_metrics.ts';
import { auPro, type PixelTally, pixelAuroc, regionOverlap, tallyPicture } from '../evaluation/pixel_metrics.ts';
import { seededRandom } from '../evaluation/seeded_random.ts';
import { percentile } from '../patchcore/image_score.ts';
import { withoutSuspects } from '../patchcore/leave_one_out.ts';
import type { Vision } from '../workers/vision.ts';
import { explanationText } from './explain.ts';
import type { FitReport, FitRequest } from './fit_model.ts';
import type { Inspection, InspectRequest } from './inspect_image.ts';
import { goodKind, type PictureSet, type SetPicture, type TestPicture } from './picture_set.ts';
import { wholePicture } from './shape_text.ts';

export interface EvaluateParts {
  readonly vision: Pick<Vision, 'thumbnail' | 'mask'>;
  readonly fit: (request: FitRequest) => Promise<FitReport>;
  readonly inspect: (request: InspectRequest) => Promise<Inspection>;
  readonly extractorName: string;
  readonly coresetRate: number;
  readonly scorePercentile: number;
}

export interface EvaluateOptions {
  /** OK pictures in the memory; the others choose the threshold. Null: all, and leave-one-out scores choose it. */
  readonly kShot: number | null;
  readonly seed: number;
  /** Pictures shown per list of the report. */
  readonly shown: number;
  readonly onProgress?: (phase: 'fit' | 'held out' | 'test', done: number, total: number) => void;
}

/** Resamples of the metrics that go through every pixel's histogram. */
const pixelResamples = 200;

/** Longest side of a picture in the report. */
const shownSidePx = 320;

interface Scored {
  readonly picture: TestPicture;
  readonly inspection: Inspection;
  /** Null: the truth of this picture's pixels is not known. */
  readonly tally: PixelTally | null;
}

/**
 * Fits one model from a set's good pictures, scores all its test pictures through the very path of `/infer`, and
 * measures. The threshold is chosen from OK pictures alone: the held-out ones' percentile, or that of the leave-one-out
 * scores when every picture is in the memory.
 *
 * @throws InspectionError `no_images` for a set without training pictures, `invalid_value` for one without OK or NG test
 *   pictures or with a mask of another size than its picture, and the codes of fitting and inspecting, naming the picture
 */
export async function evaluateSet(parts: EvaluateParts, set: PictureSet, options: EvaluateOptions): Promise<SetReport> {
  const random = seededRandom(options.seed);
  const { memory, heldOut } = splitTraining(set, options, random);
  const key = { recipeId: 'default', modelKey: 'set', roleId: set.name, roiId: `seed ${options.seed}` };
  const request = (bytes: Uint8Array, file: string): InspectRequest => ({
    key,
    mmPerPx: 1,
    picture: { name: file, bytes },
    shape: wholePicture,
    includeHeatmap: false,
    keepMap: true,
  });

  options.onProgress?.('fit', 0, 1);
  const started = performance.now();
  const fit = await parts.fit({
    key,
    mmPerPx: 1,
    pictures: await Promise.all(memory.map(async ({ file, read }) => ({ name: file, bytes: await read() }))),
    keepAll: false,
  });
  const fitS = (performance.now() - started) / 1000;
  options.onProgress?.('fit', 1, 1);

  const heldOutScores: number[] = [];
  for (const [i, { file, read }] of heldOut.entries()) {
    heldOutScores.push((await parts.inspect(request(await read(), file))).score);
    options.onProgress?.('held out', i + 1, heldOut.length);
  }
  const threshold = chooseFromOk(heldOutScores, fit, parts.scorePercentile);

  const scored: Scored[] = [];
  for (const [i, picture] of set.test.entries()) {
    const inspection = await parts.inspect(request(await picture.read(), picture.file));
    scored.push({
      picture,
      inspection: { ...inspection, map: null },
      tally: await tallyOf(parts, picture, inspection),
    });
    options.onProgress?.('test', i + 1, set.test.length);
  }
  return {
    name: set.name,
    extractor: parts.extractorName,
    seed: options.seed,
    settings: {
      coreset_rate: parts.coresetRate,
      score_mode: fit.scoreMode,
      score_percentile: parts.scorePercentile,
      position_weight: Math.round(fit.positionWeight * 1000) / 1000,
    },
    counts: {
      memory: memory.length,
      held_out: heldOut.length,
      ok: scored.filter(isOk).length,
      ng: scored.filter((one) => !isOk(one)).length,
      coreset_size: fit.coresetSize,
      embeddings: fit.embeddings,
    },
    ...measure(scored, threshold.value, options.seed),
    threshold,
    ms_per_picture: stepMedians(scored),
    fit_s: fitS,
    pictures: scored.map(resultOf),
    ...(await shownPictures(parts, scored, threshold.value, request, options.shown)),
    warnings: warningsOf(fit, memory.length),
  };
}

const isOk = ({ picture }: { readonly picture: TestPicture }) => picture.kind === goodKind;

function splitTraining(
  { name, train, test }: PictureSet,
  { kShot }: EvaluateOptions,
  random: () => number,
): { readonly memory: readonly SetPicture[]; readonly heldOut: readonly SetPicture[] } {
  if (train.length === 0) throw new InspectionError('no_images', `The set ${name} has no good pictures to fit from.`);
  const ok = test.filter(({ kind }) => kind === goodKind).length;
  if (ok === 0 || ok === test.length) {
    throw new InspectionError(
      'invalid_value',
      `The set ${name} has ${ok} OK and ${test.length - ok} NG test pictures; at least one of each is needed.`,
    );
  }
  if (kShot === null || kShot >= train.length) return { memory: train, heldOut: [] };
  const order = shuffled(train, random);
  return { memory: order.slice(0, kShot), heldOut: order.slice(kShot) };
}

/** Fisher-Yates. */
export function shuffled<T>(items: readonly T[], random: () => number): readonly T[] {
  const order = [...items];
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] as T, order[last] as T];
  }
  return order;
}

function chooseFromOk(heldOut: readonly number[], fit: FitReport, p: number): SetReport['threshold'] {
  const leftOut = withoutSuspects(fit.leftOut.flatMap(({ score }) => (score === null ? [] : [score])));
  const from = heldOut.length > 0 ? 'held_out' : 'leave_one_out';
  const scores = heldOut.length > 0 ? heldOut : leftOut;
  if (scores.length === 0) {
    throw new InspectionError('invalid_value', 'A single good picture gives no score to choose a threshold from.');
  }
  const where =
    from === 'held_out'
      ? 'held-out OK pictures'
      : `leave-one-out scores of the OK pictures in the memory${fit.suspects.length === 0 ? '' : `, ${fit.suspects.length} suspect left out`}`;
  return {
    value: percentile(Float64Array.from(scores), p),
    from,
    rule: `${p}th percentile of ${scores.length} ${where}`,
  };
}

async function tallyOf(
  { vision }: EvaluateParts,
  picture: TestPicture,
  { map }: Inspection,
): Promise<PixelTally | null> {
  if (map === null) throw new InspectionError('internal_error', 'An inspection was asked for its map and gave none.');
  if (picture.kind === goodKind) return tallyPicture(map, null);
  if (picture.readMask === null) return null;
  const mask = await vision.mask(await picture.readMask(), `mask of ${picture.file}`);
  if (mask.height !== map.height || mask.width !== map.width) {
    throw new InspectionError(
      'invalid_value',
      `The mask of ${picture.file} has ${mask.width} × ${mask.height} pixels, the picture ${map.width} × ${map.height}.`,
    );
  }
  return tallyPicture(map, mask.data);
}

function measure(scored: readonly Scored[], threshold: number, seed: number): Pick<SetReport, 'metrics' | 'kinds'> {
  const ok = scored.filter(isOk);
  const ng = scored.filter((one) => !isOk(one));
  const scores = (of: readonly Scored[]) => of.map(({ inspection }) => inspection.score);
  const tallies = (of: readonly Scored[]) => of.flatMap(({ tally }) => (tally === null ? [] : [tally]));

  const overPictures = (of: (ok: readonly Scored[], ng: readonly Scored[]) => number, bad = ng): Metric => ({
    value: of(ok, bad),
    interval: bootstrapInterval(ok, bad, of, { seed }),
  });
  const overPixels = (of: (tallies: readonly PixelTally[]) => number | null): Metric => {
    const both = (a: readonly PixelTally[], b: readonly PixelTally[]) => of([...a, ...b]);
    const [good, bad] = [tallies(ok), tallies(ng)];
    const value = bad.length === 0 ? null : both(good, bad);
    if (value === null) return { value: null, interval: null };
    return { value, interval: bootstrapInterval(good, bad, both, { seed, resamples: pixelResamples }) };
  };
  const imageAuroc = (a: readonly Scored[], b: readonly Scored[]) => auroc(scores(a), scores(b));
  const metrics: Record<MetricName, Metric> = {
    image_auroc: overPictures(imageAuroc),
    average_precision: overPictures((a, b) => averagePrecision(scores(a), scores(b))),
    f1_max: overPictures((a, b) => f1Max(scores(a), scores(b)).f1),
    pixel_auroc: overPixels(pixelAuroc),
    au_pro_30: overPixels((all) => auPro(all, 0.3)),
    au_pro_5: overPixels((all) => auPro(all, 0.05)),
    region_overlap: overPixels((all) => regionOverlap(all, threshold)),
    overkill_rate: overPictures((a, b) => rates(scores(a), scores(b), threshold).overkill),
    escape_rate: overPictures((a, b) => rates(scores(a), scores(b), threshold).escape),
  };
  const kinds = [...new Set(ng.map(({ picture }) => picture.kind))].sort().map((kind) => {
    const of = ng.filter(({ picture }) => picture.kind === kind);
    return { kind, pictures: of.length, image_auroc: overPictures(imageAuroc, of) };
  });
  return { metrics, kinds };
}

function stepMedians(scored: readonly Scored[]): Readonly<Record<string, number>> {
  const names = Object.keys(scored[0]?.inspection.steps ?? {});
  const median = (values: readonly number[]) => percentile(Float64Array.from(values), 50);
  const steps = names.map((name) => [name, median(scored.map(({ inspection }) => inspection.steps[name] ?? 0))]);
  const total = median(scored.map(({ inspection }) => Object.values(inspection.steps).reduce((a, b) => a + b, 0)));
  return Object.fromEntries([...steps, ['total', total]]);
}

const resultOf = ({ picture, inspection }: Scored): PictureResult => ({
  file: picture.file,
  kind: picture.kind,
  score: inspection.score,
});

async function shownPictures(
  parts: EvaluateParts,
  scored: readonly Scored[],
  threshold: number,
  request: (bytes: Uint8Array, file: string) => InspectRequest,
  most: number,
): Promise<Pick<SetReport, 'misses' | 'false_alarms'>> {
  const byScore = [...scored].sort((a, b) => a.inspection.score - b.inspection.score);
  const missed = byScore.filter((one) => !isOk(one) && one.inspection.score < threshold);
  const alarms = byScore.filter((one) => isOk(one) && one.inspection.score >= threshold).reverse();
  const show = async (of: readonly Scored[]): Promise<readonly ShownPicture[]> => {
    const shown: ShownPicture[] = [];
    for (const one of of.slice(0, most)) {
      const { picture } = one;
      const again = await parts.inspect({
        ...request(await picture.read(), picture.file),
        includeHeatmap: true,
        explain: true,
      });
      shown.push({
        ...resultOf(one),
        picture: dataUrl('image/jpeg', await parts.vision.thumbnail(await picture.read(), picture.file, shownSidePx)),
        heatmap: dataUrl('image/png', again.heatmapPng ?? new Uint8Array()),
        mask:
          picture.readMask === null
            ? null
            : dataUrl('image/jpeg', await parts.vision.thumbnail(await picture.readMask(), picture.file, shownSidePx)),
        why: again.explanations.map(explanationText),
      });
    }
    return shown;
  };
  return { misses: await show(missed), false_alarms: await show(alarms) };
}

function dataUrl(type: string, bytes: Uint8Array): string {
  return `data:${type};base64,${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')}`;
}

/** Fewer OK pictures than this make thin memories and thresholds that mean little. */
const fewPictures = 10;

function warningsOf({ suspects, leftOut }: FitReport, pictures: number): readonly string[] {
  return [
    ...suspects.map(
      ({ name, score }) =>
        `${name} is among the good pictures but looks bad to the others (leave-one-out score ${score.toFixed(3)}): is it good?`,
    ),
    ...(pictures < fewPictures ? [`Only ${pictures} good pictures are in the memory; a few dozen are better.`] : []),
    ...(leftOut.every(({ score }) => score === null) ? ['No leave-one-out scores: a single picture.'] : []),
  ];
}
