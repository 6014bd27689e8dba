/**
 * `npm run bench`: what okng costs on this machine, each figure as a ratio to a bare limit measured in the same turns; see
 * README.md beside this file, and `--help`.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { InspectionError } from '../../src/errors.ts';
import type { BenchContext, Subject } from './bench_context.ts';
import { type BenchOrder, benchOrder, type SubjectName, usage } from './bench_order.ts';
import { type BenchRecord, benchRecordText, readBenchRecord } from './bench_record.ts';
import { comparison } from './compare.ts';
import { curveLines, curvesOf } from './curves.ts';
import { curvesSvg } from './curves_svg.ts';
import type { Figure } from './figure.ts';
import { isBusy, load, machine, versions } from './machine.ts';
import { benchAudit } from './subjects/audit.ts';
import { benchClients } from './subjects/clients.ts';
import { benchCoreset } from './subjects/coreset.ts';
import { benchFits } from './subjects/fits.ts';
import { benchMemory } from './subjects/memory.ts';
import { benchNeighbors } from './subjects/neighbors.ts';
import { benchRequests } from './subjects/requests.ts';
import { benchStarts } from './subjects/starts.ts';
import { benchVit } from './subjects/vit.ts';
import { table } from './table.ts';

const subjects: Readonly<Record<SubjectName, Subject>> = {
  coreset: benchCoreset,
  neighbors: benchNeighbors,
  requests: benchRequests,
  fits: benchFits,
  clients: benchClients,
  starts: benchStarts,
  memory: benchMemory,
  audit: benchAudit,
  vit: benchVit,
};

/** What takes a second and more; five are the fewest that a comparison can judge. */
const fewRepetitions = 5;

const interrupted = new AbortController();
process.on('SIGINT', () => interrupted.abort());
process.exitCode = await main(process.argv.slice(2));
// A worker or a connection that is slow to end must not keep the terminal.
process.exit();

async function main(args: readonly string[]): Promise<number> {
  try {
    const order = benchOrder(args);
    if (order.help) {
      console.log(usage);
      return 0;
    }
    const old = order.compare === null ? null : readBenchRecord(order.compare);
    const record = await measured(order);
    writeFileSync(order.json, benchRecordText(record));
    const curves = curvesOf(record.figures);
    for (const line of curveLines(curves)) console.log(line);
    if (order.curves !== null) {
      writeFileSync(order.curves, curvesSvg(curves, `${record.machine.cores} × ${record.machine.processor}`));
    }
    if (old !== null) console.log(['', ...comparison(old, record)].join('\n'));
    console.log(`\nEvery repetition is in ${order.json}.`);
    return 0;
  } catch (error) {
    if (interrupted.signal.aborted) {
      console.error('Interrupted; nothing was written.');
      return 130;
    }
    const isNamed = error instanceof InspectionError;
    console.error(isNamed ? error.message : error);
    return isNamed && error.code === 'invalid_value' ? 2 : 1;
  }
}

async function measured(order: BenchOrder): Promise<BenchRecord> {
  const measuredAt = new Date().toISOString();
  const started = performance.now();
  const before = load();
  const leftOut: string[] = [];
  const figures: Figure[] = [];
  for (const [what, value] of Object.entries({ ...machine(), ...versions(), load: before })) {
    console.log(`${what.padEnd(17)} ${value}`);
  }
  if (isBusy())
    console.log('The load is above the number of cores: long work waits while short work does not, and ratios suffer.');
  for (const subject of order.only) {
    const context: BenchContext = {
      sizes: order.sizes,
      repetitions: order.repetitions,
      fewRepetitions: Math.min(fewRepetitions, order.repetitions),
      threads: availableParallelism(),
      weights: order.weights,
      signal: interrupted.signal,
      tell: (what) => {
        console.error(`${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s  ${subject}: ${what}`);
      },
      report: (title, found) => {
        const named = found.map((figure) => ({ subject, ...figure }));
        figures.push(...named);
        console.log(table(title, named));
      },
      leaveOut: (sentence) => {
        leftOut.push(sentence);
        console.log(`\n${sentence}`);
      },
    };
    await subjects[subject](context);
  }
  const after = load();
  console.log(`load afterwards   ${after}`);
  return {
    measured_at_utc: measuredAt,
    machine: machine(),
    versions: versions(),
    load: { before, after },
    sizes: order.sizes,
    repetitions: order.repetitions,
    left_out: leftOut,
    figures,
  };
}
