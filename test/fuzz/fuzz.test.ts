import { describe, expect, it } from 'vitest';
import { diceFor, mutated } from './dice.ts';
import { wellFormedPictures } from './hostile_pictures.ts';
import { hostileRequest } from './hostile_requests.ts';
import { type MemoryLook, memoryFaults } from './memory_looks.ts';
import { runFuzz } from './run_fuzz.ts';

it('a short run finds nothing (npm run test:fuzz for a long one)', { timeout: 300_000 }, async () => {
  const report = await runFuzz({ requests: 400, seed: 6, tell: () => undefined });
  expect(report.failures).toEqual([]);
  expect(report.requests).toBe(400);
  // It would find nothing either if every request were refused for one and the same reason.
  for (const status of [200, 400, 403, 404, 415, 422])
    expect(report.statuses[status], String(status)).toBeGreaterThan(2);
  expect(report.damagedFiles).toBeGreaterThan(5);
  expect(report.memory).toHaveLength(13);
  // Five threads and more, each with a heap of megabytes.
  for (const { heapMib } of report.memory) expect(heapMib).toBeGreaterThan(20);
});

describe('memory', () => {
  const looks = (resident: readonly number[], live: readonly number[]): readonly MemoryLook[] =>
    resident.map((residentMib, i) => ({ at: `${i}`, residentMib, heapMib: live[i] as number, externalMib: 10 }));
  const flat = Array<number>(12).fill(60);

  it('may grow once, and then stay', () => {
    expect(memoryFaults(looks([250, 300, 500, 600, 640, ...Array(7).fill(640)], [50, ...Array(11).fill(130)]))).toEqual(
      [],
    );
  });

  it('is held for ever where what is in use grows on after the first half', () => {
    const growing = flat.map((mib, i) => mib + 5 * i);
    expect(memoryFaults(looks(flat, growing))).toEqual([
      'memory is held for ever: 95 MiB were in use at most in the first half, 125 MiB at the end',
    ]);
    expect(memoryFaults(looks(flat, [...growing.slice(0, -1), 100]))).toEqual([]);
  });

  it('does not come back where what is resident grows on, which V8 need not know of', () => {
    const growing = flat.map((_, i) => 300 + 70 * i);
    expect(memoryFaults(looks(growing, flat))).toEqual([
      'memory does not come back: 650 MiB were resident at most in the first half, 1070 MiB at the end',
    ]);
  });

  it('says nothing of resident memory where the system does not tell', () => {
    expect(memoryFaults(looks(flat, flat).map((look) => ({ ...look, residentMib: null })))).toEqual([]);
  });
});

describe('a seed', () => {
  it('makes the same requests again, each without those before it', async () => {
    const world = { pictures: await wellFormedPictures(), samples: ['a.png'], jobs: ['x'] };
    const requests = (seed: number) =>
      Array.from({ length: 50 }, (_, i) => hostileRequest(diceFor(seed, i), world).bytes.toString('base64'));
    expect(requests(1)).toEqual(requests(1));
    expect(requests(1)).not.toEqual(requests(2));
    expect(new Set(requests(1)).size).toBeGreaterThan(45);
  });

  it('mutates alike', () => {
    const bytes = Buffer.from('a text that is long enough to be changed');
    expect(mutated(diceFor(3, 4), bytes)).toEqual(mutated(diceFor(3, 4), bytes));
  });
});
