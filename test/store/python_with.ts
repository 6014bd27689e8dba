import { execFileSync, spawnSync } from 'node:child_process';

/** The first Python that can import the module; undefined (and a printed reason) when none can. */
export function pythonWith(module: string): string | undefined {
  const python = ['python3', '/usr/bin/python3'].find(
    (name) => spawnSync(name, ['-c', `import ${module}`], { stdio: 'ignore' }).status === 0,
  );
  if (python === undefined) console.log(`skipped: no python3 here can import ${module}`);
  return python;
}

/** Runs a script with arguments and gives what it printed. */
export function runPython(python: string, script: string, ...args: readonly string[]): string {
  return execFileSync(python, ['-c', script, ...args], { encoding: 'utf8' }).trim();
}
