/**
 * `npm run test:crash -- --cycles N --seed S`: kills a real service at random moments and looks at what is left.
 */
import { parseArgs } from 'node:util';
import { runCrashes } from './run_crashes.ts';

const usage = `npm run test:crash -- [--cycles N] [--seed S]

Starts the service, lets clients fit, calibrate, roll back, upload and delete, kills it (SIGKILL) after a random time, starts it
again and looks whether what answers is whole and whether what was acknowledged is there; N times (default 100) in one
models folder. The seed (default: another each time) brings back the requests and the times, not the machine's pace.
Exit codes: 0 all well, 1 something lost or mixed (the folder is kept), 2 usage.`;

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    help: { type: 'boolean', default: false },
  },
});
const cycles = Number(values.cycles);
const seed = Number(values.seed);
const isUsable = Number.isInteger(cycles) && cycles > 0 && Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32;
if (values.help || !isUsable) {
  console.log(usage);
  process.exit(values.help ? 0 : 2);
}

const started = performance.now();
const { failures, ...numbers } = await runCrashes({ cycles, seed, tell: (line) => console.error(line) });
console.log(JSON.stringify({ seed, seconds: Math.round((performance.now() - started) / 1000), ...numbers }, null, 2));
for (const failure of failures) console.log(failure);
console.log(failures.length === 0 ? 'nothing lost, nothing mixed' : `${failures.length} failures with seed ${seed}`);
process.exit(failures.length === 0 ? 0 : 1);
