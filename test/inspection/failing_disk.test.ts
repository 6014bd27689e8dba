import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { InspectionError } from '../../src/errors.ts';
import { backUpModels } from '../../src/inspection/back_up_models.ts';
import { createJobs, type Job } from '../../src/inspection/jobs.ts';
import { restoreModels } from '../../src/inspection/restore_models.ts';
import { createJobStore } from '../../src/store/job_store.ts';
import { type Endangered, failEverywhere, faults, withFailingDisk } from '../store/every_failure.ts';
import { filesBelow, writeFiles } from '../store/predecessor_files.ts';
import { key, type ToyService, toyService } from './toy_service.ts';
import { toyPicture } from './toy_vision.ts';

// Every single call of the store's disk fails in turn, in every way that disks fail.

withFailingDisk();

const line2 = { ...key, recipeId: 'line2' };
const picture = (degrees: number) => toyPicture(degrees, degrees, degrees, degrees);
const learn = (okng: ToyService, degrees: number) =>
  okng.fit({ key: line2, mmPerPx: 0.5, pictures: [picture(degrees)] });
const calibrate = (okng: ToyService, threshold: number) => okng.calibrate({ key: line2, okScores: [threshold] });
const inspect = (okng: ToyService, mmPerPx = 0.5) => okng.inspect({ key: line2, mmPerPx, picture: picture(0) });
const upload = (okng: ToyService, ...degrees: number[]) =>
  okng.upload({ key: line2, pictures: degrees.map(picture), metas: degrees.map(() => ({ mm_per_px: 0.5 })) });
const fitted = async (okng: ToyService) => {
  await learn(okng, 10);
  await calibrate(okng, 0.1);
};
const twice = async (okng: ToyService) => {
  await fitted(okng);
  await learn(okng, 20);
};

/** What is answered, as far as the store tells it; without times, and names that are made by chance. */
async function look(okng: ToyService) {
  const codeOf = (error: unknown) => (error instanceof InspectionError ? error.code : String(error));
  const { mm_per_px: scale } = await okng.models.readRecipe('line2');
  const verdict = await inspect(okng, scale).then(
    ({ memoryId, score, threshold, decision, generation }) => ({ memoryId, score, threshold, decision, generation }),
    codeOf,
  );
  const described = await okng
    .describe(line2)
    .then(({ memory, calibrationState }) => [memory?.memoryId, calibrationState], codeOf);
  await okng.memories.idle();
  const recipes = await okng.recipes.list();
  return {
    verdict,
    described,
    problems: (await okng.manage.list()).map(({ file, problem }) => [file, problem]),
    // One more than is kept may be there until the next change.
    generations: (await okng.manage.generations(line2).catch(() => []))
      .slice(0, 3)
      .map(({ live, threshold }) => [live, threshold]),
    // Of one that came to nothing there may be folders.
    recipes: recipes
      .filter(({ mmPerPx, models, datasets }) => mmPerPx !== null || models.length + datasets.length > 0)
      .map(({ recipeId, mmPerPx }) => [recipeId, mmPerPx]),
    samples: (await okng.list(line2)).classes.ok.map(({ hasMeta, sizeBytes }) => [hasMeta, sizeBytes]),
  };
}

type Answers = Awaited<ReturnType<typeof look>>;

const works: Readonly<Record<string, Pick<Endangered<ToyService, Answers>, 'prepare' | 'work' | 'between'>>> = {
  'the first fit': {
    work: (okng) => learn(okng, 10),
    between: {
      found: ({ verdict, recipes }) => typeof verdict === 'object' && recipes[0]?.[1] === null,
      told: /replaced/,
    },
  },
  'a fit, after which an old generation is removed': {
    prepare: async (okng) => {
      await twice(okng);
      await learn(okng, 30);
      await calibrate(okng, 0.3);
    },
    work: (okng) => learn(okng, 40),
  },
  'a calibration': { prepare: fitted, work: (okng) => calibrate(okng, 0.2) },
  'a rollback': {
    prepare: twice,
    work: (okng) => okng.manage.rollBack(1, line2),
    // The calibration beside the memory, which is not in force, goes before the memory changes.
    between: {
      found: (found, old) => isDeepStrictEqual(found, { ...old, described: [old.described[0], 'none'] }),
      told: /./,
    },
  },
  'an inspection': { prepare: fitted, work: (okng) => inspect(okng) },
  'an inspection by a memory that is damaged': {
    prepare: async (okng) => {
      await twice(okng);
      writeFileSync(okng.models.ownPlace(line2).npzPath, 'torn');
    },
    work: (okng) => inspect(okng),
  },
  'the first upload': {
    work: (okng) => upload(okng, 1, 2),
    between: { found: ({ recipes, samples }) => recipes.length === 1 && samples.length > 0, told: /stored|replaced/ },
  },
  'an upload': {
    prepare: (okng) => upload(okng, 1),
    work: (okng) => upload(okng, 2, 3),
    // A disk that lets nothing be taken back either.
    between: { found: ({ samples }) => samples.length === 2, told: /stored|replaced/ },
  },
  'the removal of a sample': {
    prepare: (okng) => upload(okng, 1, 2),
    work: async (okng) => {
      const [first] = (await okng.datasets.list(line2)).ok;
      await okng.datasets.remove(line2, 'ok', first?.name ?? '');
    },
  },
  'the removal of all samples': {
    prepare: (okng) => upload(okng, 1, 2),
    work: (okng) => okng.datasets.clear(line2, 'ok'),
    between: { found: ({ samples }) => samples.length === 1, told: /./ },
  },
  'a calibration by samples': {
    prepare: async (okng) => {
      await fitted(okng);
      await upload(okng, 1, 2, 3);
    },
    work: (okng) => okng.calibrateDataset({ key: line2 }),
  },
  'the correction of a scale': { prepare: fitted, work: (okng) => okng.recipes.correct('line2', 0.25) },
  'the removal of a recipe': { prepare: fitted, work: (okng) => okng.recipes.remove('line2', true) },
};

