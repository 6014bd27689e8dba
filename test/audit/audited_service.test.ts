import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AUDIT_FOLDER } from '../../src/audit/audit_files.ts';
import { verifyAudit } from '../../src/audit/verify_audit.ts';
import { answer, postForm, postJson, startTestApp, type TestApp } from '../http/test_app.ts';
import { partPictures } from '../parts.ts';
import { auditLines } from './chains.ts';

/** What the whole service leaves in the audit, over HTTP. */

const file = ({ name, bytes }: { readonly name: string; readonly bytes: Uint8Array }) =>
  new File([bytes as Uint8Array<ArrayBuffer>], name);
const good = partPictures('train/good').map(file);
const [scratch] = partPictures('test/scratch');
const scratchFile = file(scratch as NonNullable<typeof scratch>);
const scratchSha256 = createHash('sha256')
  .update(scratch?.bytes as Uint8Array)
  .digest('hex');

const ids = { role_id: 'flange/π', roi_id: 'top' };
const model = { ...ids, mm_per_px: '0.1' };
const query = 'role_id=flange%2F%CF%80&roi_id=top';

describe('with BDI_AUDIT=1', () => {
  const key = 'Zx0123456789abcdef';
  let okng: TestApp;
  let requests = 0;
  /** Answers under a request id of their own, and the lines that this request has left. */
  const asked = async (ask: (headers: Record<string, string>) => Promise<Response>) => {
    const requestId = `request ${++requests}`;
    const response = await ask({ 'X-Request-Id': requestId, 'X-API-Key': key });
    const { status, body } = await answer(response);
    const lines = auditLines(okng.modelsDir).filter((line) => line.request_id === requestId);
    for (const line of lines) expect(line).toMatchObject({ who: 'gui' });
    return { status, body, lines, requestId };
  };
  const form = (path: string, fields: Record<string, string | File | readonly File[]>, more = {}) =>
    asked((headers) => {
      const data = new FormData();
      for (const [name, value] of Object.entries(fields))
        for (const item of Array.isArray(value) ? value : [value]) data.append(name, item as string | File);
      return Promise.resolve(okng.app.request(path, { method: 'POST', body: data, headers: { ...headers, ...more } }));
    });
  const json = (method: string, path: string, body: unknown = undefined, more = {}) =>
    asked((headers) => {
      const init = { method, headers: { ...headers, ...more } };
      const text = body === undefined ? {} : { body: JSON.stringify(body) };
      return Promise.resolve(okng.app.request(path, { ...init, ...text }));
    });

  beforeAll(async () => {
    okng = await startTestApp({ BDI_AUDIT: '1', BDI_API_KEYS: `gui:${key}` });
    await okng.service.beginAudit();
  });
  afterAll(() => okng.close());

  it('begins with the version and the extractor', () => {
    expect(auditLines(okng.modelsDir)).toMatchObject([
      {
        kind: 'start',
        okng_version: okng.service.version,
        extractor: okng.service.extractor.name,
        extractor_fingerprint: okng.service.extractor.fingerprint,
      },
    ]);
  });

  it('a fit leaves one line, and one that is refused its code', async () => {
    const { status, body, lines } = await form('/fit_ok', { ...model, images: good.slice(0, 6) });
    expect(status, JSON.stringify(body)).toBe(200);
    const state = await json('GET', `/state?${query}`);
    const { memory_id, model_generation } = state.body;
    expect(state.lines).toEqual([]);
    expect(lines).toEqual([
      {
        sequence: expect.any(Number),
        previous: expect.any(String),
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]+\.\d{3}Z$/),
        kind: 'fit',
        request_id: 'request 1',
        job_id: null,
        who: 'gui',
        recipe_id: 'default',
        ...ids,
        model_key: 'top',
        error: null,
        memory_id,
        model_generation: model_generation ?? 1,
        extractor: okng.service.extractor.fingerprint,
        pictures: 6,
        calibration: 'none',
      },
    ]);
    const refused = await form('/fit_ok', { ...model, mm_per_px: '0.2', images: good.slice(0, 6) });
    expect(refused.status).toBe(409);
    expect(refused.lines).toMatchObject([{ kind: 'fit', error: 'mm_per_px_conflict' }]);
  });

  it('a verdict tells all that it hangs on, before and after a calibration', async () => {
    const first = await form('/infer', { ...model, image: scratchFile });
    expect(first.status).toBe(200);
    expect(first.lines).toMatchObject([{ kind: 'verdict', threshold: null, decision: null, verdict: null }]);
    const calibrated = await json('POST', '/calibrate_ng', {
      ...ids,
      ok_scores: [0.01, 0.02],
      review_threshold: 0.001,
    });
    expect(calibrated.lines).toMatchObject([
      {
        kind: 'calibrate',
        error: null,
        ...ids,
        memory_id: calibrated.body.memory_id,
        threshold: calibrated.body.threshold,
        in_force: true,
        ok_scores_from: 'request',
        n_ok: 2,
        n_ng: 0,
      },
    ]);
    const { body, lines, requestId } = await form('/infer', { ...model, image: scratchFile });
    expect(body.decision).toBe('ng');
    expect(lines).toEqual([
      {
        sequence: expect.any(Number),
        previous: expect.stringMatching(/^[0-9a-f]{64}$/),
        time: expect.any(String),
        kind: 'verdict',
        via: 'infer',
        request_id: requestId,
        job_id: null,
        who: 'gui',
        recipe_id: 'default',
        ...ids,
        model_key: 'top',
        memory_id: calibrated.body.memory_id,
        model_generation: 1,
        extractor: okng.service.extractor.fingerprint,
        threshold: body.threshold,
        score: body.score,
        decision: 'ng',
        verdict: 'ng',
        picture_sha256: scratchSha256,
      },
    ]);
  });

  it('several pictures leave a line each, in their order, or none', async () => {
    const { body, lines } = await form('/infer', { ...model, image: [scratchFile, good[0] as File, scratchFile] });
    expect(lines.map(({ score }) => score)).toEqual((body as unknown as { score: number }[]).map(({ score }) => score));
    expect(new Set(lines.map(({ picture_sha256 }) => picture_sha256)).size).toBe(2);
    const torn = new File([new Uint8Array(100)], 'none.png');
    const refused = await form('/infer', { ...model, image: [...good.slice(0, 6), torn] });
    expect([refused.status, refused.lines]).toEqual([415, []]);
  });

  it('what gives no verdict leaves none', async () => {
    const picture = new File([new Uint8Array(100)], 'none.png');
    expect((await form('/infer', { ...model, image: picture })).lines).toEqual([]);
    expect((await form('/infer', { ...model, roi_id: 'nowhere', image: scratchFile })).lines).toEqual([]);
    for (const path of [`/manifest?${query}`, `/datasets/list?${query}`, '/recipes', '/models', '/jobs', '/readyz'])
      expect((await json('GET', path)).lines, path).toEqual([]);
  });

  it('datasets: upload, verdicts, calibration, removal, clearing', async () => {
    const upload = await form('/datasets/ok/upload', { ...ids, images: good.slice(6, 9) });
    expect(upload.lines).toMatchObject([{ kind: 'dataset_upload', error: null, label: 'ok', pictures: 3, ...ids }]);
    expect((await form('/datasets/ng/upload', { ...ids, images: scratchFile })).lines).toMatchObject([
      { kind: 'dataset_upload', label: 'ng', pictures: 1 },
    ]);
    const inferred = await json('POST', '/infer_dataset', ids);
    const items = inferred.body.items as Record<string, unknown>[];
    expect(items).toHaveLength(4);
    expect(inferred.lines).toMatchObject(
      items.map(({ score, threshold, decision }) => ({
        kind: 'verdict',
        via: 'infer_dataset',
        score,
        threshold,
        decision,
        ...ids,
      })),
    );
    expect(inferred.lines.at(-1)?.picture_sha256).toBe(scratchSha256);
    const calibrated = await json('POST', '/calibrate_dataset', ids);
    // Its scores are no verdicts.
    expect(calibrated.lines).toMatchObject([
      { kind: 'calibrate', ok_scores_from: 'dataset', threshold: calibrated.body.threshold, n_ok: 3, n_ng: 1 },
    ]);
    const [name] = upload.body.saved as string[];
    const sample = `${query}&label=ok&filename=${name}`;
    for (const pictures of [1, 0])
      expect((await json('DELETE', `/datasets/file?${sample}`)).lines).toMatchObject([
        { kind: 'dataset_delete', error: null, label: 'ok', pictures },
      ]);
    expect((await json('DELETE', `/datasets/clear?${query}&label=ok`)).lines).toMatchObject([
      { kind: 'dataset_clear', label: 'ok', pictures: 2 },
    ]);
  });

  it('recipes and generations', async () => {
    expect((await json('PUT', '/recipes/line2', { mm_per_px: 0.2 })).lines).toMatchObject([
      { kind: 'recipe_change', recipe_id: 'line2', mm_per_px: 0.2, previous_mm_per_px: null },
    ]);
    expect((await json('DELETE', '/recipes/default')).lines).toMatchObject([
      { kind: 'recipe_removal', recipe_id: 'default', force: false, error: 'recipe_in_use' },
    ]);
    expect((await json('DELETE', '/recipes/line2?force=true')).lines).toMatchObject([
      { kind: 'recipe_removal', recipe_id: 'line2', force: true, error: null },
    ]);
    await form('/fit_ok', { ...model, images: good.slice(0, 4) });
    const rollback = await json('POST', '/models/flange%2F%CF%80/top/rollback', { generation: 1 });
    expect(rollback.status, JSON.stringify(rollback.body)).toBe(200);
    const { memory_id } = (await json('GET', `/state?${query}`)).body;
    expect(rollback.lines).toMatchObject([
      { kind: 'rollback', error: null, ...ids, model_generation: 1, generation_before: 2, memory_id },
    ]);
  });

  it('a job does what it does on behalf of its own request, also behind another', async () => {
    const jobs = [0, 1].map(() =>
      form('/fit_ok', { ...model, model_key: 'job', images: good.slice(0, 4) }, { Prefer: 'respond-async' }),
    );
    const accepted = await Promise.all(jobs);
    for (const { body } of accepted) {
      await expect
        .poll(async () => (await json('GET', `/jobs/${body.id}`)).body.state, { timeout: 30_000 })
        .toBe('succeeded');
    }
    const fits = auditLines(okng.modelsDir).filter(({ model_key }) => model_key === 'job');
    const told = fits.map(({ request_id, job_id, who }) => [request_id, job_id, who]);
    expect(told.sort()).toEqual(accepted.map(({ body, requestId }) => [requestId, body.id, 'gui']));
  });

  it('verdicts that are asked for at once are each there once, and the chain is whole', async () => {
    const verdicts = await Promise.all(
      Array.from({ length: 12 }, () => form('/infer', { ...model, image: scratchFile })),
    );
    for (const { status, lines, requestId } of verdicts) {
      expect(status).toBe(200);
      expect(lines.map((line) => line.request_id)).toEqual([requestId]);
    }
    expect((await verifyAudit([join(okng.modelsDir, AUDIT_FOLDER)])).found).toBe(0);
  });

  it('tells no path of this host, no name of a picture, and no key', () => {
    const text = JSON.stringify(auditLines(okng.modelsDir));
    for (const secret of [okng.modelsDir, 'scratch', '.png', '.jpg', key]) expect(text).not.toContain(secret);
  });
});

