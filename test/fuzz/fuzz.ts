/**
 * `npm run test:fuzz -- --requests N --seed S [--minutes M]`: mutated requests and damaged files against a real service.
 */
import { parseArgs } from 'node:util';
import { describeLook } from './memory_looks.ts';
import { runFuzz } from './run_fuzz.ts';

const usage = `npm run test:fuzz -- [--requests N] [--seed S] [--minutes M]

Starts the service on an empty models folder and sends N mutated requests (default 2000), the same for the same seed
(default: another each time), while files of its folder are damaged. M: minutes after which it ends in any case.
Exit codes: 0 nothing found, 1 something found, 2 usage.`;

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '2000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const requests = Number(values.requests);
const seed = Number(values.seed);
const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
const isUsable = Number.isInteger(requests) && requests > 0 && Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32;
if (values.help || !isUsable || (minutes !== undefined && !(minutes > 0))) {
  console.log(usage);
  process.exit(values.help ? 0 : 2);
}

const started = performance.now();
const report = await runFuzz({
  requests,
  seed,
  ...(minutes !== undefined && { minutes }),
  tell: (line) => console.error(line),
});
const { failures, memory, ...numbers } = report;
console.log(JSON.stringify({ seed, seconds: Math.round((performance.now() - started) / 1000), ...numbers }, null, 2));
for (const look of memory) console.log(describeLook(look));
for (const failure of failures) console.log(failure);
console.log(failures.length === 0 ? 'nothing found' : `${failures.length} failures; --seed ${seed} brings them back`);
process.exit(failures.length === 0 ? 0 : 1);
