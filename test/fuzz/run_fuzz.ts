import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { problemBody } from '../../src/http/responses.ts';
import { postForm, postJson } from '../e2e/client.ts';
import { type OkngProcess, startOkng } from '../e2e/process.ts';
import { diceFor } from './dice.ts';
import { damageAFile } from './hostile_disk.ts';
import { wellFormedPictures } from './hostile_pictures.ts';
import { hostileRequest, keptRecipe, type RawRequest } from './hostile_requests.ts';
import { describeLook, type MemoryLook, memoryFaults, memoryLooks, probeOptions } from './memory_looks.ts';
import { exchange, type RawAnswer } from './raw_answer.ts';

export interface FuzzOptions {
  readonly requests: number;
  /** 0 to 2³² - 1. */
  readonly seed: number;
  /** Ends it earlier. */
  readonly minutes?: number;
  /** Told now and then, and of every failure. */
  readonly tell: (line: string) => void;
}

export interface FuzzReport {
  readonly requests: number;
  /** How many requests were answered with each status; 0: with none, which only broken framing may be. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly damagedFiles: number;
  /** At the start, after a warm-up, after each tenth, and at the end after a pause. */
  readonly memory: readonly MemoryLook[];
  readonly acknowledged: { readonly samples: number; readonly models: number };
  readonly slowestMs: number;
  /** One sentence each; empty: nothing was found. */
  readonly failures: readonly string[];
}

const inParallel = 4;
/** On a busy machine the largest picture that is let in takes seconds. */
const patienceMs = 60_000;
/** A request with broken framing is given up when no answer has come by then. */
const hangUpMs = 400;
const requestsPerDamage = 15;
const requestsPerLook = 400;
/** After each the service is left alone and its memory looked at. */
const pieces = 10;
const pauseMs = 3000;
const mostFailures = 20;
const witnessRecipe = 'witness';

/**
 * Sends mutated requests to a real service and damages files of its models folder meanwhile. What is wrong afterwards, or on
 * the way, is a failure:
 *
 * - a 5xx but 503 and 507; a refusal without the contract's body; no answer, a late one, a dead process;
 * - a stack trace or the folder's path in an answer;
 * - a sample or model that was acknowledged in a recipe that nothing removes from, and is gone or another;
 * - memory that does not come back ({@link memoryFaults}).
 */
