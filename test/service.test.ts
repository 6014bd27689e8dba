import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadConfig } from '../src/config.ts';
import { createService } from '../src/service.ts';

let modelsDir = '';
beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-service-'));
});
afterEach(() => rmSync(modelsDir, { recursive: true, force: true }));

function write(ageMinutes: number, ...segments: readonly string[]): void {
  const path = join(modelsDir, ...segments);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '');
  const then = Date.now() / 1000 - ageMinutes * 60;
  utimesSync(path, then, then);
}

it('sweeps what killed processes left: of models, of datasets, of recipes that were being removed', async () => {
  const samples = ['recipes', 'line1', 'datasets', 'YQ__Yg', 'ok'];
  write(11, '.tmp-1');
  write(11, 'recipes', 'line1', 'key', '.tmp-2');
  write(11, ...samples, '.tmp-3');
  write(11, ...samples, '20240501-101112-345-0000-0123456789ab.json');
  write(9, ...samples, '.tmp-young');
  write(11, ...samples, 'kept.png');
  write(0, 'recipes', '.tmp-4', 'key', 'a.npz');
  const config = loadConfig({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', BDI_LIGHT_IMPORT: '1' });
  const service = await createService(config);
  expect(await service.removeStaleTemps()).toBe(5);
  expect(await service.removeStaleTemps()).toBe(0);
  await service.close();
  const names = readdirSync(modelsDir, { recursive: true }) as string[];
  const left = names.filter((name) => statSync(join(modelsDir, name)).isFile()).sort();
  expect(left).toEqual([join(...samples, '.tmp-young'), join(...samples, 'kept.png')].sort());
});
