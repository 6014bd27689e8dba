import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readArchive } from '../../src/store/archive.ts';
import { type BackupOrder, mostOpenFiles, writeBackup } from '../../src/store/backup.ts';
import { modelFileBase } from '../../src/store/file_names.ts';
import { withLock } from '../../src/store/model_lock.ts';
import { writeFiles } from './predecessor_files.ts';

/** What happens when a file was opened, and how many are open. */
const opening = vi.hoisted(() => ({ done: (_path: string): void => undefined, now: 0, most: 0 }));

vi.mock('../../src/store/open_file.ts', async (original) => {
  const real = await original<typeof import('../../src/store/open_file.ts')>();
  return {
    ...real,
    openStoredFile: async (path: string) => {
      const file = await real.openStoredFile(path).finally(() => opening.done(path));
      if (file === undefined) return undefined;
      opening.most = Math.max(opening.most, ++opening.now);
      const close = () => file.close().finally(() => opening.now--);
      return { ...file, close };
    },
  };
});

let modelsDir = '';
beforeEach(() => {
  modelsDir = mkdtempSync(join(tmpdir(), 'okng-backup-'));
});
afterEach(() => {
  opening.done = () => undefined;
  rmSync(modelsDir, { recursive: true, force: true });
});

const base = modelFileBase('role', 'roi');
const origin = { created_at_utc: '2026-01-02T03:04:05.000Z', okng_version: '0.1.0' };
const dataset = `recipes/line2/datasets/${base}/ok`;
const plant = {
  [`${base}.npz`]: 'memory 0',
  [`${base}_index.faiss`]: 'index 0',
  [`${base}_calib.json`]: 'calibration 0',
  [`generations/${base}/1/memory.npz`]: 'memory 0',
  [`generations/${base}/1/generation.json`]: 'record 0',
  [`generations/${base}/damaged-20260102T030405678Z.npz`]: 'set aside',
  [`recipes/line2/roi/${base}_calib.json`]: 'waits for its memory',
  'recipes/line2/recipe_meta.json': 'scale',
  [`${dataset}/a.png`]: 'picture a',
  [`${dataset}/a.bmp`]: 'picture a, too',
  [`${dataset}/a.json`]: 'meta a',
  [`${dataset}/b.png`]: 'picture b, without meta',
  'audit/1.jsonl': 'line\n',
};
const leftOut = {
  '.tmp-1': 'x',
  '.tmp-lock-x': 'x',
  'jobs/1.json': '{}',
  [`${dataset}/lonely.json`]: 'of an upload that is going on',
  'extractors/vit/model.safetensors.part': 'x',
};

/** What an archive of the folder holds, in its order. @param onWrite is called before each piece */
async function backedUp(more: Partial<BackupOrder> = {}, onWrite: (bytes: Uint8Array) => void = () => undefined) {
  const parts: Uint8Array[] = [];
  const write = async (bytes: Uint8Array) => {
    onWrite(bytes);
    parts.push(Buffer.from(bytes));
  };
  const summary = await writeBackup(write, { modelsDir, origin, withExtractors: false, ...more });
  const files: Record<string, string> = {};
  async function* archive() {
    yield Buffer.concat(parts);
  }
  await readArchive(archive(), async ({ segments }, content) => {
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(piece);
    files[segments.join('/')] = Buffer.concat(pieces).toString();
  });
  return { summary, files, order: Object.keys(files) };
}

/** Does something in the moment when the archive comes to a file with this content. */
const atContent = (text: string, act: () => void) => (bytes: Uint8Array) => {
  if (Buffer.from(bytes).toString() === text) act();
};

