import { parseArgs } from 'node:util';
import { InspectionError } from '../../src/errors.ts';

export const subjectNames = [
  'coreset',
  'neighbors',
  'requests',
  'fits',
  'clients',
  'starts',
  'memory',
  'audit',
  'vit',
] as const;
export type SubjectName = (typeof subjectNames)[number];

/** `small` only shows that everything runs; `full` adds sizes that take minutes. */
export const sizeNames = ['small', 'usual', 'full'] as const;
export type Sizes = (typeof sizeNames)[number];

export interface BenchOrder {
  /** In the order they are measured. */
  readonly only: readonly SubjectName[];
  readonly sizes: Sizes;
  readonly repetitions: number;
  /** A ViT's safetensors file. */
  readonly weights: string | null;
  readonly json: string;
  /** The record of an earlier run. */
  readonly compare: string | null;
  /** Where the curves are drawn. */
  readonly curves: string | null;
  readonly help: boolean;
}

export const usage = `npm run bench -- [--only NAMES] [--sizes ${sizeNames.join('|')}] [--repetitions N] [--weights model.safetensors]
                  [--json FILE] [--compare OLD.json] [--curves FILE.svg]

Measures what okng costs on this machine, everything also as a ratio to a bare limit measured in the same turns; see
test/bench/README.md. The table goes to stdout, progress to stderr, every repetition to bench.json (--json).

--only NAMES      of ${subjectNames.join(', ')} (with commas between them)
--sizes NAME      usual; full adds the largest coresets and banks and 10,000 inspections; small shows that it runs and measures nothing
--repetitions N   15; whatever takes a second and more is repeated 5 times at most
--weights FILE    measures ViT-S/14 as well, from published weights
--compare FILE    tells what changed beyond noise since the run that wrote FILE
--curves FILE     draws how cost grows with bank rows, picture size, pictures of a fit and clients

Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.`;

/** @throws InspectionError `invalid_value` naming the option */
export function benchOrder(args: readonly string[]): BenchOrder {
  const { only, sizes, repetitions, weights, json, compare, curves, help } = parsed(args);
  return {
    only: only === undefined ? subjectNames : chosenSubjects(only),
    sizes: sizeNames.find((name) => name === sizes) ?? refuse('--sizes', sizes, `one of ${sizeNames.join(', ')}`),
    repetitions: /^([1-9]\d?|100)$/.test(repetitions)
      ? Number(repetitions)
      : refuse('--repetitions', repetitions, 'a whole number from 1 to 100'),
    weights: weights ?? null,
    json,
    compare: compare ?? null,
    curves: curves ?? null,
    help,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        sizes: { type: 'string', default: 'usual' },
        repetitions: { type: 'string', default: '15' },
        weights: { type: 'string' },
        json: { type: 'string', default: 'bench.json' },
        compare: { type: 'string' },
        curves: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (cause) {
    throw new InspectionError('invalid_value', `${(cause as Error).message} See --help.`, { cause });
  }
}

function chosenSubjects(only: string): readonly SubjectName[] {
  const asked = new Set(only.split(','));
  const chosen = subjectNames.filter((name) => asked.delete(name));
  const [unknown] = asked;
  return unknown === undefined ? chosen : refuse('--only', unknown, `of ${subjectNames.join(', ')}`);
}

function refuse(option: string, value: string, wanted: string): never {
  throw new InspectionError('invalid_value', `${option} has ${JSON.stringify(value)}, which is not ${wanted}.`);
}
