import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig, settingRows } from '../src/config.ts';

function configFile(content: unknown): string {
  const path = join(mkdtempSync(join(tmpdir(), 'okng-config-')), 'okng.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
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
