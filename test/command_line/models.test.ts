import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createClient } from '../../src/client/client.ts';
import { type OkngProcess, startOkng } from '../e2e/process.ts';
import { partPictures } from '../parts.ts';
import { runCli } from './run_cli.ts';

let folder: string;
let okng: OkngProcess;
const ids = { role_id: 'flange', roi_id: 'top' };
const model = ['--role', ids.role_id, '--roi', ids.roi_id];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'okng-models-'));
  okng = await startOkng({ BDI_MODELS_DIR: folder, EXTRACTOR: 'embedded' });
  const client = createClient({ url: okng.url });
  for (const images of [partPictures('train/good').slice(0, 1), partPictures('train/good').slice(1, 2)])
    await client.fit({ ...ids, mm_per_px: 0.1, images: images.map(({ name, bytes }) => ({ name, bytes })) });
  await client.calibrateNg({ ...ids, ok_scores: [0.25] });
});
afterAll(async () => {
  await okng.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** One command on the folder and through the service that runs there. */
async function both(command: string, args: readonly string[] = []) {
  const run = (place: readonly string[]) => runCli(['models', command, ...place, ...args], { EXTRACTOR: 'embedded' });
  return { local: await run(['--models-dir', folder]), remote: await run(['--url', okng.url]) };
}

it('lists models and generations in the same words here and there', async () => {
  const list = await both('list');
  expect(list.remote).toMatchObject({ code: 0, stdout: list.local.stdout });
  expect(list.local.stdout).toMatch(
    /^flange \/ top in recipe default: generation 2; 21 × \d+; embedded.*threshold 0\.25\n$/,
  );
  const generations = await both('generations', [...model, '--json']);
  expect(generations.remote).toMatchObject({ code: 0, stdout: generations.local.stdout });
  expect(
    generations.local.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toMatchObject([
    { model_generation: 2, live: true, threshold: 0.25 },
    { model_generation: 1, live: false, threshold: null },
  ]);
});

it('rolls back beside a service that runs, and through it', async () => {
  const { local, remote } = await both('rollback', [...model, '--generation', '1']);
  expect(local.stdout).toBe('Generation 1 answers now instead of 2; not calibrated.\n');
  expect(remote.stdout).toBe('Generation 1 answers now instead of 1; not calibrated.\n');
  const back = await both('rollback', [...model, '--generation', '2', '--json']);
  expect(JSON.parse(back.local.stdout)).toMatchObject({ model_generation: 2, threshold: 0.25 });
  expect(JSON.parse(back.remote.stdout)).toEqual({ ...JSON.parse(back.local.stdout), previous_model_generation: 2 });
});

it('says what is kept when the wanted one is not', async () => {
  const { local, remote } = await both('rollback', [...model, '--generation', '9']);
  for (const { code, stderr } of [local, remote]) {
    expect(code).toBe(1);
    expect(stderr).toMatch(/no generation 9 of this model; kept are 1, 2/);
  }
  expect((await both('rollback', [...model, '--generation', '0'])).local.code).toBe(2);
});