describe('writeBackup', () => {
  it('takes everything that is okng’s and nothing else', async () => {
    writeFiles(modelsDir, { ...plant, ...leftOut, 'notes.txt': 'x' });
    symlinkSync(modelsDir, join(modelsDir, 'recipes', 'link'));
    const { summary, files } = await backedUp();
    expect(files).toEqual(plant);
    expect(summary).toMatchObject({
      files: 13,
      models: 1,
      generations: 2,
      calibrations: 2,
      pictures: 3,
      scales: 1,
      audit_files: 1,
      removed_meanwhile: 0,
      passed_over: ['notes.txt', 'recipes/link'],
    });
  });

  it('takes extractors along only when asked to, and says so', async () => {
    const extractor = { 'extractors/vit/card.json': 'card', 'extractors/vit/model.onnx': 'weights' };
    writeFiles(modelsDir, { ...leftOut, ...extractor });
    const without = await backedUp();
    expect(without).toMatchObject({ files: {}, summary: { extractor_files: 0, extractor_files_left_out: 2 } });
    const withThem = await backedUp({ withExtractors: true });
    expect(withThem.files).toEqual(extractor);
    expect(withThem.summary).toMatchObject({ extractor_files: 2, extractor_files_left_out: 0 });
  });

  it('reads a recipe’s scale after its models and samples', async () => {
    writeFiles(modelsDir, plant);
    const { order } = await backedUp();
    const of = (path: string) => order.indexOf(path);
    expect(of('recipes/line2/recipe_meta.json')).toBeGreaterThan(of(`${dataset}/b.png`));
    expect(of('recipes/line2/recipe_meta.json')).toBeGreaterThan(of(`recipes/line2/roi/${base}_calib.json`));
    // Published while the pictures were read.
    rmSync(join(modelsDir, 'recipes/line2/recipe_meta.json'));
    const publish = () => writeFileSync(join(modelsDir, 'recipes/line2/recipe_meta.json'), 'published meanwhile');
    const { files } = await backedUp({}, atContent('picture a', publish));
    expect(files['recipes/line2/recipe_meta.json']).toBe('published meanwhile');
  });

  it('waits for whoever changes a model, and takes it as it is then', async () => {
    writeFiles(modelsDir, plant);
    let running: ReturnType<typeof backedUp> | undefined;
    await withLock(modelsDir, base, async () => {
      running = backedUp();
      // Long enough to read the old files, if nothing kept it from that.
      await new Promise((resolve) => setTimeout(resolve, 200));
      writeFiles(modelsDir, { [`${base}.npz`]: 'memory 1', [`generations/${base}/2/memory.npz`]: 'memory 1' });
      rmSync(join(modelsDir, `${base}_index.faiss`));
    });
    const { files } = (await running) as Awaited<ReturnType<typeof backedUp>>;
    expect(files).toMatchObject({ [`${base}.npz`]: 'memory 1', [`generations/${base}/2/memory.npz`]: 'memory 1' });
    expect(files).not.toHaveProperty([`${base}_index.faiss`]);
  });

  it('reads what belonged together when it was opened, whatever is replaced or removed while it is read', async () => {
    writeFiles(modelsDir, plant);
    const replace = (path: string, content: string) => {
      writeFileSync(join(modelsDir, 'new'), content);
      renameSync(join(modelsDir, 'new'), join(modelsDir, path));
    };
    const { files } = await backedUp(
      {},
      atContent('calibration 0', () => {
        for (const name of ['.npz', '_index.faiss', '_calib.json']) replace(base + name, 'another');
        rmSync(join(modelsDir, 'generations'), { recursive: true });
      }),
    );
    expect(files).toEqual(plant);
  });

  it('does not keep others from changing a model while it is written', async () => {
    writeFiles(modelsDir, plant);
    let others: Promise<void> | undefined;
    await backedUp(
      {},
      atContent('memory 0', () => {
        others ??= withLock(modelsDir, base, async () => undefined, { patienceMs: 0, expiryMs: 15_000 });
      }),
    );
    await others;
  });

  describe('of a model with dozens of generations', () => {
    const generations: Record<string, string> = {};
    for (let number = 1; number <= 60; number++) {
      generations[`generations/${base}/${number}/memory.npz`] = `memory ${number}`;
      generations[`generations/${base}/${number}/generation.json`] = `record ${number}`;
    }
    const many = { ...plant, ...generations };

    it('takes all of them and has few files open at once', async () => {
      writeFiles(modelsDir, many);
      opening.most = 0;
      const { files, summary } = await backedUp();
      expect(files).toEqual(many);
      expect(summary).toMatchObject({ models: 1, generations: 61 });
      // Three live files and both of each generation.
      expect(opening).toMatchObject({ now: 0, most: mostOpenFiles - 1 });
    });

    it('reads the newest as they were when it was opened, and of the older ones none in part', async () => {
      writeFiles(modelsDir, many);
      const pruned = (number: number) => `generations/${base}/${number}`;
      const { files } = await backedUp(
        {},
        atContent('calibration 0', () => {
          rmSync(join(modelsDir, pruned(60)), { recursive: true });
          rmSync(join(modelsDir, pruned(7)), { recursive: true });
          rmSync(join(modelsDir, pruned(8), 'memory.npz'));
          writeFiles(modelsDir, { [`${pruned(61)}/memory.npz`]: 'memory 61' });
        }),
      );
      const gone = [7, 8].flatMap((number) => [`${pruned(number)}/memory.npz`, `${pruned(number)}/generation.json`]);
      expect(files).toEqual(Object.fromEntries(Object.entries(many).filter(([path]) => !gone.includes(path))));
    });
  });

  it('skips samples and recipes that are removed meanwhile', async () => {
    writeFiles(modelsDir, { ...plant, [`recipes/line3/roi/${base}.npz`]: 'memory 3' });
    const { files, summary } = await backedUp(
      {},
      atContent('picture a, too', () => {
        rmSync(join(modelsDir, dataset, 'b.png'));
        rmSync(join(modelsDir, 'recipes', 'line3'), { recursive: true });
      }),
    );
    expect(summary.removed_meanwhile).toBe(2);
    expect(Object.keys(files).filter((path) => path.includes('line3') || path.endsWith('b.png'))).toEqual([]);
    expect(() => readFileSync(join(modelsDir, 'recipes', 'line3'))).toThrow(/ENOENT/);
  });

  it('takes no part of a model that is removed while it is opened', async () => {
    const model = `recipes/line3/roi/${base}`;
    writeFiles(modelsDir, { [`${model}.npz`]: 'memory', [`${model}_calib.json`]: 'calibration' });
    opening.done = () => rmSync(join(modelsDir, 'recipes', 'line3'), { recursive: true, force: true });
    const { files, summary } = await backedUp();
    expect([files, summary.removed_meanwhile]).toEqual([{}, 1]);
  });

  it('skips a sample whose meta goes between the two looks at it', async () => {
    writeFiles(modelsDir, { [`${dataset}/a.png`]: 'a', [`${dataset}/z.png`]: 'z', [`${dataset}/z.json`]: 'meta z' });
    const { files, summary } = await backedUp(
      {},
      atContent('a', () => rmSync(join(modelsDir, dataset, 'z.json'))),
    );
    expect([Object.keys(files), summary.removed_meanwhile]).toEqual([[`${dataset}/a.png`], 1]);
  });

  it('fails when a file is cut short in place, rather than to make it up', async () => {
    writeFiles(modelsDir, { 'audit/1': 'x'.repeat(3_000_000) });
    let cut = false;
    const backup = backedUp({}, (bytes) => {
      if (bytes.length < 1_000_000 || cut) return;
      cut = true;
      writeFileSync(join(modelsDir, 'audit/1'), 'x'.repeat(1_200_000));
    });
    await expect(backup).rejects.toMatchObject({ code: 'not_ready' });
  });

  it('takes of a file that grows what was there when it was opened', async () => {
    writeFiles(modelsDir, { 'audit/1': 'x'.repeat(1_500_000) });
    const grow = () => writeFileSync(join(modelsDir, 'audit/1'), 'y', { flag: 'a' });
    const { files } = await backedUp({}, (bytes) => bytes.length >= 1_000_000 && grow());
    expect(files['audit/1']).toBe('x'.repeat(1_500_000));
  });

  it('is an archive of nothing for an empty folder', async () => {
    mkdirSync(join(modelsDir, 'recipes'));
    expect(await backedUp()).toMatchObject({ files: {}, summary: { files: 0, passed_over: [] } });
  });
});