describe.each(Object.entries(works))('in %s', (_, one) => {
  it.each(Object.entries(faults))('%s', async (_fault, fault) => {
    await failEverywhere(fault, {
      ...one,
      start: (modelsDir) => toyService({ modelsDir }),
      look,
      settle: (okng) => okng.memories.idle(),
      // A generation that came to nothing takes its number with it.
      again: ({ verdict, ...others }) => ({
        ...others,
        verdict: typeof verdict === 'string' ? verdict : { ...verdict, generation: 0 },
      }),
    });
  });
});

describe.each(Object.entries(faults))('%s', (_, fault) => {
  const now = () => new Date('2026-01-02T03:04:05Z');
  const plant = { 'cm9sZQ__cm9p.npz': 'memory', 'recipes/line2/recipe_meta.json': '{"mm_per_px":0.1}' };
  const withoutTemps = (files: object) => Object.entries(files).filter(([name]) => !name.includes('.tmp-'));
  const backUp = (folder: string, replace = false) =>
    backUpModels({
      to: join(folder, 'a.tar'),
      modelsDir: join(folder, 'models'),
      replace,
      withExtractors: false,
      okngVersion: '0.1.0',
      now,
    });
  const restore = (folder: string, dryRun = false) =>
    restoreModels({ from: join(folder, 'a.tar'), modelsDir: join(folder, 'restored'), dryRun });

  it('in a backup', async () => {
    await failEverywhere(fault, {
      start: (folder) => folder,
      prepare: async (folder) => writeFiles(join(folder, 'models'), plant),
      work: (folder) => backUp(folder, true),
      look: async (folder) => ({
        kept: withoutTemps(filesBelow(join(folder, 'models'))),
        archived: existsSync(join(folder, 'a.tar')) && (await restore(folder, true)).files,
      }),
    });
  });

  it('in a restore', async () => {
    await failEverywhere(fault, {
      start: (folder) => folder,
      prepare: async (folder) => {
        writeFiles(join(folder, 'models'), plant);
        await backUp(folder);
      },
      work: (folder) => restore(folder),
      look: async (folder) => (existsSync(join(folder, 'restored')) ? filesBelow(join(folder, 'restored')) : {}),
    });
  });

  it('in a job', async () => {
    await failEverywhere(fault, {
      start: (modelsDir) => () =>
        createJobs({ store: createJobStore(modelsDir), now, limit: 8, notify: () => undefined }),
      work: async (newJobs) => {
        const jobs = newJobs();
        const work = async () => ({ done: 1 });
        let job: Job | null = await jobs.submit({ kind: 'fit_ok', key, requestId: 'r', repeat: null, work });
        while (job?.endedAtUtc === null) {
          await jobs.changed(job, new AbortController().signal);
          job = jobs.find(job.id);
        }
        // Whatever the disk does, the process that ran the job knows how it ended.
        expect(job?.state).toBe('succeeded');
        expect(await jobs.result(job?.id ?? '')).toEqual({ done: 1 });
      },
      look: async (newJobs) => {
        const jobs = newJobs();
        await jobs.restore();
        // The next process takes one whose end could not be stored for interrupted.
        return jobs
          .list({ states: [], kinds: [], limit: 9 })
          .map(({ state }) => (state === 'interrupted' ? 'succeeded' : state));
      },
      // Refused, and not to be taken back.
      between: { found: ([state]) => fault.stays && state !== undefined, told: /was replaced/ },
    });
  });
});
