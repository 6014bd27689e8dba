import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, createClient, OkngError } from '../../src/client/client.ts';
import { type OkngProcess, startOkng } from '../e2e/process.ts';
import { type Dice, diceFor } from '../fuzz/dice.ts';
import { type PartPicture, partPictures, partsMmPerPx } from '../parts.ts';

export interface CrashOrder {
  /** Kills of the process. */
  readonly cycles: number;
  readonly seed: number;
  readonly tell: (line: string) => void;
}

export interface CrashReport {
  readonly cycles: number;
  /** Changes that were answered, by kind. */
  readonly answered: Readonly<Record<string, number>>;
  /** Changes under way when the process was killed, by kind: done all the same, or not at all. */
  readonly cutDone: Readonly<Record<string, number>>;
  readonly cutUndone: Readonly<Record<string, number>>;
  /** What was found to be neither; empty when all is well. */
  readonly failures: readonly string[];
}

/** Which pictures answer, and by which threshold. */
interface Model {
  readonly pictures: number | null;
  readonly threshold: number | null;
}

/** A change of the model: what it asks for, and what is true when it is done. */
interface Change {
  readonly kind: 'fit' | 'calibrate' | 'roll back';
  readonly ask: (okng: Client) => Promise<unknown>;
  /**
   * More than one for a fit: the same pictures make the same memory again, and the calibration beside it counts again if it was
   * made for this memory.
   */
  readonly after: readonly Model[];
}

const role = { role_id: 'crash', roi_id: 'top' } as const;
const scaled = { ...role, mm_per_px: partsMmPerPx };
const untouched: Model = { pictures: null, threshold: null };

/** Longest time between a start and its kill, in fits at the machine's pace. */
const longestFits = 5;

/**
 * Kills the real service at random moments of fits, calibrations, rollbacks, uploads and deletions, starts it again, and looks:
 * the model that answers is entirely the one before the change that was under way or the one after it, its threshold with
 * it, and every sample that was acknowledged is there, byte for byte. The folder is the same in all cycles.
 */
