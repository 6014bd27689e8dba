import { expect, it } from 'vitest';
import { runCrashes } from './run_crashes.ts';

it('25 kills lose nothing that was acknowledged and mix nothing (npm run test:crash for more)', {
  timeout: 600_000,
}, async () => {
  const report = await runCrashes({ cycles: 25, seed: 6, tell: () => undefined });
  expect(report.failures).toEqual([]);
  // It would find nothing either if nothing were under way.
  const cut = [...Object.values(report.cutDone), ...Object.values(report.cutUndone)];
  expect(cut.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
  expect(Object.keys(report.answered)).toEqual(expect.arrayContaining(['fit', 'calibrate', 'upload']));
});
