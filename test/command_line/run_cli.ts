import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export const cliFile = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** Runs the built command line as a process of its own; `onStdout` hears all of stdout whenever it grows. */
export async function runCli(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  onStdout: (soFar: string) => void = () => undefined,
): Promise<CliResult> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BDI_')));
  const child = spawn(process.execPath, [cliFile, ...args], {
    env: { ...inherited, NO_COLOR: '1', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    onStdout(stdout);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const code = await new Promise<number>((resolve) => {
    child.once('close', (status) => resolve(status ?? -1));
  });
  return { code, stdout, stderr };
}
