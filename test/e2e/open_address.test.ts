import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { startOkng } from './process.ts';

const modelsDir = mkdtempSync(join(tmpdir(), 'okng-open-'));
const key = 'a-key-for-everybody-0';

afterAll(() => rmSync(modelsDir, { recursive: true, force: true }));

it.each([
  ['0.0.0.0', {}, 1],
  ['0.0.0.0', { BDI_API_KEYS: key }, 0],
  ['127.0.0.1', {}, 0],
])('on %s with %j the log warns of whoever may come: %i', async (host, keys, warnings) => {
  const light = { BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', BDI_LIGHT_IMPORT: '1' };
  const okng = await startOkng({ ...light, BDI_BACKEND_HOST: host, ...keys });
  const url = okng.url.replace('0.0.0.0', '127.0.0.1');
  expect((await fetch(`${url}/health`)).status).toBe(200);
  expect((await fetch(`${url}/recipes`)).status).toBe(warnings === 0 && host === '0.0.0.0' ? 401 : 200);
  expect((await fetch(`${url}/recipes`, { headers: { 'X-API-Key': key } })).status).toBe(200);
  expect(await okng.kill('SIGTERM')).toBe(0);
  expect(okng.log.filter(({ msg }) => String(msg).includes('BDI_API_KEYS'))).toHaveLength(warnings);
  expect(JSON.stringify(okng.log)).not.toContain(key);
});
