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
/** Lanes whose times are remembered, those asked last. */
const mostLanes = 64;

/**
 * Who brings a deadline is refused at once when those ahead leave too little time, as far as the latest pieces of work tell how
 * long one takes; else at the deadline, whatever has been done by then. Who finds a free place is always tried, and so is a lane
 * of which nothing is known yet: what is refused never tells that it would have been fast.
 *
 * @returns what throws `deadline_missed`, beside what the line and the work throw
 */
export function createDeadlines(line: WaitingLine): BeforeDeadline {
  const all: number[] = [];
  const ofLane = new Map<string, number[]>();

  const note = (lane: string, ms: number): void => {
    const own = ofLane.get(lane) ?? [];
    ofLane.delete(lane);
    ofLane.set(lane, own);
    const [oldest] = ofLane.keys();
    if (ofLane.size > mostLanes && oldest !== undefined) ofLane.delete(oldest);
    for (const times of [all, own]) {
      times.push(ms);
      if (times.length > remembered) times.shift();
    }
  };

  const timed = async <T>(lane: string, work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const result = await work();
    note(lane, performance.now() - started);
    return result;
  };

  return async ({ lane, answerBy, signal }, work) => {
    if (answerBy === null) return await line.enter(() => timed(lane, () => work(signal)), signal, lane);

    const ownMs = median(ofLane.get(lane) ?? []);
    const left = answerBy - performance.now();
    if (left <= 0) throw passed(ownMs);
    const ahead = line.ahead(lane);
    const waits = ahead >= line.places;
    if (waits && (median(all) * (ahead + 1 - line.places)) / line.places + ownMs > left) {
      throw missed(
        `The answer would come after the deadline (X-Deadline-Ms): of pictures that are begun or come first there are ${ahead}, and this one takes about ${Math.round(ownMs)} ms itself.`,
      );
    }
    const late = new AbortController();
    const either = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(passed(ownMs));
        late.abort();
      }, left);
    });
    try {
      return await Promise.race([deadline, line.enter(() => timed(lane, () => work(either)), either, lane)]);
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Of the first piece of work of a memory the disk is a part, so the middle counts; 0 when nothing is known. */
function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
}

function passed(ownMs: number): InspectionError {
  const usual = ownMs === 0 ? '' : `; a picture for this model takes about ${Math.round(ownMs)} ms once it is its turn`;
  return missed(`The deadline (X-Deadline-Ms) came before the answer${usual}.`);
}

function missed(sentence: string): InspectionError {
  return new InspectionError('deadline_missed', `${sentence} Allow more time, or send fewer pictures at once.`);
}
