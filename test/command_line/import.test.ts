import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelFileBase } from '../../src/store/file_names.ts';
import { partPictures } from '../parts.ts';
import {
  filesBelow,
  predecessorIndex,
  predecessorNpz,
  withoutGenerations,
  writeFiles,
} from '../store/predecessor_files.ts';
import { runCli } from './run_cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-cli-import-'));
const source = join(folder, 'old');
const modelsDir = join(folder, 'new');
const base = modelFileBase('Maße', 'top');
const picture = partPictures('train/good')[0]?.bytes as Uint8Array;

beforeAll(() =>
  writeFiles(source, {
    [`${base}.npz`]: predecessorNpz(0, 1152),
    [`${base}_index.faiss`]: predecessorIndex(0, 1152),
    'part_3.npz': 'cut off',
    'recipes/line2/recipe_meta.json': '{"mm_per_px":0.1}',
    [`recipes/line2/datasets/${base}/ok/1.jpg`]: picture,
    [`recipes/line2/datasets/${base}/ok/2.jpg`]: picture.subarray(0, 3000),
    'notes.txt': 'x',
  }),
);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const run = (...more: string[]) => runCli(['import', source, '--models-dir', modelsDir, ...more]);

describe('okng import', () => {
  it('only tells in a dry run', async () => {
    const { code, stdout } = await run('--dry-run');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Dry run, nothing is written/);
    expect(() => filesBelow(modelsDir)).toThrow(/ENOENT/);
  });

  it('takes over what is good, names what is not and ends with 1', async () => {
    const { code, stdout, stderr } = await run();
    expect(code).toBe(1);
    expect(stdout.split('\n')).toEqual([
      'Scale of recipe line2: 0.1 mm/px; taken over.',
      'Model Maße / top in recipe default: 6 × 1152 on a 2 × 3 grid; index good; no calibration; of unknown origin; no extractor here is for it; taken over.',
      expect.stringMatching(/^Model file part_3\.npz in recipe default: REFUSED\. .*'part_3\.npz' is damaged/),
      expect.stringMatching(/^Models without an extractor here: 1\. .*okng model add/),
      'Dataset Maße / top in recipe line2, ok: 1 taken over, 1 REFUSED.',
      expect.stringMatching(/^ {2}2\.jpg: .*cut short/),
      'Passed over: notes.txt (neither a model, a scale nor a dataset).',
      '',
    ]);
    expect(stderr).toMatch(/pictures 2\/2[\s\S]*okng: refused: 2\. Everything else was taken over\./);
    expect(Object.keys(withoutGenerations(filesBelow(modelsDir)))).toEqual([
      `${base}.npz`,
      `${base}_index.faiss`,
      `recipes/line2/datasets/${base}/ok/1.jpg`,
      'recipes/line2/recipe_meta.json',
    ]);
  });

  it('tells as JSON, and ends with 0 when all of it is there', async () => {
    for (const bad of ['part_3.npz', `recipes/line2/datasets/${base}/ok/2.jpg`]) rmSync(join(source, bad));
    const { code, stdout } = await run('--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      dry_run: false,
      refused: 0,
      models: [{ outcome: 'there_already' }],
      datasets: [{ there_already: 1 }],
      passed_over: [{ path: 'notes.txt' }],
    });
  });

  it.each([
    [[join(folder, 'absent')], 1, /There is no folder/],
    [[modelsDir], 1, /one inside the other/],
    [[], 2, /missing required argument 'dir'/],
  ])('ends with a sentence for %j', async (args, expected, sentence) => {
    const { code, stdout, stderr } = await runCli(['import', ...args, '--models-dir', modelsDir]);
    expect([code, stdout]).toEqual([expected, '']);
    expect(stderr).toMatch(sentence);
  });
});
