import { SingleBar } from 'cli-progress';

/** Tells how far long work is: a bar on a terminal, a plain line now and then elsewhere. On stderr, so that stdout stays data. */
export interface Progress {
  update(phase: string, done: number, total: number): void;
  end(): void;
}

/** Plain lines come at most this often, and at the end of a phase. */
const lineIntervalMs = 5000;

export function createProgress(stream: NodeJS.WriteStream = process.stderr, now: () => number = Date.now): Progress {
  return stream.isTTY ? barProgress(stream) : lineProgress(stream, now);
}

function barProgress(stream: NodeJS.WriteStream): Progress {
  let bar: SingleBar | null = null;
  let current = '';
  return {
    update: (phase, done, total) => {
      if (phase !== current) {
        bar?.stop();
        bar = new SingleBar({ stream, format: '{phase} [{bar}] {value}/{total} {eta_formatted}', hideCursor: true });
        bar.start(total, done, { phase: phase.padEnd(10) });
        current = phase;
      }
      bar?.update(done);
    },
    end: () => {
      bar?.stop();
      bar = null;
    },
  };
}

function lineProgress(stream: NodeJS.WriteStream, now: () => number): Progress {
  let last = Number.NEGATIVE_INFINITY;
  return {
    update: (phase, done, total) => {
      if (done < total && now() - last < lineIntervalMs) return;
      last = now();
      stream.write(`${phase} ${done}/${total}\n`);
    },
    end: () => undefined,
  };
}
