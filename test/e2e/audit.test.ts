import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AUDIT_FOLDER } from '../../src/audit/audit_files.ts';
import { type AuditReport, verifyAudit } from '../../src/audit/verify_audit.ts';
import { auditLines } from '../audit/chains.ts';
import { type PartPicture, partPictures } from '../parts.ts';
import { type InferAnswer, postForm } from './client.ts';
import { good, model, postFit } from './fit_jobs.ts';
import { type OkngProcess, startOkng } from './process.ts';

/** The audit of real processes that are killed, and of several on one models folder. */

const [part] = partPictures('test/good') as [PartPicture];
let modelsDir: string;
let running: OkngProcess[];

beforeEach(async () => {
  modelsDir = await mkdtemp(join(tmpdir(), 'okng-audit-e2e-'));
  running = [];
});
afterEach(async () => {
  for (const okng of running) await okng.kill('SIGKILL');
  await rm(modelsDir, { recursive: true, force: true });
});

async function start(environment: Readonly<Record<string, string>> = {}): Promise<OkngProcess> {
  const okng = await startOkng({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', BDI_AUDIT: '1', ...environment });
  running.push(okng);
  return okng;
}

const infer = (okng: OkngProcess, requestId: string) =>
  postForm<InferAnswer>(`${okng.url}/infer`, { ...model, include_heatmap: 'false' }, [{ ...part, field: 'image' }], {
    'X-Request-Id': requestId,
  });

const verify = (): Promise<AuditReport> => verifyAudit([join(modelsDir, AUDIT_FOLDER)]);

/** Asks for one verdict after the other until the process is gone, and keeps the ids of those that were answered. */
async function inferUntilGone(okng: OkngProcess, name: string, answered: string[]): Promise<void> {
  for (let i = 0; ; i++) {
    const id = `${name} ${i}`;
    try {
      const { status, body } = await infer(okng, id);
      expect(status, JSON.stringify(body)).toBe(200);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      return;
    }
    answered.push(id);
  }
}

describe('SIGKILL under load', () => {
  it('leaves an audit that is whole and holds every verdict that was answered, across kills and files', async () => {
    const answered: string[] = [];
    for (let round = 0; round < 3; round++) {
      const okng = await start({ BDI_WORKERS: '2' });
      if (round === 0) expect((await postFit(okng, good)).status).toBe(200);
      const before = answered.length;
      const callers = [0, 1, 2, 3].map((caller) => inferUntilGone(okng, `round ${round} caller ${caller}`, answered));
      await expect.poll(() => answered.length, { interval: 7, timeout: 30_000 }).toBeGreaterThan(before + 4 + round);
      await okng.kill('SIGKILL');
      await Promise.all(callers);
      expect((await verify()).findings).toEqual([]);
    }
    const audited = auditLines(modelsDir).flatMap(({ kind, request_id }) => (kind === 'verdict' ? [request_id] : []));
    expect(new Set(audited).size).toBe(audited.length);
    expect(new Set(audited)).toEqual(new Set([...audited, ...answered]));
    const report = await verify();
    expect(report.chains).toHaveLength(3);
    expect(report.kinds).toMatchObject({ start: 3, seen: 2, fit: 1 });
    expect(report.chains.every(({ stopped }) => !stopped)).toBe(true);
  });
});

describe('two processes on one models folder', () => {
  it('keep a chain each; both are whole, also while they write', async () => {
    const [one, other] = [await start(), await start()];
    expect((await postFit(one, good.slice(0, 4))).status).toBe(200);
    const asking = [one, other].map(async (okng, i) => {
      for (let n = 0; n < 15; n++) expect((await infer(okng, `${i} ${n}`)).status).toBe(200);
    });
    const reports: AuditReport[] = [];
    const looking = (async () => {
      for (let n = 0; n < 5; n++) reports.push(await verify());
    })();
    await Promise.all([...asking, looking]);
    expect(reports.map(({ findings }) => findings)).toEqual(new Array(5).fill([]));
    expect(await Promise.all([one, other].map((okng) => okng.kill('SIGTERM')))).toEqual([0, 0]);
    const report = await verify();
    expect(report).toMatchObject({ found: 0, notes: [], kinds: { start: 2, stop: 2, fit: 1, verdict: 30 } });
    expect(report.chains.every(({ stopped }) => stopped)).toBe(true);
  });
});

describe('a service', () => {
  it('audits its start and its stop, and the next one sees them', async () => {
    for (let round = 0; round < 2; round++) expect(await (await start()).kill('SIGTERM')).toBe(0);
    expect(auditLines(modelsDir).map(({ kind }) => kind)).toEqual(['start', 'stop', 'start', 'seen', 'stop']);
  });
});
