import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { stateResponse } from '../../src/http/responses.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { get, postJson } from './client.ts';
import { begun, cancel, eventsOf, fitJob, good, infer, jobAt, many, model, postFit } from './fit_jobs.ts';
import { type OkngProcess, okngOfEachTest } from './process.ts';

/**
 * Until a fit has succeeded it changes nothing: whatever becomes of it, the model before it answers, bit for bit, and
 * `/state` says so. Over a real socket, with a real process.
 */

const { start, modelFiles } = okngOfEachTest();
const { role_id, roi_id } = model;
const torn = { name: 'torn.jpg', bytes: (good[0] as PartPicture).bytes.subarray(0, 900) };

/** Everything that a caller can see of the model, but for the numbers of the request itself. */
async function seen(okng: OkngProcess) {
  const inferred = await infer(okng);
  expect(inferred.status, JSON.stringify(inferred.body)).toBe(200);
  const { request_id: _, ...answer } = inferred.body;
  const { body } = await get(`${okng.url}/state?${new URLSearchParams({ role_id, roi_id })}`);
  // Drift counts the pictures that were inspected.
  const { request_id: _id, drift: _drift, ...state } = stateResponse.parse(body);
  expect([state.memory_fitted, state.calib_present]).toEqual([true, answer.threshold !== null]);
  return { answer, state };
}

/** Fits and calibrates the model that has to stay. */
async function fittedBefore(okng: OkngProcess) {
  expect((await postFit(okng, good.slice(0, 3))).status).toBe(200);
  expect((await postJson(`${okng.url}/calibrate_ng`, { role_id, roi_id, ok_scores: [0.1, 0.2] })).status).toBe(200);
  return { ...(await seen(okng)), files: modelFiles() };
}

const expectUnchanged = async (okng: OkngProcess, before: Awaited<ReturnType<typeof fittedBefore>>) =>
  expect({ ...(await seen(okng)), files: modelFiles() }).toEqual(before);

