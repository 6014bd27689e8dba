import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { GenerationList, ModelState } from '../../src/client/client.ts';
import { get, postJson } from './client.ts';
import { good, infer, model, postFit } from './fit_jobs.ts';
import { type OkngProcess, okngOfEachTest } from './process.ts';

/** Two services on one models folder: what one changes the other answers by, and neither harms the other. */

const { start } = okngOfEachTest();
const { role_id, roi_id } = model;
const path = `/models/${encodeURIComponent(role_id)}/${encodeURIComponent(roi_id)}`;

const calibrate = (okng: OkngProcess, score: number) =>
  postJson(`${okng.url}/calibrate_ng`, { role_id, roi_id, ok_scores: [score] });
const generations = async (okng: OkngProcess) =>
  (await get<GenerationList>(`${okng.url}${path}/generations`)).body.generations;

it('notices another process’s fit, calibration and rollback within two seconds', async () => {
  const [one, other] = [await start(), await start()];
  const seenByOther = async (expected: object) => {
    const changed = performance.now();
    const inferred = await infer(other);
    expect(inferred.body).toMatchObject(expected);
    // The very next request; its own time is within the limit.
    expect(performance.now() - changed).toBeLessThan(2000);
    expect((await infer(one)).body.score).toBe(inferred.body.score);
  };
  expect((await infer(other)).status).toBe(400);
  await postFit(one, good.slice(0, 2));
  await seenByOther({ model_generation: 1, threshold: null });
  await calibrate(one, 0.25);
  await seenByOther({ model_generation: 1, threshold: 0.25 });
  await postFit(one, good.slice(1, 3));
  await seenByOther({ model_generation: 2, threshold: null, calib_stale: true });
  await postJson(`${one.url}${path}/rollback`, { generation: 1 });
  await seenByOther({ model_generation: 1, threshold: 0.25, calib_stale: false });
});

it('fits and calibrations of both at once leave whole models, each with a number of its own', async () => {
  const both = [await start({ BDI_KEEP_GENERATIONS: '100' }), await start({ BDI_KEEP_GENERATIONS: '100' })];
  const scores = new Map<string, number>();
  for (const [i, okng] of both.entries()) {
    await postFit(okng, good.slice(i, i + 2));
    const { body } = await get<ModelState>(`${okng.url}/state?${new URLSearchParams({ role_id, roi_id })}`);
    scores.set(body.memory_id as string, (await infer(okng)).body.score);
  }
  const answers: Awaited<ReturnType<typeof infer>>[] = [];
  const statuses: number[] = [];
  await Promise.all(
    both.map(async (okng, i) => {
      for (let round = 0; round < 6; round++) {
        statuses.push((await postFit(okng, good.slice(i, i + 2))).status);
        const calibrated = await calibrate(okng, 1 + i + round / 10);
        expect([200, 503], JSON.stringify(calibrated.body)).toContain(calibrated.status);
        answers.push(await infer(okng));
      }
    }),
  );
  expect(statuses).toEqual(statuses.map(() => 200));
  const listed = await generations(both[0] as OkngProcess);
  expect(await generations(both[1] as OkngProcess)).toEqual(listed);
  expect(listed.map(({ model_generation }) => model_generation)).toEqual(Array.from({ length: 14 }, (_, i) => 14 - i));
  const memoryOf = new Map(listed.map((one) => [one.model_generation, one.memory_id]));
  for (const { status, body } of answers) {
    expect(status).toBe(200);
    expect(body.score).toBe(scores.get(memoryOf.get(Number(body.model_generation)) ?? ''));
  }
});

it('a process that is killed while it changes a model holds up nobody', async () => {
  const [one, other] = [await start(), await start()];
  await postFit(one, good.slice(0, 1));
  await infer(other);
  for (let round = 0; round < 6; round++) {
    const doomed = round === 0 ? one : await start();
    const requests = Array.from({ length: 40 }, (_, i) => calibrate(doomed, i + 1).catch(() => undefined));
    await sleep(15 * round);
    await doomed.kill('SIGKILL');
    await Promise.all(requests);
    const started = performance.now();
    expect((await calibrate(other, 0.5)).status).toBe(200);
    expect(performance.now() - started).toBeLessThan(10_000);
    expect((await infer(other)).body).toMatchObject({ model_generation: 1, threshold: 0.5 });
  }
});
