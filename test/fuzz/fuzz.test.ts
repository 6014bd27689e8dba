import { describe, expect, it } from 'vitest';
import { diceFor, mutated } from './dice.ts';
import { wellFormedPictures } from './hostile_pictures.ts';
import { hostileRequest } from './hostile_requests.ts';
import { runFuzz } from './run_fuzz.ts';

it('a short run finds nothing (npm run test:fuzz for a long one)', { timeout: 300_000 }, async () => {
  const report = await runFuzz({ requests: 400, seed: 6, tell: () => undefined });
  expect(report.failures).toEqual([]);
  expect(report.requests).toBe(400);
  // It would find nothing either if every request were refused for one and the same reason.
  for (const status of [200, 400, 403, 404, 415, 422])
    expect(report.statuses[status], String(status)).toBeGreaterThan(2);
  expect(report.damagedFiles).toBeGreaterThan(5);
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
