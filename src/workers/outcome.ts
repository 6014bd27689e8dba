import { move, transferableSymbol, valueSymbol } from 'piscina';
import { type ErrorCode, InspectionError } from '../errors.ts';

/** A result as it crosses a thread: structured cloning drops the class and the code of an error. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly stack: string };

/** What every worker thread is started with. */
export interface WorkerStart<S> {
  readonly settings: S;
  /** Shared with the thread that owns the pools: 1 once they are being closed. */
  readonly closing: Int32Array;
}

/** Runs `work` in a worker; what it throws becomes plain data. */
export type Settle = <T>(work: () => Promise<T>) => Promise<Outcome<T>>;

/** {@link Settle} for one worker: work that was still waiting when the pools are closed is not begun. */
export function settleUntil(closing: Int32Array): Settle {
  return async (work) => (Atomics.load(closing, 0) === 0 ? settle(work) : { ok: false, ...shutDown, stack: '' });
}

const shutDown = {
  code: 'shutting_down',
  message: 'The service is shutting down; the request was abandoned.',
} as const;

async function settle<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    const code = error instanceof InspectionError ? error.code : 'internal_error';
    const cause = error instanceof Error && error.cause instanceof Error ? `\ncaused by ${error.cause.stack}` : '';
    const { message, stack } = error instanceof Error ? error : { message: String(error), stack: '' };
    return { ok: false, code, message, stack: `${stack ?? ''}${cause}` };
  }
}

/** The other end of {@link settle}: gives the value or throws the error again, the worker's stack as its cause. */
export function unwrap<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  const cause = new Error('thrown in a worker thread');
  cause.stack = outcome.stack;
  throw new InspectionError(outcome.code, outcome.message, { cause });
}

/**
 * Marks the arrays of a result to be moved to the other thread instead of copied. Only arrays that fill their buffer
 * are moved: a window on a shared buffer would take its neighbours along.
 */
export function moved<T>(outcome: Outcome<T>, arrays: (value: T) => readonly ArrayBufferView[]): unknown {
  const buffers = outcome.ok ? movable(arrays(outcome.value)) : [];
  return move({ [transferableSymbol]: buffers, [valueSymbol]: outcome });
}

/** The distinct buffers of arrays that fill theirs. */
export function movable(arrays: readonly ArrayBufferView[]): ArrayBuffer[] {
  const whole = arrays.filter(
    ({ buffer, byteLength }) => buffer instanceof ArrayBuffer && buffer.byteLength === byteLength,
  );
  return [...new Set(whole.map(({ buffer }) => buffer as ArrayBuffer))];
}
