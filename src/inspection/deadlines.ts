import { InspectionError } from '../errors.ts';
import type { WaitingLine } from '../workers/waiting_line.ts';

/** Who asks, and until when. */
export interface Caller {
  /** Those of one lane wait behind each other: the model that is asked. */
  readonly lane: string;
  /** When the answer is of no use any more, by `performance.now()`. */
  readonly answerBy: number | null;
  /** Fires when nobody waits for the answer any more. */
  readonly signal: AbortSignal | undefined;
}

/** Runs work in its turn, and refuses work that would come too late. */
export type BeforeDeadline = <T>(caller: Caller, work: (signal: AbortSignal | undefined) => Promise<T>) => Promise<T>;

/** Pieces of work whose times tell how long the next one takes. */
const remembered = 9;

/**
 * Who brings a deadline is refused at once when those ahead leave too little time, as far as the latest pieces of work tell how
 * long one takes; else at the deadline, whatever has been done by then. Who finds nobody ahead is always tried, so that one
 * slow piece of work cannot make all later ones be refused.
 *
 * @returns what throws `deadline_missed`, beside what the line and the work throw
 */
export function createDeadlines(line: WaitingLine): BeforeDeadline {
  const times: number[] = [];
  // The median: the first picture of a memory waits for the disk as well.
  const paceMs = () => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;

  const timed = async <T>(work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const result = await work();
    times.push(performance.now() - started);
    if (times.length > remembered) times.shift();
    return result;
  };

  return async ({ lane, answerBy, signal }, work) => {
    if (answerBy === null) return await line.enter(() => timed(() => work(signal)), signal, lane);

    const left = answerBy - performance.now();
    const ahead = line.ahead(lane);
    const expected = paceMs() * (1 + Math.max(0, ahead + 1 - line.places) / line.places);
    if (left <= 0) throw passed(paceMs());
    if (ahead > 0 && expected > left) {
      throw missed(
        `The answer would come after the deadline (X-Deadline-Ms): ${ahead} others come first, and one takes about ${Math.round(paceMs())} ms.`,
      );
    }
    const late = new AbortController();
    const either = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(passed(paceMs()));
        late.abort();
      }, left);
    });
    try {
      return await Promise.race([deadline, line.enter(() => timed(() => work(either)), either, lane)]);
    } finally {
      clearTimeout(timer);
    }
  };
}

function passed(paceMs: number): InspectionError {
  return missed(
    `The deadline (X-Deadline-Ms) came before the answer; one picture takes about ${Math.round(paceMs)} ms once it is its turn.`,
  );
}

function missed(sentence: string): InspectionError {
  return new InspectionError('deadline_missed', `${sentence} Allow more time, or send fewer pictures at once.`);
}
