import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { faissAddon } from '../../src/neighbors/faiss_addon.ts';
import { get } from './client.ts';
import { good, infer, postFit } from './fit_jobs.ts';
import { okngOfEachTest } from './process.ts';

/** BDI_NEIGHBORS=faiss in a real service, and what becomes of its processes. */

const { start, modelFiles } = okngOfEachTest();
const faiss = { BDI_NEIGHBORS: 'faiss', BDI_WORKERS: '1', BDI_THREADS: '1' };

/** Processes that a process has started; where the system lists them (Linux). */
function childrenOf(parent: number | undefined): readonly number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => parentOf(pid) === parent);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}

const reason = faissAddon() === null ? 'faiss-node is not built here (npm run faiss:build)' : null;

describe.skipIf(reason !== null)(`a service with faiss-node${reason === null ? '' : ` (skipped: ${reason})`}`, () => {
  it('answers as with ONNX Runtime, and goes on when the process of FAISS is killed', async () => {
    const plain = await start();
    expect((await postFit(plain, good)).status).toBe(200);
    const { request_id: _, ...expected } = (await infer(plain)).body;
    expect((await get(`${plain.url}/health`)).body).toMatchObject({ neighbors: 'onnx' });
    await plain.kill('SIGTERM');

    const okng = await start(faiss);
    expect((await get(`${okng.url}/health`)).body).toMatchObject({ neighbors: 'faiss' });
    const [child, ...others] = childrenOf(okng.child.pid);
    expect(others).toEqual([]);
    const expectSame = async () => {
      const { status, body } = await infer(okng);
      expect(status, JSON.stringify(body)).toBe(200);
      const { request_id: __, ...answer } = body;
      expect(answer).toEqual(expected);
    };
    await expectSame();
    process.kill(child as number, 'SIGKILL');
    await expectSame();
    expect(childrenOf(okng.child.pid)).not.toContain(child);
    expect(childrenOf(okng.child.pid)).toHaveLength(1);
  });

  it('writes the same model, its index file too', async () => {
    const okng = await start(faiss);
    expect((await postFit(okng, good)).status).toBe(200);
    expect(Object.keys(modelFiles()).filter((name) => name.endsWith('_index.faiss'))).toHaveLength(1);
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)('leaves no process behind after %s', async (signal) => {
    const okng = await start(faiss);
    const [child] = childrenOf(okng.child.pid) as [number];
    expect(await okng.kill(signal)).toBe(signal === 'SIGTERM' ? 0 : signal);
    await expect.poll(() => parentOf(child), { timeout: 20_000 }).toBeUndefined();
  });
});

it.skipIf(reason === null)('refuses to start with faiss where faiss-node is not built (skipped: it is)', async () => {
  await expect(start(faiss)).rejects.toThrow(/ended with 78 .*npm run faiss:build/s);
});
