import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { InspectedPicture, Inspector } from '../../src/command_line/inspector.ts';
import { scorePictures } from '../../src/command_line/score_pictures.ts';
import { InspectionError } from '../../src/errors.ts';
import { wholePicture } from '../../src/inspection/shape_text.ts';

/** Scoring folders with an okng that answers by the pictures' names. */

let folder: string;
const [ok, ng] = ['ok', 'ng'].map((name) => (...files: readonly string[]) => {
  for (const file of files) writeFileSync(join(folder, name, file), file);
  return [join(folder, name)];
}) as [(...files: string[]) => string[], (...files: string[]) => string[]];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'okng-score-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const key = { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' };
const emptyFolders = () => {
  for (const name of ['ok', 'ng']) {
    rmSync(join(folder, name), { recursive: true, force: true });
    mkdirSync(join(folder, name));
  }
};

function scoring(
  paths: { readonly ok?: readonly string[]; readonly ng?: readonly string[] },
  answerFor: (name: string) => Partial<InspectedPicture>,
  changes: { readonly memoryIds?: readonly string[]; readonly signal?: AbortSignal } = {},
) {
  const told: string[] = [];
  const seen = { mostAtOnce: 0, asked: [] as object[] };
  let atOnce = 0;
  const [first = 'm1', ...later] = changes.memoryIds ?? [];
  let memoryId = first;
  const inspector: Pick<Inspector, 'memoryIdOf' | 'inspect'> = {
    memoryIdOf: async () => {
      const now = memoryId;
      memoryId = later.shift() ?? now;
      return now;
    },
    inspect: async ({ picture, ...request }) => {
      seen.asked.push(request);
      seen.mostAtOnce = Math.max(seen.mostAtOnce, ++atOnce);
      // Time for as many more as are let in.
      await new Promise((resolve) => setTimeout(resolve, 20));
      atOnce--;
      return { inMemory: false, ...answerFor(basename(picture.name)) } as InspectedPicture;
    },
  };
  const scores = scorePictures(
    inspector as Inspector,
    { key, mmPerPx: 0.1, shape: wholePicture, ok: [], ng: [], ...paths },
    {
      onProgress: (phase, done, total) => told.push(`${phase} ${done}/${total}`),
      signal: changes.signal ?? new AbortController().signal,
    },
  );
  return { scores, told, seen };
}

const byNumber = (name: string) => ({ score: Number.parseInt(name, 10) });

it('scores good and bad parts in their order, without heatmaps, three at a time', async () => {
  emptyFolders();
  const { scores, told, seen } = scoring(
    { ok: ok('1.png', '2.png', '3.png', '4.png', '5.png', 'notes.txt'), ng: ng('8.png', '9.png') },
    byNumber,
  );
  expect(await scores).toEqual({
    okScores: [1, 2, 3, 4, 5],
    ngScores: [8, 9],
    okInMemory: [],
    ngInMemory: [],
    faults: [],
    memoryTells: true,
  });
  expect(seen.mostAtOnce).toBe(3);
  expect(told).toEqual([1, 2, 3, 4, 5, 6, 7].map((n) => `pictures ${n}/7`));
  expect(seen.asked[0]).toEqual({ key, mmPerPx: 0.1, shape: wholePicture, includeHeatmap: false });
});

it('leaves out what is in the memory, good and bad, and says when nobody knows', async () => {
  emptyFolders();
  const paths = { ok: ok('1.png', '2.png'), ng: ng('8.png', '9.png') };
  const { scores } = scoring(paths, (name) => ({ ...byNumber(name), inMemory: name !== '1.png' && name !== '9.png' }));
  expect(await scores).toMatchObject({
    okScores: [1],
    ngScores: [9],
    okInMemory: [join(folder, 'ok', '2.png')],
    ngInMemory: [join(folder, 'ng', '8.png')],
    memoryTells: true,
  });
  const silent = scoring(paths, (name) => ({ ...byNumber(name), inMemory: null }));
  expect(await silent.scores).toMatchObject({ okScores: [1, 2], ngScores: [8, 9], memoryTells: false });
});

it('names the pictures that cannot be scored, and stops at what is no fault of a picture', async () => {
  emptyFolders();
  const paths = { ok: ok('1.png', '2.png', '3.png') };
  const broken = (code: 'unreadable_image' | 'extractor_mismatch') =>
    scoring(paths, (name) => {
      if (name === '2.png') throw new InspectionError(code, 'It is broken.');
      return byNumber(name);
    });
  expect(await broken('unreadable_image').scores).toMatchObject({
    okScores: [1, 3],
    faults: [`${join(folder, 'ok', '2.png')}: It is broken.`],
  });
  await expect(broken('extractor_mismatch').scores).rejects.toMatchObject({ code: 'extractor_mismatch' });
});

it('makes no threshold of the scores of two memories', async () => {
  emptyFolders();
  const { scores } = scoring({ ok: ok('1.png') }, byNumber, { memoryIds: ['m1', 'm2'] });
  await expect(scores).rejects.toMatchObject({ code: 'not_ready', message: expect.stringContaining('was replaced') });
});

it('goes no further when it is interrupted', async () => {
  emptyFolders();
  const stop = new AbortController();
  const files = Array.from({ length: 9 }, (_, i) => `${i}.png`);
  const { scores, seen } = scoring(
    { ok: ok(...files) },
    (name) => {
      stop.abort(new Error('enough'));
      return byNumber(name);
    },
    { signal: stop.signal },
  );
  await expect(scores).rejects.toThrow('enough');
  expect(seen.asked.length).toBeLessThan(9);
});
