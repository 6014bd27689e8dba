import { describe, expect, it } from 'vitest';
import { createClient } from '../../src/client/client.ts';
import { remoteInspector } from '../../src/command_line/remote_inspector.ts';
import { InspectionError } from '../../src/errors.ts';

/** What becomes of a fit on a service when it is interrupted, by a service that answers as each case has it. */

const job = { id: 'j1', kind: 'fit_ok', state: 'running', step: 'pictures', done: 1, total: 2, request_id: 'r' };
const fitted = { n_images: 1, token_shape: [2, 2], suspect_images: [], leave_one_out_scores: [null], request_id: 'r' };
const problem = (status: number, code: string) =>
  Response.json({ code, error: `It is ${code}.`, request_id: 'r' }, { status });
const key = { recipeId: 'default', modelKey: 'top', roleId: 'flange', roiId: 'top' };

/** @param cancelled the answer to DELETE @param then the job from then on */
function fitting(cancelled: () => Response, then: object) {
  const stop = new AbortController();
  const asked: string[] = [];
  let over = false;
  const stream = () => {
    const data = over ? `event: end\nid: end\ndata: ${JSON.stringify({ ...job, ...then })}\n\n` : '';
    const progress = `event: progress\nid: 1\ndata: ${JSON.stringify(job)}\n\n`;
    return new Response(over ? data : progress, { headers: { 'Content-Type': 'text/event-stream' } });
  };
  const client = createClient({
    url: 'http://okng',
    retries: 0,
    fetch: async (url, { method }) => {
      const request = `${method} ${new URL(url).pathname}`;
      asked.push(request);
      if (request === 'POST /fit_ok') return Response.json(job, { status: 202 });
      if (request === 'GET /jobs/j1/events') return stream();
      if (request === 'GET /jobs/j1') return Response.json({ ...job, ...then });
      over = true;
      return cancelled();
    },
  });
  const report = remoteInspector(client).fit(
    {
      key,
      mmPerPx: 1,
      keepAll: false,
      pictures: [{ name: 'folder/1.png', bytes: new Uint8Array([1]) }],
    },
    { onProgress: () => stop.abort(), signal: stop.signal },
  );
  return { report, asked, reason: () => stop.signal.reason as unknown };
}

describe('an interrupted fit', () => {
  it('cancels its job and fails as cancelled', async () => {
    const error = { code: 'job_cancelled', error: 'It was cancelled.', status: 409, request_id: 'r' };
    const { report, asked } = fitting(() => Response.json({ ...job, state: 'cancelled' }), {
      state: 'cancelled',
      result: null,
      error,
    });
    await expect(report).rejects.toMatchObject({ code: 'job_cancelled', message: 'It was cancelled.' });
    await expect(report).rejects.toBeInstanceOf(InspectionError);
    expect(asked).toContain('DELETE /jobs/j1');
  });

  it('that had just ended is a fit', async () => {
    const { report } = fitting(() => problem(409, 'job_ended'), { state: 'succeeded', result: fitted });
    expect(await report).toMatchObject({
      pictures: 1,
      thinned: null,
      leftOut: [{ name: 'folder/1.png', score: null }],
    });
  });

  it('tells what was thinned', async () => {
    const thinned = { patches_seen: 8, patches_kept: 4, radius: 0.25 };
    const { report } = fitting(() => problem(409, 'job_ended'), { state: 'succeeded', result: { ...fitted, thinned } });
    expect(await report).toMatchObject({ thinned: { patchesSeen: 8, patchesKept: 4, radius: 0.25 } });
  });

  it('says so when the job could not be cancelled', async () => {
    const { report, reason } = fitting(() => problem(500, 'internal_error'), {});
    const error = await report.catch((thrown: unknown) => thrown);
    expect(error).not.toBe(reason());
    expect(error).toMatchObject({
      message: 'The job j1 could not be cancelled and may still change the model: It is internal_error.',
    });
  });
});