export async function runCrashes({ cycles, seed, tell }: CrashOrder): Promise<CrashReport> {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-crash-'));
  const good = partPictures('train/good');
  // Three memories, told apart by the score they give one and the same part.
  const sets = [good.slice(0, 3), good.slice(3, 6), good.slice(6, 9)];
  const [probe] = partPictures('test/good') as [PartPicture];
  const environment = { BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', BDI_LOG_LEVEL: 'info', BDI_AUDIT: '1' };
  const answered: Record<string, number> = {};
  const cutDone: Record<string, number> = {};
  const cutUndone: Record<string, number> = {};
  const failures: string[] = [];
  const count = (counts: Record<string, number>, kind: string) => {
    counts[kind] = (counts[kind] ?? 0) + 1;
  };

  const fitOf = (set: number) => (okng: Client) => okng.fit({ ...scaled, images: imagesOf(sets[set] ?? []) });
  const { scores, fitMs } = await scoresOfSets(sets, probe, environment);
  const known: KnownModels = { generations: new Map(), thresholds: sets.map(() => new Set()) };
  const samples = new Map<string, string>();
  // What may answer, as far as it was told; one, unless the last change has not been looked at.
  let truth: readonly Model[] = [untouched];

  let okng = await startOkng(environment);
  for (let cycle = 0; cycle < cycles && failures.length === 0; cycle++) {
    const dice = diceFor(seed, cycle);
    const client = clientOf(okng);
    const fail = (what: string) => failures.push(`cycle ${cycle}: ${what}`);
    let underWay: Change | null = null;
    const upload: { name: string | null; sha256: string | null } = { name: null, sha256: null };

    const changeModel = async (): Promise<never> => {
      for (;;) {
        const change = await nextChange(client, dice, truth[0] as Model, known, fitOf);
        underWay = change;
        await change.ask(client);
        truth = change.after;
        underWay = null;
        count(answered, change.kind);
        const found = await observed(client, probe, scores);
        if (!includes(truth, found.model))
          fail(`${told(found.model)} answers after ${change.kind} to ${told(...truth)}`);
        truth = [found.model];
        if (found.generation !== null) known.generations.set(found.generation, found.model);
      }
    };
    const changeSamples = async (): Promise<never> => {
      for (let i = 0; ; i++) {
        const [oldest] = samples.keys();
        if (oldest !== undefined && dice.int(4) === 0) {
          upload.name = oldest;
          await client.datasets.remove({ ...role, label: 'ok', filename: oldest });
          samples.delete(oldest);
          upload.name = null;
          count(answered, 'delete');
          continue;
        }
        const bytes = sampleBytes(probe, seed, cycle, i);
        upload.sha256 = sha256(bytes);
        const { saved } = await client.datasets.uploadOk({ ...role, images: [{ name: 'part.jpg', bytes }], metas: [] });
        samples.set(saved[0] as string, upload.sha256);
        upload.sha256 = null;
        count(answered, 'upload');
      }
    };

    let killed = false;
    const working = [changeModel(), changeSamples()].map((work) =>
      work.catch((error: unknown) => {
        if (killed && error instanceof OkngError) return;
        fail(`an answer before the kill: ${error instanceof Error ? error.message : String(error)}`);
      }),
    );
    await sleep(dice.int(Math.ceil(longestFits * fitMs)));
    killed = true;
    await okng.kill('SIGKILL');
    await Promise.all(working);
    if (failures.length > 0) break;

    // Started again it is looked at, and serves the next cycle.
    okng = await startOkng(environment);
    try {
      const found = await observed(clientOf(okng), probe, scores);
      const cut = underWay as Change | null;
      if (includes(truth, found.model)) {
        if (cut !== null) count(cutUndone, cut.kind);
      } else if (cut !== null && includes(cut.after, found.model)) count(cutDone, cut.kind);
      else {
        fail(
          `${told(found.model)} answers; before ${told(...truth)}, under way ${cut === null ? 'nothing' : `${cut.kind} to ${told(...cut.after)}`}`,
        );
      }
      truth = [found.model];
      if (found.generation !== null) known.generations.set(found.generation, found.model);
      await checkSamples(clientOf(okng), samples, upload, dice, fail);
    } catch (error) {
      fail(`after the restart: ${error instanceof Error ? error.message : String(error)}`);
    }
    if ((cycle + 1) % 10 === 0)
      tell(
        `${cycle + 1} of ${cycles} cycles, ${samples.size} samples, generation ${Math.max(0, ...known.generations.keys())}`,
      );
  }
  await okng.kill('SIGKILL');
  if (failures.length === 0) rmSync(modelsDir, { recursive: true, force: true });
  else tell(`the models folder is kept: ${modelsDir}`);
  return { cycles, answered, cutDone, cutUndone, failures };
}

interface KnownModels {
  /** What answered as each generation that was seen. */
  readonly generations: Map<number, Model>;
  /** Of each set's memory, every threshold that was ever asked for. */
  readonly thresholds: readonly Set<number>[];
}

async function nextChange(
  client: Client,
  dice: Dice,
  truth: Model,
  { generations, thresholds }: KnownModels,
  fitOf: (set: number) => (okng: Client) => Promise<unknown>,
): Promise<Change> {
  const kind = truth.pictures === null ? 'fit' : dice.pick(['fit', 'calibrate', 'calibrate', 'roll back'] as const);
  if (kind === 'calibrate') {
    const threshold = dice.int(1_000_000) / 1000;
    thresholds[truth.pictures as number]?.add(threshold);
    return {
      kind,
      ask: (okng) => okng.calibrateNg({ ...scaled, ok_scores: [threshold] }),
      after: [{ ...truth, threshold }],
    };
  }
  if (kind === 'roll back') {
    const { generations: kept } = await client.models.generations(role);
    const others = kept.filter(({ live, model_generation: number }) => !live && generations.has(number));
    if (others.length > 0) {
      const { model_generation: generation } = dice.pick(others);
      const after = generations.get(generation) as Model;
      return { kind, ask: (okng) => okng.models.rollBack(role, { generation }), after: [after] };
    }
  }
  const set = ((truth.pictures ?? -1) + 1 + dice.int(2)) % 3;
  const after = [null, ...(thresholds[set] ?? [])].map((threshold) => ({ pictures: set, threshold }));
  return { kind: 'fit', ask: fitOf(set), after };
}

/** The score that each set's memory gives the probe, and how long a fit takes, from a service of its own. */
async function scoresOfSets(
  sets: readonly (readonly PartPicture[])[],
  probe: PartPicture,
  environment: Readonly<Record<string, string>>,
): Promise<{ readonly scores: readonly number[]; readonly fitMs: number }> {
  const modelsDir = mkdtempSync(join(tmpdir(), 'okng-crash-scores-'));
  const okng = await startOkng({ ...environment, BDI_MODELS_DIR: modelsDir });
  const client = clientOf(okng);
  const scores: number[] = [];
  let fitMs = 0;
  for (const set of sets) {
    const started = performance.now();
    await client.fit({ ...scaled, images: imagesOf(set) });
    fitMs = performance.now() - started;
    scores.push((await inferProbe(client, probe)).score);
  }
  await okng.kill('SIGKILL');
  rmSync(modelsDir, { recursive: true, force: true });
  if (new Set(scores).size < scores.length) throw new Error(`scores that do not tell the memories apart: ${scores}`);
  return { scores, fitMs };
}

const inferProbe = (client: Client, { name, bytes }: PartPicture) =>
  client.infer({ ...scaled, include_heatmap: false, image: { name, bytes } });

/** What answers now. @throws Error for a score that no set's memory gives */
async function observed(
  client: Client,
  probe: PartPicture,
  scores: readonly number[],
): Promise<{ readonly model: Model; readonly generation: number | null }> {
  const { memory_fitted } = await client.state(role);
  if (!memory_fitted) return { model: untouched, generation: null };
  const { score, threshold, model_generation } = await inferProbe(client, probe);
  const pictures = scores.indexOf(score);
  if (pictures < 0) throw new Error(`the score ${score} is none of ${scores}`);
  return { model: { pictures, threshold }, generation: model_generation };
}

/** Every acknowledged sample is there, two of them byte for byte, and nothing else but what was under way. */
async function checkSamples(
  client: Client,
  samples: Map<string, string>,
  underWay: { readonly name: string | null; readonly sha256: string | null },
  dice: Dice,
  fail: (what: string) => void,
): Promise<void> {
  const { classes } = await client.datasets.list(role);
  const files: readonly string[] = classes.ok?.files ?? [];
  const present = new Set(files);
  for (const name of samples.keys()) {
    if (present.has(name)) continue;
    if (name === underWay.name) samples.delete(name);
    else fail(`the acknowledged sample ${name} is gone`);
  }
  const extra = files.filter((name) => !samples.has(name));
  if (extra.length > (underWay.sha256 === null ? 0 : 1)) fail(`samples that nobody uploaded: ${extra}`);
  const [uploaded] = extra;
  if (uploaded !== undefined && underWay.sha256 !== null) samples.set(uploaded, underWay.sha256);
  const looked = [uploaded, ...(samples.size > 0 ? [dice.pick([...samples.keys()]), [...samples.keys()].at(-1)] : [])];
  for (const name of looked) {
    if (name === undefined) continue;
    const file = await client.datasets.file({ ...role, label: 'ok', filename: name });
    if (sha256(new Uint8Array(await file.arrayBuffer())) !== samples.get(name)) fail(`the sample ${name} has changed`);
  }
}

const clientOf = ({ url }: OkngProcess) => createClient({ url, retries: 0 });

const imagesOf = (pictures: readonly PartPicture[]) => pictures.map(({ name, bytes }) => ({ name, bytes }));

/** A picture like no other: a JPEG may have anything behind its end. */
function sampleBytes({ bytes }: PartPicture, ...numbers: readonly number[]): Uint8Array {
  return Buffer.concat([bytes, Buffer.from(new Float64Array(numbers).buffer)]);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function includes(models: readonly Model[], { pictures, threshold }: Model): boolean {
  return models.some((model) => model.pictures === pictures && model.threshold === threshold);
}

function told(...models: readonly Model[]): string {
  const [{ pictures } = untouched] = models;
  const thresholds = models.map(({ threshold }) => threshold ?? 'none').join(' or ');
  return pictures === null ? 'no model' : `the memory of set ${pictures} with threshold ${thresholds}`;
}
