import { fork } from 'node:child_process';
import { once } from 'node:events';

/** Runs a module of this folder in a process of its own, whose peak memory nothing else has raised; gives the message it sends. */
export async function answerOf<T>(module: string, numbers: readonly number[], signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const child = fork(new URL(module, import.meta.url), numbers.map(String), { signal });
  const answered = Promise.race([once(child, 'message'), once(child, 'disconnect')]);
  const [[answer]] = await Promise.all([answered, once(child, 'exit')]);
  if (answer === undefined) throw new Error(`The process of ${module} ended without an answer.`);
  return answer as T;
}