describe('the previous model serves', () => {
  it('while a refit runs, and the new one from the moment it is complete', async () => {
    const okng = await start();
    const refitted = [...good, ...partPictures('test/scratch')];
    // What the new model will say, from another ROI.
    expect((await postFit(okng, refitted, { roi_id: 'elsewhere' })).status).toBe(200);
    const after = (await infer(okng, { roi_id: 'elsewhere' })).body.score;
    const { answer, state } = await fittedBefore(okng);
    expect(after).not.toBe(answer.score);

    let done = false;
    const refit = postFit(okng, refitted).finally(() => {
      done = true;
    });
    const meanwhile: number[] = [];
    while (!done) meanwhile.push((await infer(okng)).body.score);
    expect((await refit).status).toBe(200);
    // An inspection that was answered after the fit may have seen either; never a third, and never the old after the new.
    const replaced = meanwhile.includes(after) ? meanwhile.indexOf(after) : meanwhile.length;
    expect(replaced).toBeGreaterThan(3);
    expect(meanwhile).toEqual(meanwhile.map((_, i) => (i < replaced ? answer.score : after)));
    const now = await seen(okng);
    expect(now.answer).toMatchObject({ score: after, threshold: null, decision: null });
    expect(now.state).toMatchObject({ calibration: 'stale' });
    expect(now.state.memory_id).not.toBe(state.memory_id);
  });

  it('when a fit is cancelled between two pictures, in its coreset, or while it waits', async () => {
    // Many rows to choose: the coreset can be met while it is made.
    const okng = await start({ CORESET_RATE: '0.2' });
    const before = await fittedBefore(okng);
    for (const step of ['pictures', 'coreset'] as const) {
      const running = await fitJob(okng, step === 'pictures' ? many : good);
      const queued = await fitJob(okng, many);
      await begun(okng, running, step);
      for (const job of [queued, running])
        expect(await cancel(okng, job)).toMatchObject({ status: 200, body: { state: 'cancelled', status_code: 409 } });
      expect((await jobAt(okng, running)).body).toMatchObject({ step });
      expect((await jobAt(okng, queued)).body.started_at_utc).toBeNull();
      await expectUnchanged(okng, before);
    }
    // A first fit that is cancelled gives its recipe no scale, and nothing is in the way of the next of the same model.
    const first = await fitJob(okng, many, {}, { recipe_id: 'line-2', mm_per_px: '7' });
    await begun(okng, first);
    await cancel(okng, first);
    expect((await postFit(okng, good.slice(0, 2), { recipe_id: 'line-2', mm_per_px: '0.5' })).status).toBe(200);
    expect((await postFit(okng, good.slice(0, 2))).status).toBe(200);
    expect(okng.log.filter(({ level }) => Number(level) >= 40)).toEqual([]);
  });

  it('when a caller who waits for a fit hangs up', async () => {
    const okng = await start();
    const before = await fittedBefore(okng);
    const form = new FormData();
    for (const [name, value] of Object.entries(model)) form.append(name, value);
    for (const { name, bytes } of many) form.append('images', new File([bytes as Uint8Array<ArrayBuffer>], name));
    const hangUp = new AbortController();
    const post = () => fetch(`${okng.url}/fit_ok`, { method: 'POST', body: form, signal: hangUp.signal });
    // A fit at another scale is refused anyhow: with these words as soon as the first fit has begun.
    const probe = async () => {
      const { body } = await postFit(okng, good.slice(0, 1), { mm_per_px: '7' });
      return (body as unknown as { code: string }).code;
    };
    let answer = post();
    for (let i = 0; i < 200 && (await probe()) !== 'fit_in_progress'; i++) {
      const answered = await Promise.race([answer, sleep(10)]);
      // It came while a probe held the model.
      if (answered?.status === 409) answer = post();
    }
    hangUp.abort();
    await expect(answer).rejects.toThrow();
    const dropped = () => okng.log.some(({ code }) => code === 'request_aborted');
    for (let i = 0; i < 200 && !dropped(); i++) await new Promise((resolve) => setTimeout(resolve, 25));
    expect(dropped()).toBe(true);
    await expectUnchanged(okng, before);
    expect((await postFit(okng, good)).status).toBe(200);
  });

  it('when a fit fails: one picture of many cannot be read, or the scale is another', async () => {
    const okng = await start();
    const before = await fittedBefore(okng);
    for (const [pictures, fields, status, code, text] of [
      [[...good, torn], {}, 400, 'unreadable_image', /torn\.jpg/],
      [good, { mm_per_px: '0.2' }, 409, 'mm_per_px_conflict', /0\.2.*0\.1/],
      [good, { shape: '{"kind":"circle","cx":-900,"cy":0,"r":5}' }, 400, 'empty_mask', /covers no pixel/],
    ] as const) {
      const waited = await postFit(okng, pictures, fields);
      expect(waited).toMatchObject({ status, body: { code, error: expect.stringMatching(text) } });
      await expectUnchanged(okng, before);
      const job = await fitJob(okng, pictures, {}, fields);
      for await (const _ of eventsOf(okng, job));
      expect((await jobAt(okng, job)).body).toMatchObject({ state: 'failed', status_code: status, error: { code } });
      await expectUnchanged(okng, before);
    }
  });

  it.each(['pictures', 'coreset'] as const)(
    'when the process is killed in the %s of a fit and started again, and again',
    async (step) => {
      const okng = await start({ CORESET_RATE: '0.2' });
      const before = await fittedBefore(okng);
      let running = okng;
      for (let crash = 0; crash < 2; crash++) {
        await begun(running, await fitJob(running, step === 'pictures' ? many : good), step);
        expect(await running.kill('SIGKILL')).toBe('SIGKILL');
        running = await start({ CORESET_RATE: '0.2' });
        await expectUnchanged(running, before);
      }
      expect((await postFit(running, good)).status).toBe(200);
    },
  );
});
