import { InspectionError } from '../errors.ts';

/**
 * Lets so many pieces of work run at once. The others wait in lanes: in each first come, first served, and the lanes take
 * turns, so that a hundred in one lane hold up who comes to another by one.
 */
export interface WaitingLine {
  /** Pieces of work at once. */
  readonly places: number;
  /** Those that run, or would begin before one who comes to this lane now. */
  ahead(lane?: string): number;
  /**
   * Runs `work` when its turn has come. Work that runs is not ended by the signal.
   *
   * @param signal leaves the line, at once and for good, when it fires
   * @param lane any name; where none is given all wait in one
   * @throws InspectionError `request_aborted` when the signal fired before the work began; and what `work` throws
   */
  enter<T>(work: () => Promise<T>, signal?: AbortSignal, lane?: string): Promise<T>;
}

/** @param places pieces of work at once, at least 1 */
export function createWaitingLine(places: number): WaitingLine {
  let running = 0;
  // The lane whose turn is next comes first; none is empty. A Set keeps the order in which they came, and lets one leave from
  // the middle.
  const lanes = new Map<string, Set<() => void>>();

  const takePlace = (signal: AbortSignal | undefined, lane: string): Promise<void> => {
    if (running < places) {
      running++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const waiting = lanes.get(lane) ?? new Set();
      lanes.set(lane, waiting);
      const leave = () => {
        leaveLane(lane, waiting, begin);
        reject(callerGone());
      };
      const begin = () => {
        leaveLane(lane, waiting, begin);
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      waiting.add(begin);
      signal?.addEventListener('abort', leave, { once: true });
    });
  };

  const leaveLane = (lane: string, waiting: Set<() => void>, begin: () => void) => {
    waiting.delete(begin);
    if (waiting.size === 0) lanes.delete(lane);
  };

  const givePlace = () => {
    const [turn] = lanes;
    if (turn === undefined) {
      running--;
      return;
    }
    const [lane, waiting] = turn;
    lanes.delete(lane);
    lanes.set(lane, waiting);
    const [next] = waiting;
    next?.();
  };

  return {
    places,
    ahead: (lane = '') => {
      // Lanes whose turn comes before this one's have one turn more until then.
      let turns = (lanes.get(lane)?.size ?? 0) + 1;
      let count = running;
      for (const [name, { size }] of lanes) {
        if (name === lane) turns--;
        count += Math.min(size, turns);
      }
      return count;
    },
    enter: async (work, signal, lane = '') => {
      requireCaller(signal);
      await takePlace(signal, lane);
      try {
        return await work();
      } finally {
        givePlace();
      }
    },
  };
}

/** @throws InspectionError `request_aborted` when the signal has fired */
export function requireCaller(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw callerGone();
}

function callerGone(): InspectionError {
  return new InspectionError('request_aborted', 'The caller is gone; what it asked for was given up before it began.');
}
