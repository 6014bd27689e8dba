import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { InspectionError } from '../errors.ts';
import type { Matrix } from '../patchcore/matrix.ts';
import type { Candidates, FaissAnswer, FaissRequest } from './faiss_child.ts';

export interface FaissProcessOptions {
  /** faiss-node's compiled part. */
  readonly addon: string;
  /** Threads of one search, ≥ 1. */
  readonly threads: number;
  /** A child that has not answered by then is killed. */
  readonly timeoutMs?: number;
  /**
   * A child that has grown by more than this, its banks not counted, is replaced by a new one: faiss-node 0.5.1 keeps a copy
   * of every query, 1.6 MB of a search of 1024 × 384.
   */
  readonly growthBytes?: number;
  /** Told of every child that failed. */
  readonly warn?: (sentence: string) => void;
  /** Milliseconds of any clock. */
  readonly now?: () => number;
}

/** faiss-node in a child process, which comes up on first use. Not safe for concurrent calls. */
export interface FaissProcess {
  /** Brings the child up, so that the first search need not wait for it. Errors as of `search`. */
  warm(): Promise<void>;
  /**
   * The rows of the bank that FAISS takes for the nearest of each query. The bank is copied into the child by its first
   * search, at about 0.1 µs per number, and known there by its identity from then on: it must not change.
   *
   * A child that ends, fails, or does not answer in time is replaced and asked once more.
   *
   * @param queries [queries · bank's columns]
   * @param count 1 ≤ count ≤ bank's rows
   * @throws InspectionError `not_ready` when it fails again, or when children have failed {@link fallLimit} times in a minute
   */
  search(bank: Matrix, queries: Float32Array, count: number): Promise<Candidates>;
  /** Lets the child forget a bank; one that it does not know is none to forget. */
  drop(bank: Matrix): Promise<void>;
  /** Ends the child. */
  dispose(): Promise<void>;
}

/** No more children are started when this many failed within {@link fallWindowMs}. */
export const fallLimit = 6;
export const fallWindowMs = 60_000;

/** Numbers in one message: the child holds them a few times over, as what JavaScript and FAISS make of them. */
const messageNumbers = 2 ** 18;

const instead = 'with BDI_NEIGHBORS=onnx the service answers the same without it';

const failedTwice = `The process of faiss-node failed twice; the log has the reasons. If it cannot be loaded, build it again (npm run faiss:build); ${instead}.`;

interface Child {
  readonly process: ChildProcess;
  /** What it holds, by number. */
  readonly banks: Map<Matrix, number>;
  /** Resident bytes when it was new. */
  born: number;
  waiting: { readonly resolve: (answer: FaissAnswer) => void; readonly reject: (reason: Error) => void } | null;
}

