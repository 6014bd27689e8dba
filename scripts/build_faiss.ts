/**
 * `npm run faiss:build`: compiles faiss-node against the system's FAISS (Debian: libfaiss-dev) into node_modules/faiss-node,
 * where BDI_NEIGHBORS=faiss looks for it. Its own installation would download FAISS from GitHub. `npm ci` removes it again.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The newest 6.x of node-addon-api is what faiss-node asks for; its headers are needed only here. */
const packages = {
  'faiss-node@0.5.1': 'zD8wobJn8C6OLWo68Unho+Ih8l6nSRB2w3Amj01a+xc4bsEvd2mBDLklAn7VocA9XO3WDvQL/bLpi5flkCn/XQ==',
  'node-addon-api@6.1.0': '+eawOlIgy680F0kBzPUNFhMZGtJ1YmqM6l4+Crf4IkImjYrO/mqPwRMh352g23uIaQKFItcQ64I7KMaJxHgAVA==',
} as const;

/** FAISS before 1.7.4 has this type in its class only, faiss-node asks for it in the namespace. */
const shim = `#include <faiss/Index.h>
#if FAISS_VERSION_MAJOR * 10000 + FAISS_VERSION_MINOR * 100 + FAISS_VERSION_PATCH < 10704
namespace faiss { using idx_t = Index::idx_t; }
#endif
`;

/** A search whose answer is known, in a process of its own: a library that does not fit may end it. */
const trial = `
  const { IndexFlatL2 } = require(process.argv[1]);
  const index = new IndexFlatL2(2);
  index.add([0, 0, 3, 4]);
  const { distances, labels } = index.search([0, 0], 2);
  if (String([labels, distances]) !== '0,1,0,25') throw new Error('it finds ' + [labels, distances]);
`;

const folder = mkdtempSync(join(tmpdir(), 'okng-faiss-'));
try {
  const headers = nodeHeaders();
  const [faissNode, addonApi] = Object.entries(packages).map(([name, sha512]) => unpacked(name, sha512));
  const addon = join(faissNode as string, 'build', 'Release', 'faiss-node.node');
  compile([headers, addonApi as string], join(faissNode as string, 'src', 'faiss.cc'), addon);
  execFileSync(process.execPath, ['-e', trial, addon], { stdio: 'inherit' });
  const home = fileURLToPath(new URL('../node_modules/faiss-node', import.meta.url));
  rmSync(home, { recursive: true, force: true });
  for (const part of ['package.json', 'LICENSE', 'build']) {
    cpSync(join(faissNode as string, part), join(home, part), { recursive: true });
  }
  console.log('faiss-node is in node_modules; BDI_NEIGHBORS=faiss uses it.');
} catch (error) {
  console.error(`faiss-node could not be built: ${(error as Error).message}`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}

/** Of this Node: its own, those beside a source tree, or the distribution's. */
function nodeHeaders(): string {
  const roots = [dirname(dirname(process.execPath)), process.env.npm_config_nodedir ?? '/usr', '/usr'];
  const found = roots.map((root) => join(root, 'include', 'node')).find((path) => existsSync(join(path, 'node_api.h')));
  if (found !== undefined) return found;
  throw new Error(`Node's headers (include/node/node_api.h) are not in ${roots.join(', ')}; set npm_config_nodedir.`);
}

/** The folder of a package from the registry, whose tarball is the one known here. */
function unpacked(name: string, sha512: string): string {
  const home = join(folder, name);
  mkdirSync(home);
  // Which registry, and by which proxy, npm knows.
  const file = execFileSync('npm', ['pack', '--silent', name], { cwd: home, encoding: 'utf8' }).trim();
  const tarball = join(home, file);
  const got = createHash('sha512').update(readFileSync(tarball)).digest('base64');
  if (got !== sha512) throw new Error(`the registry's ${name} is another than expected (sha512 ${got}).`);
  execFileSync('tar', ['-xzf', tarball, '-C', home]);
  return join(home, 'package');
}

function compile(includes: readonly string[], source: string, target: string): void {
  const shimFile = join(folder, 'shim.h');
  writeFileSync(shimFile, shim);
  mkdirSync(dirname(target), { recursive: true });
  const flags = '-std=c++17 -O2 -fPIC -fopenmp -shared -DNODE_GYP_MODULE_NAME=faiss_node -DNAPI_VERSION=6'.split(' ');
  const paths = includes.flatMap((path) => ['-I', path]);
  const libraries = ['-lfaiss', '-lopenblas'];
  try {
    const parts = [...flags, ...paths, '-include', shimFile, source, '-o', target, ...libraries];
    execFileSync('g++', parts, { stdio: 'inherit' });
  } catch (cause) {
    throw new Error('it takes g++ and what `apt-get install libfaiss-dev libopenblas-dev` brings.', { cause });
  }
}
