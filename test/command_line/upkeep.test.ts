import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelFileBase } from '../../src/store/file_names.ts';
import { chainA, handMade, writeAudit } from '../audit/chains.ts';
import { partPictures } from '../parts.ts';
import { filesBelow, predecessorIndex, predecessorNpz, writeFiles } from '../store/predecessor_files.ts';
import { cliFile, runCli } from './run_cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'okng-cli-upkeep-'));
const modelsDir = join(folder, 'models');
const archive = join(folder, 'a.tar');
const base = modelFileBase('Maße', 'top');
const picture = partPictures('train/good')[0]?.bytes as Uint8Array;

beforeAll(() =>
  writeFiles(modelsDir, {
    [`${base}.npz`]: predecessorNpz(0),
    [`${base}_index.faiss`]: predecessorIndex(0),
    'recipes/line2/recipe_meta.json': '{"mm_per_px":0.1}',
    [`recipes/line2/datasets/${base}/ok/1.jpg`]: picture,
    [`recipes/line2/datasets/${base}/ok/1.json`]: '{}',
    'extractors/vit/card.json': '{}',
  }),
);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const on = (dir: string, ...args: string[]) => runCli([...args, '--models-dir', dir]);

/** Bytes of stdout when a command is given bytes. */
async function piped(args: readonly string[], input: Uint8Array) {
  const child = spawn(process.execPath, [cliFile, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  const parts: Buffer[] = [];
  let told = '';
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  child.stderr.on('data', (part: Buffer) => {
    told += part.toString();
  });
  child.stdin.end(input);
  const code = await new Promise((resolve) => child.once('close', resolve));
  return { code, stdout: Buffer.concat(parts), told };
}

describe('okng backup and okng restore', () => {
  it('write an archive, prove it, and make a folder of it', async () => {
    const made = await on(modelsDir, 'backup', archive);
    expect(made.code).toBe(0);
    expect(made.stdout.split('\n')).toEqual([
      'Models: 1, with 0 kept generations and 0 calibrations. Pictures: 1. Scales of recipes: 1. Files of the audit: 0. Files of extractors: 0.',
      'Left out: 1 files of extractors, which can be installed again (--extractors takes them along).',
      expect.stringMatching(/^Archive: 5 files, [\d.]+ MB\.$/),
      '',
    ]);
    const proven = await on(join(folder, 'absent'), 'restore', archive, '--dry-run', '--json');
    expect([proven.code, JSON.parse(proven.stdout)]).toMatchObject([0, { dry_run: true, files: 5 }]);
    expect(existsSync(join(folder, 'absent'))).toBe(false);

    const restored = await on(join(folder, 'restored'), 'restore', archive);
    expect(restored).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Restored 5 files, .* by okng \d/) });
    const { 'extractors/vit/card.json': _, ...rest } = filesBelow(modelsDir);
    expect(filesBelow(join(folder, 'restored'))).toEqual(rest);
  });

  it('go through a pipe', async () => {
    const made = await piped(['backup', '-', '--json', '--extractors', '--models-dir', modelsDir], Buffer.alloc(0));
    expect(made.code).toBe(0);
    expect(JSON.parse(made.told.split('\n').find((line) => line.startsWith('{')) ?? '')).toMatchObject({ files: 6 });
    const target = join(folder, 'piped');
    expect(await piped(['restore', '-', '--models-dir', target], made.stdout)).toMatchObject({ code: 0 });
    expect(filesBelow(target)).toEqual(filesBelow(modelsDir));
  });

  it.skipIf(process.platform === 'win32')(
    'do with few open files, however many models and generations there are',
    async () => {
      const many = join(folder, 'many');
      const files: Record<string, string> = {};
      for (let role = 0; role < 20; role++) {
        const of = modelFileBase(`role ${role}`, 'top');
        for (const suffix of ['.npz', '_index.faiss', '_calib.json']) files[of + suffix] = `live ${role}`;
        for (let number = 1; number <= (role === 0 ? 200 : 3); number++) {
          files[`generations/${of}/${number}/memory.npz`] = `memory ${number}`;
          files[`generations/${of}/${number}/generation.json`] = `record ${number}`;
        }
      }
      writeFiles(many, files);
      const target = join(folder, 'many.tar');
      // Fewer than the files of one model; Node alone takes a hundred to load what okng is made of.
      const limited = (...args: string[]) =>
        promisify(execFile)('sh', ['-c', 'ulimit -n 256; exec "$0" "$@"', process.execPath, cliFile, ...args]);
      const made = await limited('backup', target, '--json', '--models-dir', many);
      expect(JSON.parse(made.stdout)).toMatchObject({ models: 20, generations: 200 + 19 * 3, removed_meanwhile: 0 });
      await limited('restore', target, '--models-dir', join(folder, 'many restored'));
      expect(filesBelow(join(folder, 'many restored'))).toEqual(filesBelow(many));
    },
  );

  it('leave nothing when they are killed, and the next restore clears away', async () => {
    const target = join(folder, 'killed', 'models');
    const bytes = readFileSync(archive);
    const child = spawn(process.execPath, [cliFile, 'restore', '-', '--models-dir', target], { stdio: 'pipe' });
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.stdin.write(bytes.subarray(0, bytes.length - 2000));
    const temp = join(folder, 'killed', '.tmp-restore-models');
    await expect.poll(() => existsSync(join(temp, `${base}.npz`)), { timeout: 20_000 }).toBe(true);
    child.kill('SIGKILL');
    await ended;
    expect(existsSync(target)).toBe(false);
    expect(await on(target, 'restore', archive)).toMatchObject({ code: 0 });
    expect(readdirSync(join(folder, 'killed'))).toEqual(['models']);
  });

  it('end with a sentence and 1', async () => {
    expect(await on(modelsDir, 'backup', archive)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/--replace/),
    });
    expect(await on(modelsDir, 'backup', archive, '--replace')).toMatchObject({ code: 0 });
    expect(await on(modelsDir, 'restore', archive)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/okng: The models folder is not empty/),
    });
    const cut = join(folder, 'cut.tar');
    writeFileSync(cut, readFileSync(archive).subarray(0, 5000));
    expect(await on(join(folder, 'none'), 'restore', cut)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/okng: The archive is damaged.*: it is cut off\. Nothing was restored/),
    });
    expect(existsSync(join(folder, 'none'))).toBe(false);
  });
});

