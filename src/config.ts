import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';
import { InspectionError } from './errors.ts';
import { type NeighborsEngineName, neighborsEngineNames } from './neighbors/neighbors.ts';
import { type ScoreMode, scoreModes } from './patchcore/image_score.ts';

/** Everything that can be set, checked once at the start and frozen. Nothing else reads the environment. */
export interface Config {
  /** Absolute folder of fitted models and installed extractors. */
  readonly modelsDir: string;
  /** Start and answer /health without loading ONNX Runtime, sharp or a model; they load on first use. */
  readonly lightImport: boolean;
  /** Every verdict and change leaves a line in the audit before it is answered. */
  readonly audit: boolean;
  /** Size from which a file of the audit is followed by the next. */
  readonly auditFileBytes: number;
  /** The device wished for; what is not there is told by /health and the CPU serves. */
  readonly device: 'auto' | 'cpu' | 'cuda' | 'webgpu' | 'dml' | 'coreml';
  /** `embedded`, an installed extractor's name, the path of a model card, or null for the best one installed. */
  readonly extractor: string | null;
  /** Side of the network's square input in pixels, or null for the extractor's own. */
  readonly inputSize: number | null;
  /** What searches the memories; the answers are the same. */
  readonly neighbors: NeighborsEngineName;
  /** 0 < rate ≤ 1: share of the patches a memory keeps. */
  readonly coresetRate: number;
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** 0..100: percentile of the masked anomaly map that is the image score, and the default for OK scores. */
  readonly scorePercentile: number;
  /** How new memories make a score of a map; a fitted one keeps its own. */
  readonly scoreMode: ScoreMode;
  /** Bytes one memory may spend on patches with their places; 0: none. */
  readonly positionBytes: number;
  /** Defect regions smaller than this many mm² are not reported, unless a calibration says otherwise. */
  readonly areaMm2Thr: number;
  readonly minOkSamples: number;
  /** Memories of a model that are kept, the live one among them. */
  readonly keepGenerations: number;
  /** Go on judging by the threshold of the memory before, after a refit. */
  readonly keepCalibration: boolean;
  /** Origins a browser may call from; empty: none. */
  readonly corsOrigins: readonly string[];
  /** One of them must come with every request; empty: none is asked for. */
  readonly apiKeys: readonly ApiKey[];
  /** Free bytes on the disk of the models folder below which nothing more is written; 0: no limit. */
  readonly minFreeBytes: number;
  readonly maxBodyBytes: number;
  readonly maxPixels: number;
  /** Requests with pictures in flight, waiting ones included; one more is answered 429. */
  readonly queueLimit: number;
  /** Worker threads that run the network. */
  readonly workers: number;
  /** Bytes that the patches of one fit or review may take. */
  readonly fitBytes: number;
  /** Patches that one fit holds at once; beyond them they are thinned. */
  readonly fitPatches: number;
  /** Of memories kept loaded, in all threads together. */
  readonly bankCacheBytes: number;
  /** Threads inside one run of the network. */
  readonly threads: number;
  /** Threads inside a run that is the only one; null: no other number. */
  readonly threadsAlone: number | null;
  readonly logLevel: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';
  /** How long a shutdown waits for requests in progress. */
  readonly shutdownTimeoutMs: number;
  /** Address in place of the weights' publisher, or null. */
  readonly modelMirror: string | null;
  /** For downloads, as the environment names them in either case. */
  readonly proxies: { readonly https?: string; readonly http?: string; readonly none?: string };
}

/** A caller's key, and what the caller is called in the log. */
export interface ApiKey {
  readonly name: string;
  readonly key: string;
}

/** One setting: its name in the environment and in the config file, what it may be, and what it is for. */
export interface Setting {
  readonly env: string;
  readonly key: string;
  readonly fallback: string;
  readonly about: string;
  readonly schema: z.ZodType<unknown>;
  /** Its value is never shown, not even when it is wrong. */
  readonly secret?: boolean;
}

const cores = availableParallelism();
/** What this process may use of the machine's memory. */
const memoryMib = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) / (1024 * 1024);

