import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { settingRows } from '../../src/config.ts';
import { type OkngProcess, startOkng } from './process.ts';

/** README's commands, word for word but for the port, in a shell. */

const repository = fileURLToPath(new URL('../..', import.meta.url));
const readme = readFileSync(join(repository, 'README.md'), 'utf8');
const modelsDir = mkdtempSync(join(tmpdir(), 'okng-readme-'));
let okng: OkngProcess;

beforeAll(async () => {
  okng = await startOkng({ BDI_MODELS_DIR: modelsDir });
});

afterAll(async () => {
  await okng.kill('SIGTERM');
  rmSync(modelsDir, { recursive: true, force: true });
});

async function shell(script: string, environment: Readonly<Record<string, string>> = {}): Promise<string> {
  const options = { cwd: repository, env: { ...process.env, ...environment }, maxBuffer: 16 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], options);
  return stdout;
}

describe('README', () => {
  it('fits, calibrates and finds the scratch with its curl lines', async () => {
    const block = [...readme.matchAll(/```bash\n(.*?)```/gs)]
      .map((match) => match[1] as string)
      .find((text) => text.includes('/fit_ok'));
    expect(block).toContain('URL=http://127.0.0.1:8000\n');
    const output = await shell((block as string).replace('http://127.0.0.1:8000', okng.url));
    const answers = output
      .replaceAll('}{', '}\n{')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
    expect(answers).toMatchObject([{ n_images: 14 }, { n_ok: 8, n_ng: 5 }, { decision: 'ng' }]);
    expect(answers[2].regions.length).toBeGreaterThan(0);
  });

  it('lists every setting', () => {
    const table = readme.replace(/ +/g, ' ');
    for (const { env, about } of settingRows()) {
      expect(table).toContain(`| \`${env}\` |`);
      expect(table).toContain(`| ${about} |`);
    }
  });
});
