import { InspectionError } from '../errors.ts';

/** Lets so many pieces of work run at once; the others wait, first come, first served. */
export interface WaitingLine {
  /**
   * Runs `work` when its turn has come. Work that runs is not ended by the signal.
   *
   * @param signal leaves the line, at once and for good, when it fires
   * @throws InspectionError `request_aborted` when the signal fired before the work began; and what `work` throws
   */
  enter<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

/** @param places pieces of work at once, at least 1 */
export function createWaitingLine(places: number): WaitingLine {
  let free = places;
  // A Set keeps the order in which they came, and lets one leave from the middle.
  const waiting = new Set<() => void>();

  const takePlace = (signal: AbortSignal | undefined): Promise<void> => {
    if (free > 0) {
      free--;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        waiting.delete(begin);
        reject(callerGone());
      };
      const begin = () => {
        waiting.delete(begin);
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      waiting.add(begin);
      signal?.addEventListener('abort', leave, { once: true });
    });
  };

  const givePlace = () => {
    const [next] = waiting;
    if (next === undefined) free++;
    else next();
  };

  return {
    enter: async (work, signal) => {
      requireCaller(signal);
      await takePlace(signal);
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