export async function runFuzz({
  requests,
  seed,
  minutes = Number.POSITIVE_INFINITY,
  tell,
}: FuzzOptions): Promise<FuzzReport> {
  const folder = mkdtempSync(join(tmpdir(), 'okng-fuzz-'));
  const modelsDir = join(folder, 'models-7f3e');
  const okng = await startOkng({
    BDI_MODELS_DIR: modelsDir,
    EXTRACTOR: 'embedded',
    INPUT_SIZE: '64',
    BDI_MIN_OK_SAMPLES: '1',
    BDI_MAX_BODY_MIB: '8',
    BDI_MAX_MEGAPIXELS: '16',
    BDI_MIN_FREE_MIB: '1',
    // Full soon: what grows up to a bound far away looks like a leak.
    BDI_BANK_CACHE_MIB: '8',
    NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} ${probeOptions}`,
  });
  const memory: MemoryLook[] = [];
  const lookAt = memoryLooks(okng);
  const look = async (at: string) => {
    memory.push(await lookAt(at));
    tell(describeLook(memory.at(-1) as MemoryLook));
  };
  const failures: string[] = [];
  /** What the service's log has to say of a failure of its own. */
  const logged = async ({ status, headers }: RawAnswer) => {
    if (status < 500) return '';
    await sleep(200);
    const entry = okng.log.find(
      ({ msg, request_id }) => msg === 'request failed' && request_id === headers['x-request-id'],
    );
    return entry === undefined ? '' : ` ${JSON.stringify(entry.err)}`;
  };
  const failed = (number: number, what: string, request?: RawRequest) => {
    if (failures.length >= mostFailures) return;
    const file = join(tmpdir(), `okng-fuzz-${seed}-${number}.raw`);
    if (request !== undefined) writeFileSync(file, request.bytes);
    failures.push(
      `request ${number} of seed ${seed}${request === undefined ? '' : ` (${request.about}, ${file})`}: ${what}`,
    );
    tell(failures.at(-1) as string);
  };

  try {
    await look('at the start');
    const pictures = await wellFormedPictures();
    const witness = await createWitness(okng, pictures);
    await plainRequests(okng, pictures);
    await look('after the warm-up');

    const statuses: Record<string, number> = {};
    const samples: string[] = [];
    const jobs: string[] = [];
    const acknowledged = createAcknowledged();
    const repairs: (() => void)[] = [];
    let damagedFiles = 0;
    let slowestMs = 0;
    let next = 0;
    let sent = 0;
    const endMs = performance.now() + minutes * 60_000;
    const report = (): FuzzReport => ({
      requests: sent,
      statuses,
      damagedFiles,
      memory,
      acknowledged: acknowledged.counts(),
      slowestMs: Math.round(slowestMs),
      failures,
    });
    const hasEnded = () => okng.child.exitCode !== null || okng.child.signalCode !== null;
    const goesOn = () => performance.now() < endMs && !hasEnded() && failures.length < mostFailures;

    const one = async (number: number): Promise<void> => {
      const dice = diceFor(seed, number);
      if (number % requestsPerDamage === 0) {
        // At most a few at a time, or nothing but broken files would be seen.
        if (repairs.length > 3 || dice.chance(0.3)) repairs.shift()?.();
        const repair = damageAFile(dice, modelsDir, isSpared);
        if (repair !== null) {
          repairs.push(repair);
          damagedFiles++;
        }
      }
      const request = hostileRequest(dice, { pictures, samples, jobs });
      const isHead = request.bytes.subarray(0, 5).toString('latin1') === 'HEAD ';
      let answer: RawAnswer;
      try {
        answer = await exchange(portOf(okng), request.bytes, {
          isHead,
          hangUpMs: request.isMangled ? hangUpMs : null,
          patienceMs,
        });
      } catch (error) {
        failed(number, (error as Error).message, request);
        return;
      }
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      slowestMs = Math.max(slowestMs, answer.ms);
      for (const fault of faultsOf(answer, request, isHead, folder))
        failed(number, fault + (await logged(answer)), request);
      const body = jsonIn(answer);
      if (body !== null && answer.status < 300) {
        acknowledged.note(request, body);
        if (typeof body.id === 'string') keepSome(jobs, [body.id]);
        if (Array.isArray(body.saved)) keepSome(samples, body.saved as string[]);
      }
    };
    const worker = async (end: number): Promise<void> => {
      while (next < end && goesOn()) {
        const number = next++;
        await one(number);
        sent++;
        if (number % requestsPerLook === requestsPerLook - 1) {
          for (const fault of await witness.faults()) failed(number, fault);
          tell(`${number + 1} requests, ${damagedFiles} files damaged`);
        }
      }
    };
    for (let piece = 1; piece <= pieces && goesOn(); piece++) {
      const end = Math.round((requests * piece) / pieces);
      await Promise.all(Array.from({ length: inParallel }, () => worker(end)));
      if (!hasEnded()) await look(`after ${sent} requests`);
    }

    for (const repair of repairs) repair();
    if (hasEnded()) {
      failed(next, `the service ended with ${await okng.ended}: ${JSON.stringify(okng.log.at(-1))}`);
      return report();
    }
    for (const fault of [...(await witness.faults()), ...(await acknowledged.faults(okng))]) failed(sent, fault);
    await plainRequests(okng, pictures);
    await sleep(pauseMs);
    await look('at the end');
    for (const fault of memoryFaults(memory)) failed(sent, fault);
    return report();
  } finally {
    await okng.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

const portOf = ({ url }: OkngProcess) => Number(new URL(url).port);

/** The recipes whose contents must not change but by requests. */
function isSpared(path: string): boolean {
  return [keptRecipe, witnessRecipe].some((recipe) => path.startsWith(`recipes/${recipe}/`));
}

/** What is wrong with an answer, whatever was asked. */
function faultsOf(
  answer: RawAnswer,
  { isMangled, about }: RawRequest,
  isHead: boolean,
  folder: string,
): readonly string[] {
  const { status, headers, body } = answer;
  if (status === 0) return isMangled ? [] : ['the connection ended without an answer'];
  const text = body.toString('latin1');
  const faults: string[] = [];
  if (status >= 500 && status !== 503 && status !== 507) faults.push(`status ${status}: ${text.slice(0, 500)}`);
  if (text.includes(folder) || text.includes('node_modules')) faults.push(`a path of this host: ${text.slice(0, 500)}`);
  if (/\bat .{1,200}\.[cm]?[jt]s:\d+/.test(text)) faults.push(`a stack trace: ${text.slice(0, 500)}`);
  const isReadiness = about.endsWith(' /readyz') && status === 503;
  if (status >= 400 && !isHead && !isReadiness) {
    const isProblem = headers['content-type']?.startsWith('application/problem+json') === true;
    if (!isProblem || !problemBody.safeParse(jsonIn(answer)).success)
      faults.push(`status ${status} without the body of an error: ${JSON.stringify(headers)} ${text.slice(0, 300)}`);
  }
  if (
    status < 300 &&
    !isHead &&
    headers['content-type']?.startsWith('application/json') === true &&
    jsonIn(answer) === null
  )
    faults.push(`status ${status} with a body that is no JSON object: ${text.slice(0, 300)}`);
  return faults;
}

function jsonIn({ body }: RawAnswer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function keepSome(list: string[], more: readonly string[]): void {
  list.push(...more);
  list.splice(0, list.length - 100);
}

interface Witness {
  /** What of it is not as it was. */
  faults(): Promise<readonly string[]>;
}

/** A calibrated model and a sample in a recipe that no request names. */
async function createWitness(okng: OkngProcess, pictures: readonly Buffer[]): Promise<Witness> {
  const names = { role_id: 'witness', roi_id: 'top', recipe_id: witnessRecipe };
  const files = (field: string) => pictures.slice(0, 3).map((bytes, i) => ({ field, name: `${i}.png`, bytes }));
  const image = files('image').slice(0, 1);
  const scale = { mm_per_px: '0.1' };
  const query = new URLSearchParams(names);
  const ask = async () => ({
    infer: (await postForm<{ score: number; threshold: number }>(`${okng.url}/infer`, { ...names, ...scale }, image))
      .body,
    list: (await (await fetch(`${okng.url}/datasets/list?${query}`)).json()) as {
      classes: { ok: { files: string[] } };
    },
  });
  const { status: fitted } = await postForm(`${okng.url}/fit_ok`, { ...names, ...scale }, files('images'));
  const { status: calibrated } = await postJson(`${okng.url}/calibrate_ng`, { ...names, ok_scores: [0.5, 0.6] });
  const { status: uploaded } = await postForm(`${okng.url}/datasets/ok/upload`, names, files('images'));
  if (fitted !== 200 || calibrated !== 200 || uploaded !== 200)
    throw new Error(`The witness could not be made: ${fitted} ${calibrated} ${uploaded}`);
  const state = async () => {
    const { infer, list } = await ask();
    const hashes: string[] = [];
    for (const filename of list.classes.ok.files) {
      const file = await fetch(`${okng.url}/datasets/file?${query}&label=ok&filename=${filename}`);
      hashes.push(
        createHash('sha256')
          .update(Buffer.from(await file.arrayBuffer()))
          .digest('hex'),
      );
    }
    return JSON.stringify([infer.score, infer.threshold, list.classes.ok.files, hashes]);
  };
  const before = await state();
  return {
    faults: async () => {
      const now = await state().catch((error: unknown) => String(error));
      return now === before ? [] : [`what was fitted, calibrated and stored before is another now: ${before}, ${now}`];
    },
  };
}

/** What the service has said it keeps, in the recipe that nothing is removed from. */
function createAcknowledged() {
  const samples = new Map<string, Set<string>>();
  const models = new Set<string>();
  return {
    note({ about }: RawRequest, body: Record<string, unknown>): void {
      if (body.recipe_id !== keptRecipe) return;
      const { role_id, roi_id, label, model_key, saved } = body as Record<string, string>;
      if (about.endsWith('/upload') && Array.isArray(saved)) {
        const key = JSON.stringify({ role_id, roi_id, label, recipe_id: keptRecipe });
        const known = samples.get(key) ?? new Set();
        for (const name of saved as string[]) known.add(name);
        samples.set(key, known);
      }
      if (about.endsWith('/fit_ok') && 'n_embeddings' in body)
        models.add(JSON.stringify({ role_id, roi_id, model_key, recipe_id: keptRecipe }));
    },
    counts: () => ({ samples: [...samples.values()].reduce((sum, { size }) => sum + size, 0), models: models.size }),
    async faults({ url }: OkngProcess): Promise<readonly string[]> {
      const faults: string[] = [];
      const get = async (path: string, key: string) => {
        const response = await fetch(`${url}${path}?${new URLSearchParams(JSON.parse(key) as Record<string, string>)}`);
        return (await response.json()) as Record<string, unknown>;
      };
      for (const [key, names] of samples) {
        const { label } = JSON.parse(key) as { label: 'ok' | 'ng' };
        const { classes } = (await get('/datasets/list', key)) as { classes?: Record<string, { files: string[] }> };
        const there = new Set(classes?.[label]?.files);
        for (const name of names)
          if (!there.has(name)) faults.push(`the acknowledged sample ${name} of ${key} is gone`);
      }
      for (const key of models) {
        const state = await get('/state', key);
        if (state.memory_fitted !== true)
          faults.push(`the acknowledged model ${key} is gone: ${JSON.stringify(state)}`);
      }
      return faults;
    },
  };
}

/** Warms up, and shows at the end that the service still answers as it did. */
async function plainRequests({ url }: OkngProcess, pictures: readonly Buffer[]): Promise<void> {
  const names = { role_id: 'witness', roi_id: 'top', recipe_id: witnessRecipe, mm_per_px: '0.1' };
  for (let i = 0; i < 40; i++) {
    const bytes = pictures[i % 3] as Buffer;
    const { status } = await postForm(`${url}/infer`, names, [{ field: 'image', name: 'a.png', bytes }]);
    if (status !== 200) throw new Error(`A plain inspection was answered ${status}.`);
  }
}
