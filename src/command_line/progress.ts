import { SingleBar } from 'cli-progress';

/** Tells how far long work is: a bar on a terminal, a plain line now and then elsewhere. On stderr, so that stdout stays data. */
export interface Progress {
  update(phase: string, done: number, total: number): void;
  /** Takes the bar away, so that lines can be printed where it was; another update draws it again below them. */
  end(): void;
}

/** Plain lines come at most this often, and at the end of a phase. */
const lineIntervalMs = 5000;

export function createProgress(stream: NodeJS.WriteStream = process.stderr, now: () => number = Date.now): Progress {
  return stream.isTTY ? barProgress(stream, now) : lineProgress(stream, now);
}

function barProgress(stream: NodeJS.WriteStream, now: () => number): Progress {
  let bar: SingleBar | null = null;
  let began = { phase: '', atMs: 0, done: 0 };
  const end = () => {
    bar?.stop();
    bar = null;
  };
  return {
    update: (phase, done, total) => {
      if (phase !== began.phase) {
        end();
        began = { phase, atMs: now(), done };
      }
      // cli-progress counts the time from the start of a bar, and this phase may be at its tenth.
      const left = timeLeft(now() - began.atMs, done - began.done, total - done);
      if (bar === null) {
        bar = new SingleBar({
          stream,
          format: '{phase} [{bar}] {value}/{total} {left}',
          hideCursor: true,
          clearOnComplete: true,
        });
        bar.start(total, done, { phase: phase.padEnd(10), left });
      } else {
        bar.update(done, { left });
      }
    },
    end,
  };
}

/** At the pace so far; empty while there is none. */
function timeLeft(elapsedMs: number, done: number, left: number): string {
  if (done <= 0 || left <= 0) return '';
  const seconds = Math.ceil(((elapsedMs / done) * left) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
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
