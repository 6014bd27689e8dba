import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { faissAddon } from '../../src/neighbors/faiss_addon.ts';
import { okngVersion } from '../../src/okng_version.ts';

/** What decides how fast a processor multiplies. */
const features = ['avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_int8', 'amx_bf16', 'asimd', 'asimddp', 'i8mm'];

/** What the figures were measured on. */
export function machine(): Readonly<Record<string, string>> {
  const [first] = cpus();
  return {
    processor: first?.model.trim() ?? 'unknown',
    cores: String(cpus().length),
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    features: processorFeatures(),
    system: `${process.platform} ${process.arch}`,
  };
}

/** What was measured. */
export function versions(): Readonly<Record<string, string>> {
  return {
    node: process.version,
    okng: `${okngVersion()} ${commit()}`,
    'onnxruntime-node': packageVersion('onnxruntime-node'),
    'faiss-node': faissAddon() === null ? 'not built' : packageVersion('faiss-node'),
  };
}

/** Load averages of 1, 5 and 15 minutes. */
export function load(): string {
  return loadavg()
    .map((value) => value.toFixed(2))
    .join(' ');
}

/** Whether others compute as well: then long work waits for cores that short work gets at once. */
export function isBusy(): boolean {
  return (loadavg()[0] ?? 0) > availableParallelism();
}

/** Only Linux tells; elsewhere the processor's name has to do. */
function processorFeatures(): string {
  if (!existsSync('/proc/cpuinfo')) return 'unknown';
  const [, list = ''] = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
  const present = new Set(list.trim().split(/\s+/));
  return features.filter((feature) => present.has(feature)).join(' ');
}

function packageVersion(name: string): string {
  const root = fileURLToPath(new URL('../../package.json', import.meta.url));
  const card = join(root, '..', 'node_modules', name, 'package.json');
  return (createRequire(root)(card) as { readonly version: string }).version;
}

function commit(): string {
  const git = (...args: readonly string[]) =>
    execFileSync('git', args, {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') === '' ? '' : ' with changes'}`;
  } catch {
    // Measured outside a clone, or without git.
    return 'of an unknown commit';
  }
}
