import { beforeEach, describe, expect, it, vi } from 'vitest';
import { createMatrix } from '../../src/patchcore/matrix.ts';
import { fitWithProducts } from '../../src/workers/fit_steps.ts';
import type { FitOrder, FitPicture } from '../../src/workers/vision.ts';
import { someMetadata } from '../store/some_memory.ts';

const sessions = vi.hoisted(() => ({ opened: 0, open: 0 }));

vi.mock('../../src/onnx/onnx_session.ts', async (original) => {
  const real = await original<typeof import('../../src/onnx/onnx_session.ts')>();
  return {
    ...real,
    openSession: async (...given: Parameters<typeof real.openSession>) => {
      const session = await real.openSession(...given);
      sessions.opened++;
      sessions.open++;
      return {
        ...session,
        dispose: async () => {
          sessions.open--;
          await session.dispose();
        },
      };
    },
  };
});

const grid = { rows: 2, cols: 2 };

function picture(name: string, brightness: number): FitPicture {
  const data = Float32Array.from({ length: 12 }, (_, i) => Math.sin(i + brightness));
  return {
    name,
    size: { height: 8, width: 8 },
    frame: { top: 0, left: 0, height: 2, width: 2 },
    brightness,
    embeddings: createMatrix(4, 3, data),
  };
}

function order(): FitOrder {
  return {
    pictures: [picture('a.png', 1), picture('b.png', 2)],
    scoreMode: 'percentile',
    scorePercentile: 99,
    sigmaPx: 1,
    positionBytes: 1024,
    grid,
    coresetRate: 0.5,
    about: someMetadata(1),
  };
}

/** What ONNX Runtime took for a product it keeps until its session is closed: after a large fit 128 MiB and more. */
describe('the sessions of a fit', () => {
  beforeEach(() => {
    sessions.opened = 0;
  });

  it('are closed when it is done', async () => {
    const { coresetSize } = await fitWithProducts(order(), { threads: 1 });
    expect(coresetSize).toBe(4);
    expect(sessions.opened).toBeGreaterThan(0);
    expect(sessions.open).toBe(0);
  });

  it('are closed when it is given up', async () => {
    const fit = fitWithProducts(order(), { threads: 1 }, { shouldStop: () => true });
    await expect(fit).rejects.toMatchObject({ code: 'request_aborted' });
    expect(sessions.opened).toBeGreaterThan(0);
    expect(sessions.open).toBe(0);
  });
});
