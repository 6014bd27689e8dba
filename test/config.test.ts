import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type Config, loadConfig, settingRows } from '../src/config.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;

function configFile(content: unknown): string {
  const path = join(folder, `okng_${files++}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

/** Every setting: what it may be, and what the configuration makes of it. */
const given: readonly (readonly [env: string, text: string, key: keyof Config, value: unknown])[] = [
  ['BDI_MODELS_DIR', '/srv/models', 'modelsDir', resolve('/srv/models')],
  ['BDI_BACKEND_HOST', '0.0.0.0', 'host', '0.0.0.0'],
  ['BDI_BACKEND_PORT', '8123', 'port', 8123],
  ['EXTRACTOR', 'embedded', 'extractor', 'embedded'],
  ['INPUT_SIZE', '448', 'inputSize', 448],
  ['DEVICE', 'cuda', 'device', 'cuda'],
  ['BDI_NEIGHBORS', 'faiss', 'neighbors', 'faiss'],
  ['CORESET_RATE', '0.1', 'coresetRate', 0.1],
  ['BDI_SCORE_PERCENTILE', '95', 'scorePercentile', 95],
  ['BDI_SCORE_MODE', 'top_share', 'scoreMode', 'top_share'],
  ['BDI_POSITION_MIB', '3', 'positionBytes', 3 * 1024 * 1024],
  ['BDI_AREA_MM2_THR', '2.5', 'areaMm2Thr', 2.5],
  ['BDI_MIN_OK_SAMPLES', '4', 'minOkSamples', 4],
  ['BDI_KEEP_GENERATIONS', '5', 'keepGenerations', 5],
  ['BDI_KEEP_CALIBRATION', '1', 'keepCalibration', true],
  ['BDI_CORS_ORIGINS', 'http://gui.example', 'corsOrigins', ['http://gui.example']],
  ['BDI_API_KEYS', 'gui:0123456789abcdef', 'apiKeys', [{ name: 'gui', key: '0123456789abcdef' }]],
  ['BDI_MIN_FREE_MIB', '3', 'minFreeBytes', 3 * 1024 * 1024],
  ['BDI_AUDIT', 'on', 'audit', true],
  ['BDI_AUDIT_MIB', '5', 'auditFileBytes', 5 * 1024 * 1024],
  ['BDI_FIT_MIB', '11', 'fitBytes', 11 * 1024 * 1024],
  ['BDI_FIT_PATCHES', '5000', 'fitPatches', 5000],
  ['BDI_BANK_CACHE_MIB', '9', 'bankCacheBytes', 9 * 1024 * 1024],
  ['BDI_LIGHT_IMPORT', '1', 'lightImport', true],
  ['BDI_MAX_BODY_MIB', '7', 'maxBodyBytes', 7 * 1024 * 1024],
  ['BDI_MAX_MEGAPIXELS', '3', 'maxPixels', 3_000_000],
  ['BDI_QUEUE_LIMIT', '5', 'queueLimit', 5],
  ['BDI_WORKERS', '249', 'workers', 249],
  ['BDI_THREADS', '251', 'threads', 251],
  ['BDI_LOG_LEVEL', 'debug', 'logLevel', 'debug'],
  ['BDI_SHUTDOWN_TIMEOUT_S', '1.5', 'shutdownTimeoutMs', 1500],
  ['BDI_MODEL_MIRROR', 'https://mirror.example', 'modelMirror', 'https://mirror.example'],
];

/** Its name in the config file. */
const fileKey = (env: string) => env.replace('BDI_', '').toLowerCase();

describe('every setting', () => {
  it('is among these', () => {
    expect([...given.map(([env]) => env), 'BDI_CONFIG'].sort()).toEqual(
      settingRows()
        .map(({ env }) => env)
        .sort(),
    );
  });

  it.each(given)('%s is read from the environment and from the config file', (env, text, key, value) => {
    expect(loadConfig({})[key]).not.toEqual(value);
    expect(loadConfig({ [env]: text })[key]).toEqual(value);
    expect(loadConfig({ BDI_CONFIG: configFile({ [fileKey(env)]: text }) })[key]).toEqual(value);
  });

  it.each(given)('%s in the environment beats the config file, also with the default', (env, text, key, value) => {
    const { fallback } = settingRows().find((row) => row.env === env) as { fallback: string };
    const file = { BDI_CONFIG: configFile({ [fileKey(env)]: text }) };
    if (fallback !== '') expect(loadConfig({ ...file, [env]: fallback })[key]).toEqual(loadConfig({})[key]);
    const other = { BDI_CONFIG: configFile({ [fileKey(env)]: fallback }) };
    expect(loadConfig({ ...other, [env]: text })[key]).toEqual(value);
  });

  it('that is unusable is on the list of what is wrong, in the environment and in the config file', () => {
    const wrong = given
      .map(([env]) => env)
      .filter(
        (env) =>
          !['BDI_MODELS_DIR', 'BDI_BACKEND_HOST', 'EXTRACTOR', 'BDI_CORS_ORIGINS', 'BDI_MODEL_MIRROR'].includes(env),
      );
    expect(wrong.length).toBeGreaterThan(15);
    const bad = '-?';
    const inFile = { BDI_CONFIG: configFile(Object.fromEntries(wrong.map((env) => [fileKey(env), bad]))) };
    for (const [environment, nameOf] of [
      [Object.fromEntries(wrong.map((env) => [env, bad])), (env: string) => `- ${env} `],
      [inFile, (env: string) => `- ${fileKey(env)} in the config file `],
    ] as const) {
      const said = messageOf(() => loadConfig({ ...environment, BDI_NOTHING: '1', BDI_MODEL_DIR: '/x' }));
      for (const env of wrong) expect(said).toContain(nameOf(env));
      expect(said).toContain('BDI_NOTHING is not a setting');
      expect(said).toContain('BDI_MODEL_DIR is not a setting');
      expect(said.split('\n')).toHaveLength(1 + wrong.length + 2);
    }
  });
});

function messageOf(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was wrong');
}

describe('loadConfig', () => {
  it('has the defaults of the contract', () => {
    const config = loadConfig({});
    expect(config).toMatchObject({
      modelsDir: resolve('models'),
      host: '127.0.0.1',
      port: 8000,
      coresetRate: 0.02,
      scorePercentile: 99,
      areaMm2Thr: 1,
      minOkSamples: 10,
      corsOrigins: [],
      lightImport: false,
      device: 'auto',
      extractor: null,
      inputSize: null,
      maxBodyBytes: 64 * 1024 * 1024,
    });
    expect(Object.isFrozen(config)).toBe(true);
  });

  it('takes proxies from the environment in either case, the lower one first, and a mirror', () => {
    expect(loadConfig({})).toMatchObject({ proxies: {}, modelMirror: null });
    const config = loadConfig({
      HTTPS_PROXY: 'http://upper:1',
      https_proxy: 'http://lower:1',
      HTTP_PROXY: 'http://plain:2',
      no_proxy: 'plant.example',
      BDI_MODEL_MIRROR: ' https://mirror.example/hf ',
    });
    expect(config.proxies).toEqual({ https: 'http://lower:1', http: 'http://plain:2', none: 'plant.example' });
    expect(config.modelMirror).toBe('https://mirror.example/hf');
  });

  it('reads every kind of value, and takes empty text for not set', () => {
    const config = loadConfig({
      BDI_LIGHT_IMPORT: 'Yes',
      DEVICE: 'CUDA',
      INPUT_SIZE: '448',
      CORESET_RATE: '1e-1',
      BDI_CORS_ORIGINS: 'http://a.example, http://b.example',
      BDI_BACKEND_PORT: '  ',
    });
    expect(config).toMatchObject({
      lightImport: true,
      device: 'cuda',
      inputSize: 448,
      coresetRate: 0.1,
      corsOrigins: ['http://a.example', 'http://b.example'],
      port: 8000,
    });
  });

  it('lets the environment beat the file, and options beat both', () => {
    const file = configFile({ coreset_rate: 0.5, backend_port: 9000, cors_origins: ['http://a.example'] });
    expect(loadConfig({ BDI_CONFIG: file })).toMatchObject({
      coresetRate: 0.5,
      port: 9000,
      corsOrigins: ['http://a.example'],
    });
    expect(loadConfig({ BDI_CONFIG: file, BDI_BACKEND_PORT: '9001' })).toMatchObject({ port: 9001 });
    expect(loadConfig({ BDI_CONFIG: file, BDI_BACKEND_PORT: '9001' }, { BDI_BACKEND_PORT: '9002' })).toMatchObject({
      port: 9002,
    });
  });

  it('stops with the whole list of what is wrong', () => {
    const environment = {
      BDI_MODEL_DIR: '/x',
      BDI_BACKEND_PORT: '70000',
      CORESET_RATE: '0',
      BDI_LIGHT_IMPORT: 'maybe',
      BDI_CONFIG: configFile({ corset_rate: 1 }),
    };
    expect(() => loadConfig(environment)).toThrow(
      expect.objectContaining({
        code: 'invalid_config',
        message: expect.stringMatching(
          /corset_rate in the config file is not a setting \(did you mean coreset_rate\?\)[\s\S]*BDI_MODEL_DIR is not a setting \(did you mean BDI_MODELS_DIR\?\)[\s\S]*BDI_BACKEND_PORT[\s\S]*"70000"/,
        ),
      }),
    );
    expect(() => loadConfig(environment)).toThrow(/CORESET_RATE must be above 0 and at most 1; it is "0"/);
    expect(() => loadConfig(environment)).toThrow(/BDI_LIGHT_IMPORT must be true\/false/);
  });

  it.each([
    ['CORESET_RATE', 'NaN'],
    ['CORESET_RATE', '1.01'],
    ['BDI_SCORE_PERCENTILE', '101'],
    ['BDI_SCORE_PERCENTILE', '0x10'],
    ['INPUT_SIZE', '13'],
    ['INPUT_SIZE', '448.5'],
    ['DEVICE', 'tpu'],
    ['BDI_AREA_MM2_THR', '-1'],
    ['BDI_MIN_OK_SAMPLES', '0'],
  ])('refuses %s = %s', (name, value) => {
    expect(() => loadConfig({ [name]: value })).toThrow(new RegExp(`${name}.*${value.replace('.', '\\.')}`));
  });

  it('refuses a config file that is not there or no JSON object', () => {
    expect(() => loadConfig({ BDI_CONFIG: '/nowhere/okng.json' })).toThrow(/cannot be read as JSON/);
    expect(() => loadConfig({ BDI_CONFIG: configFile('[1]') })).toThrow(/must be one JSON object/);
  });

  it('lists every setting for the help', () => {
    expect(settingRows().map(({ env }) => env)).toEqual(
      expect.arrayContaining(['BDI_MODELS_DIR', 'EXTRACTOR', 'BDI_CONFIG']),
    );
  });
});

describe('BDI_API_KEYS', () => {
  const keysOf = (text: string) => loadConfig({ BDI_API_KEYS: text }).apiKeys;

  it('holds keys with and without a name; those without are called by their place', () => {
    expect(keysOf(' 0123456789abcdef , gui:with:colons:0123456789,,')).toEqual([
      { name: 'key_1', key: '0123456789abcdef' },
      { name: 'gui', key: 'with:colons:0123456789' },
    ]);
    expect(keysOf('')).toEqual([]);
  });

  it.each([
    ['15 characters', 'shortsecret1234'],
    ['15 characters behind a name', 'gui:shortsecret1234'],
    ['a blank', 'secret with a blank'],
    ['a letter beyond ASCII', 'secret-0123456789-ä'],
    ['a name that is none', 'g/u:secret-0123456789'],
    ['a key twice', 'a:secret-0123456789,b:secret-0123456789'],
    ['a name twice', 'a:secret-0123456789,a:secret-0123456780'],
    ['the name of a place twice', 'secret-0123456789,key_1:secret-0123456780'],
  ])('refuses %s, and does not show it', (_, text) => {
    for (const environment of [{ BDI_API_KEYS: text }, { BDI_CONFIG: configFile({ api_keys: text }) }]) {
      expect(() => loadConfig(environment)).toThrow(
        /(BDI_API_KEYS|api_keys in the config file) must be keys with commas/,
      );
      expect(messageOf(() => loadConfig(environment))).not.toContain('secret');
    }
  });

  it('are not shown where the config file is no JSON', () => {
    const path = configFile('{"api_keys": "secret-0123456789" "x"}');
    expect(messageOf(() => loadConfig({ BDI_CONFIG: path }))).not.toContain('secret');
  });
});