export function startFaissProcess({
  addon,
  threads,
  timeoutMs = 30_000,
  growthBytes = 256 * 1024 * 1024,
  warn = (sentence) => process.emitWarning(sentence),
  now = () => performance.now(),
}: FaissProcessOptions): FaissProcess {
  let current: Child | null = null;
  let banksKnown = 0;
  let falls: readonly number[] = [];

  /** The child has failed: nobody asks it again. */
  const fell = (child: Child, reason: Error): void => {
    child.waiting?.reject(reason);
    if (current !== child) return;
    current = null;
    falls = [...falls, now()];
    child.process.kill('SIGKILL');
    warn(`The process of faiss-node ${reason.message}; the next search starts another.`);
  };

  /** What the child, which is at work, answers next. */
  const nextAnswer = async (child: Child): Promise<FaissAnswer> => {
    const timer = setTimeout(() => fell(child, new Error(`has not answered for ${timeoutMs / 1000} s`)), timeoutMs);
    try {
      const answer = await new Promise<FaissAnswer>((resolve, reject) => {
        child.waiting = { resolve, reject };
      });
      if (answer.error === null) return answer;
      const reason = new Error(`says: ${answer.error}`);
      fell(child, reason);
      throw reason;
    } finally {
      clearTimeout(timer);
      child.waiting = null;
    }
  };

  const ask = (child: Child, request: FaissRequest): Promise<FaissAnswer> => {
    const answer = nextAnswer(child);
    child.process.send(request, (error) => error !== null && fell(child, error));
    return answer;
  };

  const start = async (): Promise<Child> => {
    falls = falls.filter((at) => now() - at < fallWindowMs);
    if (falls.length >= fallLimit) {
      throw new InspectionError(
        'not_ready',
        `The process of faiss-node failed ${falls.length} times within a minute and is not started for now; the log has the reasons, and ${instead}.`,
      );
    }
    const child: Child = {
      process: fork(childFile(), [addon], {
        serialization: 'advanced',
        execArgv: ['--expose-gc'],
        // Nothing of the service's settings and keys.
        env: { OMP_NUM_THREADS: `${threads}`, OPENBLAS_NUM_THREADS: `${threads}` },
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
      banks: new Map(),
      born: 0,
      waiting: null,
    };
    current = child;
    child.process.on('message', (answer: FaissAnswer) => child.waiting?.resolve(answer));
    child.process.on('error', (error) => fell(child, error));
    child.process.on('exit', (code, signal) => fell(child, new Error(`ended (${signal ?? `exit code ${code}`})`)));
    child.born = (await nextAnswer(child)).resident;
    return child;
  };

  const running = async (): Promise<Child> => current ?? (await start());

  /** The number by which the child knows the bank, which it has been given by then. */
  const given = async (child: Child, bank: Matrix): Promise<number> => {
    const known = child.banks.get(bank);
    if (known !== undefined) return known;
    const number = banksKnown++;
    for (const rows of blocks(bank.data, bank.cols))
      await ask(child, { do: 'add', bank: number, cols: bank.cols, rows });
    child.banks.set(bank, number);
    return number;
  };

  const end = async (child: Child): Promise<void> => {
    if (current === child) current = null;
    const ended = once(child.process, 'exit');
    if (child.process.kill('SIGKILL')) await ended;
  };

  const searchOnce = async (bank: Matrix, queries: Float32Array, count: number): Promise<Candidates> => {
    const child = await running();
    const { candidates, resident } = await ask(child, {
      do: 'search',
      bank: await given(child, bank),
      queries,
      count,
    });
    const banks = [...child.banks.keys()].reduce((sum, { data }) => sum + data.byteLength, 0);
    if (resident - child.born - banks > growthBytes) await end(child);
    return candidates as Candidates;
  };

  const twice = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let again = true; ; again = false) {
      try {
        return await work();
      } catch (cause) {
        if (cause instanceof InspectionError) throw cause;
        if (!again) throw new InspectionError('not_ready', failedTwice, { cause });
      }
    }
  };

  return {
    warm: async () => {
      await twice(running);
    },
    search: async (bank, queries, count) => {
      const places = (queries.length / bank.cols) * count;
      const found = { rows: new Int32Array(places), scores: new Float32Array(places) };
      let at = 0;
      for (const block of blocks(queries, bank.cols)) {
        const { rows, scores } = await twice(() => searchOnce(bank, block, count));
        found.rows.set(rows, at);
        found.scores.set(scores, at);
        at += rows.length;
      }
      return found;
    },
    drop: async (bank) => {
      const child = current;
      const number = child?.banks.get(bank);
      if (child === null || number === undefined) return;
      child.banks.delete(bank);
      try {
        await ask(child, { do: 'drop', bank: number });
      } catch {
        // Then it has lost the bank with everything else, and `warn` was told.
      }
    },
    dispose: async () => {
      if (current !== null) await end(current);
    },
  };
}

/** Whole rows of at most {@link messageNumbers} numbers, or one row. */
function* blocks(data: Float32Array, cols: number): Generator<Float32Array> {
  const step = Math.max(1, Math.floor(messageNumbers / cols)) * cols;
  for (let start = 0; start < data.length; start += step) yield data.subarray(start, start + step);
}

/** Run from source (scripts, tests), the child still needs JavaScript: Node has no loader for it, the build has. */
function childFile(): string {
  const folder = import.meta.url.endsWith('.ts') ? '../../dist/neighbors/' : './';
  return fileURLToPath(new URL(`${folder}faiss_child.js`, import.meta.url));
}