describe('okng doctor', () => {
  it('tells what it finds, and ends with 1 when there is an error', async () => {
    const found = await on(modelsDir, 'doctor');
    expect(found.code).toBe(1);
    expect(found.stdout).toMatch(
      /^error {4}_?.*\.npz: The extractor that it needs is not here: one of 16 numbers per patch\. Install/m,
    );
    expect(found.stdout).toMatch(/^warning {2}extractors\/vit: The model card vit\/card\.json has wrong fields/m);
    expect(found.stdout).toMatch(/^ok {7}recipes\/line2\/datasets\/.*\/ok: 1 pictures\.$/m);
    expect(found.stdout).toMatch(/\nErrors: 1, warnings: 1\.\n$/);
  });

  it('ends with 0 when nothing is wrong, as JSON too, and looks at pictures with --deep', async () => {
    const healthy = join(folder, 'healthy');
    writeFiles(healthy, {
      [`recipes/line2/datasets/${base}/ok/1.jpg`]: picture,
      [`recipes/line2/datasets/${base}/ok/1.json`]: '{}',
    });
    const found = await on(healthy, 'doctor', '--json', '--deep');
    expect([found.code, JSON.parse(found.stdout)]).toMatchObject([0, { errors: 0, warnings: 0 }]);
    writeFileSync(join(healthy, `recipes/line2/datasets/${base}/ok/1.jpg`), picture.subarray(0, 3000));
    symlinkSync(modelsDir, join(healthy, 'recipes', 'line3'));
    const damaged = await on(healthy, 'doctor', '--json', '--deep');
    expect([damaged.code, JSON.parse(damaged.stdout)]).toMatchObject([1, { errors: 1, warnings: 1 }]);
  });

  it('verifies the audit, as okng audit verify does', async () => {
    const audited = join(folder, 'audited');
    const [[name, text]] = Object.entries(handMade(chainA, [2])) as [[string, string]];
    writeAudit(audited, { [name]: text });
    const good = await on(audited, 'doctor');
    expect([good.code, good.stdout]).toEqual([0, expect.stringMatching(/^ok {7}audit: 4 lines in 1 chains/)]);
    writeAudit(audited, { [name]: text.replace('"score":1.5', '"score":0.1') });
    const changed = await on(audited, 'doctor');
    expect([changed.code, changed.stdout]).toEqual([1, expect.stringContaining(`audit/${name}: Line 3 of the file: `)]);
  });
});
