type Files = typeof import('node:fs/promises');
type Step = 'rename' | 'unlink' | 'link' | 'mkdir' | 'rm';

/** How many changes of the disk are still made before the process is as good as dead. */
export const power = { left: Number.POSITIVE_INFINITY };

/**
 * `node:fs/promises` in which files that are opened to be written, and the steps that are named, take some of the {@link power}.
 * For `vi.mock`: that runs before any import, so this module is to be imported in the factory, and imports none of what it
 * stands for.
 */
export function spendingPower(real: Files, steps: readonly Step[]): Files {
  const spend = () => {
    if (power.left-- <= 0) throw new Error('no power');
  };
  const open: Files['open'] = (path, flags, mode) => {
    if (flags !== 'r') spend();
    return real.open(path, flags, mode);
  };
  const spending =
    (name: Step) =>
    async (...given: never[]) => {
      spend();
      return await (real[name] as (...all: never[]) => Promise<unknown>)(...given);
    };
  return { ...real, open, ...Object.fromEntries(steps.map((name) => [name, spending(name)])) };
}