const flag = z
  .string()
  .transform((text) => text.trim().toLowerCase())
  .pipe(z.enum(['1', '0', 'true', 'false', 'yes', 'no', 'on', 'off'], 'must be true/false, 1/0, yes/no or on/off'))
  .transform((text) => ['1', 'true', 'yes', 'on'].includes(text));

const decimal = (min: number, max: number, rule: string) =>
  z
    .string()
    .trim()
    .regex(/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i, `must be a number, ${rule}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be ${rule}`);

const integer = (min: number, max: number) =>
  z
    .string()
    .trim()
    .regex(/^\d+$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be a whole number from ${min} to ${max}`);

const choice = <const T extends readonly [string, ...string[]]>(values: T) =>
  z
    .string()
    .transform((text) => text.trim().toLowerCase())

    .pipe(z.enum(values as readonly [T[number], ...T[number][]], `must be one of ${values.join(', ')}`));

const apiKeyRule =
  'must be keys with commas between them, each of 16 to 200 printable ASCII characters without blanks, all different, perhaps as name:key (letters, digits, _ . - in the name, no name twice)';

/** `key` or `name:key`; a key without a name is called by its place. Null where it is neither. */
function apiKeyOf(text: string, place: number): ApiKey | null {
  const colon = text.indexOf(':');
  const name = colon < 0 ? `key_${place + 1}` : text.slice(0, colon);
  const key = text.slice(colon + 1);
  return /^[A-Za-z0-9_.-]{1,64}$/.test(name) && /^[!-~]{16,200}$/.test(key) ? { name, key } : null;
}

const apiKeyList = z
  .string()
  .transform((text) => text.split(',').map((part) => part.trim()))
  .transform((parts) => parts.filter((part) => part !== '').map(apiKeyOf))
  .refine((keys): keys is ApiKey[] => {
    const known = keys.filter((key) => key !== null);
    const differ = (values: readonly string[]) => new Set(values).size === keys.length;
    return differ(known.map(({ name }) => name)) && differ(known.map(({ key }) => key));
  }, apiKeyRule);

/** All settings, in the order README lists them. */
export const settings = {
  modelsDir: setting(
    'BDI_MODELS_DIR',
    'models',
    'Folder of fitted models and installed extractors.',
    z.string().min(1),
  ),
  host: setting('BDI_BACKEND_HOST', '127.0.0.1', 'Address to listen on.', z.string().trim().min(1)),
  port: setting('BDI_BACKEND_PORT', '8000', 'Port to listen on; 0 lets the system choose.', integer(0, 65535)),
  extractor: setting(
    'EXTRACTOR',
    '',
    'embedded, the name of an installed extractor, or the path of a model card. Empty: DINOv2 when installed, else embedded.',
    z.string().trim(),
  ),
  inputSize: setting(
    'INPUT_SIZE',
    '',
    "Side of the network's square input in pixels. Empty: the extractor's own.",
    z.union(
      [z.literal(''), integer(14, 4096)],
      "must be a whole number from 14 to 4096, or empty for the extractor's own",
    ),
  ),
  device: setting(
    'DEVICE',
    'auto',
    'auto, cpu, cuda, webgpu, dml or coreml. What is not there is told by /health and the CPU serves.',
    choice(['auto', 'cpu', 'cuda', 'webgpu', 'dml', 'coreml']),
  ),
  neighbors: setting(
    'BDI_NEIGHBORS',
    'onnx',
    'What searches the memories: onnx, onnx_int8 (a quarter of the memory, nearly the same answers), or faiss (another process, the same answers).',
    choice(neighborsEngineNames),
  ),
  coresetRate: setting(
    'CORESET_RATE',
    '0.02',
    'Share of the OK patches a memory keeps, above 0 up to 1.',
    decimal(Number.MIN_VALUE, 1, 'above 0 and at most 1'),
  ),
  scorePercentile: setting(
    'BDI_SCORE_PERCENTILE',
    '99',
    'Percentile of the anomaly map that is the image score, and the default percentile of OK scores in a calibration.',
    decimal(0, 100, 'from 0 to 100'),
  ),
  scoreMode: setting(
    'BDI_SCORE_MODE',
    'percentile',
    'percentile (BDI_SCORE_PERCENTILE of the anomaly map) or top_share (mean of its highest 1 %), for memories fitted from now on.',
    choice(scoreModes),
  ),
  positionMib: setting(
    'BDI_POSITION_MIB',
    '32',
    'MiB a memory may spend on patches with their places, for parts that always lie the same way; 0: none.',
    integer(0, 4096),
  ),
  areaMm2Thr: setting(
    'BDI_AREA_MM2_THR',
    '1.0',
    'Smallest reported defect region in mm², unless the calibration request gives one.',
    decimal(0, 1e12, 'at least 0'),
  ),
  minOkSamples: setting(
    'BDI_MIN_OK_SAMPLES',
    '10',
    'Fewest stored OK samples for a fit from the dataset (`use_dataset`).',
    integer(1, 1_000_000),
  ),
  keepGenerations: setting(
    'BDI_KEEP_GENERATIONS',
    '3',
    'Memories kept of each model for a rollback, the one that answers among them.',
    integer(1, 1000),
  ),
  keepCalibration: setting(
    'BDI_KEEP_CALIBRATION',
    '0',
    '1: after a refit go on judging by the old threshold until the model is calibrated again; every answer says so (calib_stale).',
    flag,
  ),
  corsOrigins: setting(
    'BDI_CORS_ORIGINS',
    '',
    'Comma-separated origins that browsers may call from, or *. Empty: none.',
    z.string().transform((text) =>
      text
        .split(',')
        .map((origin) => origin.trim())
        .filter((origin) => origin !== ''),
    ),
  ),
  apiKeys: {
    ...setting(
      'BDI_API_KEYS',
      '',
      'Comma-separated keys (16 characters or more) or name:key, one of which a request must bring: Bearer or X-API-Key. Empty: none.',
      apiKeyList,
    ),
    secret: true,
  },
  minFreeMib: setting(
    'BDI_MIN_FREE_MIB',
    '500',
    'MiB to stay free on the disk of the models folder; below that nothing is stored (507) and inspections go on. 0: no limit.',
    integer(0, 1024 * 1024 * 1024),
  ),
  audit: setting(
    'BDI_AUDIT',
    '0',
    '1: every verdict and every change leaves a line in the folder audit of the models folder before it is answered; what cannot be audited is refused.',
    flag,
  ),
  auditMib: setting(
    'BDI_AUDIT_MIB',
    '64',
    'MiB from which a file of the audit is followed by the next; none is ever removed.',
    integer(1, 4096),
  ),
  fitMib: setting(
    'BDI_FIT_MIB',
    String(Math.floor(memoryMib / 2)),
    'MiB that the patches of one fit or review may take (half of the memory); one of more pictures is refused.',
    integer(1, 16_777_216),
  ),
  fitPatches: setting(
    'BDI_FIT_PATCHES',
    '400000',
    'Patches that one fit holds at once; of more pictures they are thinned as they come, and the answer says how well.',
    integer(1000, 100_000_000),
  ),
  bankCacheMib: setting(
    'BDI_BANK_CACHE_MIB',
    '1024',
    'MiB of memories kept loaded, in all threads together; the longest unused are dropped, and read again when asked for.',
    integer(1, 1_048_576),
  ),
  lightImport: setting(
    'BDI_LIGHT_IMPORT',
    '0',
    '1: load nothing heavy before first use; /health answers at once.',
    flag,
  ),
  maxBodyMib: setting('BDI_MAX_BODY_MIB', '64', 'Largest request body in MiB.', integer(1, 4096)),
  maxMegapixels: setting('BDI_MAX_MEGAPIXELS', '64', 'Largest picture in megapixels.', integer(1, 1000)),
  queueLimit: setting(
    'BDI_QUEUE_LIMIT',
    '32',
    'Requests with pictures in flight, waiting ones included; one more is answered 429.',
    integer(1, 10_000),
  ),
  workers: setting(
    'BDI_WORKERS',
    String(Math.max(1, Math.floor(cores / 4))),
    'Runs of the network at once (one quarter of the cores); all the cores, for several cameras.',
    integer(1, 256),
  ),
  threads: setting(
    'BDI_THREADS',
    '',
    'Threads of one run and one search. Empty: the cores divided by BDI_WORKERS, all of them for a picture that comes alone; up to 8 for a search.',
    z.union([z.literal(''), integer(1, 256)], 'must be a whole number from 1 to 256, or empty'),
  ),
  logLevel: setting(
    'BDI_LOG_LEVEL',
    'info',
    'fatal, error, warn, info, debug, trace or silent.',
    choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
  ),
  shutdownTimeoutS: setting(
    'BDI_SHUTDOWN_TIMEOUT_S',
    '20',
    'Seconds a shutdown waits for requests in progress before it abandons them.',
    decimal(0, 3600, 'from 0 to 3600'),
  ),
  modelMirror: setting(
    'BDI_MODEL_MIRROR',
    '',
    'Address that `okng model fetch` asks in place of https://huggingface.co. It goes through HTTPS_PROXY, HTTP_PROXY and NO_PROXY as set.',
    z.string().trim(),
  ),
} as const;

const configFileSetting = {
  env: 'BDI_CONFIG',
  about: 'JSON file with settings under the lower-case names of this table (without bdi_); the environment beats it.',
} as const;

/** Rows for `--help` and README: name, default, meaning. */
export function settingRows(): readonly { readonly env: string; readonly fallback: string; readonly about: string }[] {
  const rows = Object.values(settings).map(({ env, fallback, about }) => ({ env, fallback, about }));
  return [...rows, { env: configFileSetting.env, fallback: '', about: configFileSetting.about }];
}

/**
 * Reads the configuration: `overrides` (command-line options) beat the environment, which beats the config file, which
 * beats the defaults. An empty environment value counts as not set.
 *
 * @param overrides values by environment name, already as text
 * @throws InspectionError `invalid_config` with one line for every thing that is wrong: unusable values, unknown
 *   `BDI_*` names, unknown keys of the config file
 */
export function loadConfig(
  environment: Readonly<Record<string, string | undefined>> = process.env,
  overrides: Readonly<Record<string, string>> = {},
): Config {
  const problems: string[] = [];
  const given = { ...withoutEmpty(environment), ...overrides };
  const file = readConfigFile(given[configFileSetting.env], problems);

  const known = new Set<string>([...Object.values(settings).map(({ env }) => env), configFileSetting.env]);
  for (const name of Object.keys(given)) {
    if (name.startsWith('BDI_') && !known.has(name))
      problems.push(`${name} is not a setting${suggestion(name, known)}.`);
  }

  const read = <K extends keyof typeof settings>(name: K): z.output<(typeof settings)[K]['schema']> => {
    const { env, key, schema, fallback, secret = false }: Setting & (typeof settings)[K] = settings[name];
    const [text, origin] =
      given[env] !== undefined
        ? [given[env], env]
        : file[key] !== undefined
          ? [file[key], `${key} in the config file`]
          : [fallback, env];
    const parsed = schema.safeParse(text);
    if (parsed.success) return parsed.data as z.output<(typeof settings)[K]['schema']>;
    const shown = secret ? '' : `; it is ${JSON.stringify(text)}`;
    problems.push(`${origin} ${parsed.error.issues[0]?.message ?? 'is unusable'}${shown}.`);
    return undefined as z.output<(typeof settings)[K]['schema']>;
  };

  const modelsDir = read('modelsDir') ?? '.';
  const extractor = read('extractor');
  const inputSize = read('inputSize');
  const threads = read('threads');
  const workers = read('workers');
  const threadsEach = threads === '' ? Math.max(1, Math.floor(cores / workers)) : threads;
  const mirror = read('modelMirror');
  const config: Config = {
    modelsDir: resolve(modelsDir),
    lightImport: read('lightImport'),
    audit: read('audit'),
    auditFileBytes: read('auditMib') * 1024 * 1024,
    device: read('device'),
    neighbors: read('neighbors'),
    extractor: extractor === '' ? null : extractor,
    inputSize: inputSize === '' ? null : inputSize,
    coresetRate: read('coresetRate'),
    host: read('host'),
    port: read('port'),
    scorePercentile: read('scorePercentile'),
    scoreMode: read('scoreMode'),
    positionBytes: read('positionMib') * 1024 * 1024,
    areaMm2Thr: read('areaMm2Thr'),
    minOkSamples: read('minOkSamples'),
    keepGenerations: read('keepGenerations'),
    keepCalibration: read('keepCalibration'),
    corsOrigins: read('corsOrigins'),
    apiKeys: read('apiKeys'),
    minFreeBytes: read('minFreeMib') * 1024 * 1024,
    maxBodyBytes: read('maxBodyMib') * 1024 * 1024,
    maxPixels: read('maxMegapixels') * 1_000_000,
    fitBytes: read('fitMib') * 1024 * 1024,
    fitPatches: read('fitPatches'),
    bankCacheBytes: read('bankCacheMib') * 1024 * 1024,
    queueLimit: read('queueLimit'),
    workers,
    threads: threadsEach,
    threadsAlone: threads === '' && threadsEach < cores ? cores : null,
    logLevel: read('logLevel'),
    shutdownTimeoutMs: read('shutdownTimeoutS') * 1000,
    modelMirror: mirror === '' ? null : mirror,
    proxies: proxiesOf(given),
  };
  if (problems.length > 0) {
    throw new InspectionError('invalid_config', `The configuration cannot be used:\n  - ${problems.join('\n  - ')}`);
  }
  return Object.freeze(config);
}

function setting<S extends z.ZodType<unknown>>(env: string, fallback: string, about: string, schema: S) {
  return { env, key: env.replace(/^BDI_/, '').toLowerCase(), fallback, about, schema };
}

/** Lower case first, as curl does. */
function proxiesOf(given: Readonly<Record<string, string>>): Config['proxies'] {
  const named = (name: string) => given[name] ?? given[name.toUpperCase()];
  const [https, http, none] = [named('https_proxy'), named('http_proxy'), named('no_proxy')];
  return {
    ...(https !== undefined && { https }),
    ...(http !== undefined && { http }),
    ...(none !== undefined && { none }),
  };
}

function withoutEmpty(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const entries = Object.entries(environment).filter(([, value]) => value !== undefined && value.trim() !== '');
  return Object.fromEntries(entries) as Record<string, string>;
}

/** The file's values as text, by key; a wrong file adds to `problems` and counts as empty. */
function readConfigFile(path: string | undefined, problems: string[]): Record<string, string> {
  if (path === undefined) return {};
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    // A syntax error's own text shows what stands there, which may be a key.
    const reason = cause instanceof SyntaxError ? 'its text is none' : (cause as Error).message;
    problems.push(`${configFileSetting.env} names ${JSON.stringify(path)}, which cannot be read as JSON (${reason}).`);
    return {};
  }
  const parsed = z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]))
    .safeParse(content);
  if (!parsed.success) {
    problems.push(
      `The config file ${JSON.stringify(path)} must be one JSON object of texts, numbers, booleans and lists of texts.`,
    );
    return {};
  }
  const keys = new Set(Object.values(settings).map(({ key }) => key));
  const values: Record<string, string> = {};
  for (const [key, value] of Object.entries(parsed.data)) {
    if (keys.has(key)) values[key] = Array.isArray(value) ? value.join(',') : String(value);
    else problems.push(`${key} in the config file is not a setting${suggestion(key, keys)}.`);
  }
  return values;
}

/** " (did you mean X?)" when a known name is two letters away or less. */
function suggestion(name: string, known: ReadonlySet<string>): string {
  const near = [...known].find((candidate) => editDistance(name, candidate) <= 2);
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(swap, (previous[j] as number) + 1, (row[j - 1] as number) + 1));
    }
    previous = row;
  }
  return previous[b.length] as number;
}
