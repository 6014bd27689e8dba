import { beforeEach, describe, expect, it, vi } from 'vitest';
import { createMatrix, selectRows } from '../../src/patchcore/matrix.ts';
import { decodeMemory } from '../../src/store/model_memory.ts';
import { fitWithProducts } from '../../src/workers/fit_steps.ts';
import type { FitOrder } from '../../src/workers/vision.ts';
import { someMetadata } from '../store/some_memory.ts';
import { allPatches, type PatchedPicture } from './all_patches.ts';

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

function picture(name: string, brightness: number): PatchedPicture {
  const data = Float32Array.from({ length: 12 }, (_, i) => Math.sin(i + brightness));
  return {
    name,
    size: { height: 8, width: 8 },
    frame: { top: 0, left: 0, height: 2, width: 2 },
    brightness,
    embeddings: createMatrix(4, 3, data),
  };
}

function someOrder(): FitOrder {
  const pictures = [picture('a.png', 1), picture('b.png', 2)];
  return {
    pictures,
    patches: allPatches(pictures, grid),
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
    const { coresetSize } = await fitWithProducts(someOrder(), { threads: 1 });
    expect(coresetSize).toBe(4);
    expect(sessions.opened).toBeGreaterThan(0);
    expect(sessions.open).toBe(0);
  });

  it('are closed when it is given up', async () => {
    const fit = fitWithProducts(someOrder(), { threads: 1 }, { shouldStop: () => true });
    await expect(fit).rejects.toMatchObject({ code: 'request_aborted' });
    expect(sessions.opened).toBeGreaterThan(0);
    expect(sessions.open).toBe(0);
  });
});

describe('a fit of thinned patches', () => {
  const row = { rows: 1, cols: 8 };
  const whole = Int32Array.from({ length: 8 }, (_, i) => 9 * i);
  const frame = { top: 0, left: 0, height: 1, width: 8 };
  /** Every cell looks as in the other pictures. */
  const wholePatches = (of: number) =>
    createMatrix(
      8,
      8,
      Float32Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? 1 : 0.02 * Math.sin(64 * of + i))),
    );
  /**
   * Eight pictures are whole; what is left of the others is one patch of each, the same as one of a whole picture, but far from
   * its place.
   */
  const pictures = Array.from({ length: 72 }, (_, i): PatchedPicture => {
    const patches = wholePatches(i - (i % 9));
    const cell = (i % 9) - 1;
    return {
      ...picture(`${i}.png`, i),
      frame,
      ...(cell < 0
        ? { embeddings: patches }
        : { embeddings: selectRows(patches, [cell]), cells: Int32Array.of((cell + 4) % 8) }),
    };
  });
  const fitThinned = async (coresetRate: number) => {
    const patches = { ...allPatches(pictures, row), thinning: { seen: 576, radius: 0.02, whole } };
    const order: FitOrder = { ...someOrder(), pictures, patches, grid: row, coresetRate, positionBytes: 1e6 };
    const fitted = await fitWithProducts(order, { threads: 1 });
    return { ...fitted, memory: decodeMemory({ bytes: fitted.encoded.npz, stamp: '' }, 'fitted') };
  };
  const thinned = { patches_seen: 576, patches_kept: 128, radius: 0.02 };

  it('counts every patch that was seen', async () => {
    const { memory, ...fitted } = await fitThinned(0.0625);
    expect(fitted).toMatchObject({ embeddings: 576, coresetSize: 36, coresetRateApplied: 0.0625, thinned });
    expect(memory.metadata).toMatchObject({
      n_embeddings: 576,
      coreset_size: 36,
      coreset_rate_applied: 0.0625,
      thinned,
    });
  });

  it('keeps what is left where more is asked for, and says so', async () => {
    const { memory, ...fitted } = await fitThinned(0.5);
    expect(fitted).toMatchObject({ coresetSize: 128, coresetRateApplied: 128 / 576 });
    expect(memory.metadata).toMatchObject({ coreset_rate_requested: 0.5, coreset_rate_applied: 128 / 576 });
    expect(memory.bank.rows).toBe(128);
  });

  it.each([0.0625, 1])('scores and places whole pictures alone, at rate %d', async (rate) => {
    const { leftOutScores, memory } = await fitThinned(rate);
    expect(leftOutScores.flatMap((score, i) => (score === null ? [] : [i]))).toEqual([...whole]);
    // Among whole pictures the nearest patch lies in the same place.
    expect(memory.position?.weight).toBeCloseTo((8 - 4) / 28, 6);
    expect([...new Set(memory.position?.picture)]).toEqual([...whole]);
  });
});
