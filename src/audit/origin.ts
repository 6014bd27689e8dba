import { AsyncLocalStorage } from 'node:async_hooks';

/** On whose behalf something is done. */
export interface Origin {
  /** Null: no request asked for it, but a command in this process. */
  readonly requestId: string | null;
  /** Null: it was asked for directly. */
  readonly jobId: string | null;
  /** The name of the API key that came with the request; null without keys. */
  readonly caller: string | null;
}

const origins = new AsyncLocalStorage<Origin>();

/** Runs `work`, and all that it waits for, on behalf of `origin`. */
export function onBehalfOf<T>(origin: Origin, work: () => T): T {
  return origins.run(origin, work);
}

/** Whose behalf this is done on. */
export function currentOrigin(): Origin {
  return origins.getStore() ?? { requestId: null, jobId: null, caller: null };
}
