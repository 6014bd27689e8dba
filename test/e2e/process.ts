import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach } from 'vitest';

/** A real okng process, as `npm start` runs it (the build is made by `pretest`). */
export interface OkngProcess {
  readonly url: string;
  readonly child: ChildProcess;
  /** Log lines so far, parsed. */
  readonly log: readonly Record<string, unknown>[];
  /** Resolves with the exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  kill(signal: NodeJS.Signals): Promise<number | string>;
}

const mainFile = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** Starts the service on a free port and waits until it listens (and, unless light, is ready). */
export async function startOkng(environment: Readonly<Record<string, string>>): Promise<OkngProcess> {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BDI_')));
  const child = spawn(process.execPath, [mainFile], {
    env: { ...inherited, BDI_BACKEND_PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log: Record<string, unknown>[] = [];
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? -1));
  });
  const wanted = environment.BDI_LIGHT_IMPORT === '1' ? 'listening' : 'ready';
  const url = await new Promise<string>((resolve, reject) => {
    let address = '';
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = JSON.parse(line) as Record<string, unknown>;
      log.push(entry);
      if (entry.msg === 'listening') address = String(entry.address);
      if (entry.msg === wanted) resolve(address);
    });
    ended.then((code) =>
      reject(new Error(`okng ended with ${code} before it was ${wanted}: ${errors} ${JSON.stringify(log)}`)),
    );
  });
  return {
    url,
    child,
    log,
    ended,
    kill: (signal) => {
      child.kill(signal);
      return ended;
    },
  };
}

/** Processes on a models folder that every test of a file has for itself; what it started ends with it. */
export interface OkngOfEachTest {
  readonly start: (environment?: Readonly<Record<string, string>>) => Promise<OkngProcess>;
  readonly modelsDir: () => string;
  /** Every file of the models folder but the jobs, with its content. */
  readonly modelFiles: () => Readonly<Record<string, string>>;
}

export function okngOfEachTest(): OkngOfEachTest {
  let modelsDir: string;
  let running: OkngProcess[];
  beforeEach(() => {
    modelsDir = mkdtempSync(join(tmpdir(), 'okng-e2e-'));
    running = [];
  });
  afterEach(async () => {
    for (const okng of running) await okng.kill('SIGKILL');
    rmSync(modelsDir, { recursive: true, force: true });
  });
  return {
    start: async (environment = {}) => {
      const okng = await startOkng({ BDI_MODELS_DIR: modelsDir, EXTRACTOR: 'embedded', ...environment });
      running.push(okng);
      return okng;
    },
    modelsDir: () => modelsDir,
    modelFiles: () => {
      const names = readdirSync(modelsDir, { recursive: true }) as string[];
      const files = names.filter((name) => !name.startsWith('jobs') && statSync(join(modelsDir, name)).isFile());
      return Object.fromEntries(files.sort().map((name) => [name, readFileSync(join(modelsDir, name), 'base64')]));
    },
  };
}