describe('an audit that cannot be written', () => {
  let okng: TestApp;
  afterEach(() => okng.close());

  it('refuses verdicts and changes before they are made, is told by /readyz, and goes on when it can', async () => {
    okng = await startTestApp({ BDI_AUDIT: '1' });
    await okng.service.warm();
    mkdirSync(okng.modelsDir, { recursive: true });
    writeFileSync(join(okng.modelsDir, AUDIT_FOLDER), 'no folder');
    await expect(okng.service.beginAudit()).rejects.toMatchObject({ code: 'damaged_file' });
    const before = okng.files();
    const askForFit = () => postForm(okng, '/fit_ok', { ...model, images: good.slice(0, 4) });
    const requests = [
      askForFit,
      () => postForm(okng, '/infer', { ...model, image: scratchFile }),
      () => postForm(okng, '/datasets/ok/upload', { ...ids, images: scratchFile }),
      () => postJson(okng, '/calibrate_ng', { ...ids, ok_scores: [1] }),
      () => postJson(okng, '/infer_dataset', ids),
    ];
    for (const request of requests) {
      const { status, body } = await request();
      expect([status, body.code]).toEqual([503, 'damaged_file']);
      expect(body.error).toMatch(/The audit cannot be written.*BDI_AUDIT=0/);
    }
    expect(okng.files()).toEqual(before);
    const ready = async () => answer(await okng.app.request('/readyz'));
    expect(await ready()).toMatchObject({
      status: 503,
      body: { problems: [expect.stringMatching(/The audit cannot/)] },
    });

    rmSync(join(okng.modelsDir, AUDIT_FOLDER));
    expect((await askForFit()).status).toBe(200);
    expect((await ready()).status).toBe(200);
    // Nothing that was refused had been judged or changed: there was no line to lose.
    expect(auditLines(okng.modelsDir).map(({ kind }) => kind)).toEqual(['start', 'write_failed', 'fit']);
  });
});

describe('without BDI_AUDIT', () => {
  it('there is none', async () => {
    const okng = await startTestApp();
    await okng.service.beginAudit();
    await postForm(okng, '/fit_ok', { ...model, images: good.slice(0, 4) });
    expect((await postForm(okng, '/infer', { ...model, image: scratchFile })).status).toBe(200);
    expect(Object.keys(okng.files()).filter((name) => name.includes(AUDIT_FOLDER))).toEqual([]);
    await okng.close();
  });
});
